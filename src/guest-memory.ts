// SPDX-License-Identifier: MIT
import type { Access } from './access.js';
import { type DescriptorLike, Descriptor, fdOf } from './descriptor.js';
import { checkName, createRestrictedMemfd } from './device.js';
import { ExclusiveMemoryError, misuse } from './errors.js';
import { type ImageSource, populate, type PopulateOptions } from './guest-image.js';
import { SlotMapping } from './kvm/slot-mapping.js';
import { Vm } from './kvm/vm.js';
import { Lifetime } from './lifetime.js';
import { type MemoryInfo, memoryInfo } from './memory-info.js';
import { MemoryView } from './memory-view.js';
import { native } from './native.js';
import { pageSize, wholePages } from './page.js';
import { system } from './system.js';
import {
  type Bytes,
  checkBoolean,
  checkOneOf,
  checkOptions,
  checkPages,
  checkString,
  unexpected,
} from './validate.js';

export interface GuestMemoryOptions {
  /** Bytes, whole pages. All of it is taken from the machine when it is first used. */
  readonly size: Bytes;
  /** Whole 2 MiB blocks, or `ENOMEM`: never single pages instead. Default: false. */
  readonly hugePages?: boolean;
  /**
   * The monitor, too, may read and write the memory where it maps it. For
   * monitors that emulate devices in place, such as QEMU. Default: false.
   */
  readonly hostAccess?: boolean;
  /** Shown in /proc/PID/fd; at most 31 bytes of UTF-8. */
  readonly name?: string;
}

export interface ConvertOptions {
  /** Zeroes the pages on the way. Default: false, they keep their bytes. */
  readonly wipe?: boolean;
}

/** What must not change any more; what is left out stays as it is. */
export interface SealOptions {
  /** No {@link GuestMemory.populate} any more. */
  readonly content?: boolean;
  /** No {@link GuestMemory.share} and {@link GuestMemory.unshare} any more. */
  readonly layout?: boolean;
}

export interface AttachOptions {
  /** The number of the memory slot. */
  readonly slot: number;
  /** Guest-physical address, of a page. */
  readonly gpa: Bytes;
  /** Byte offset in the memory, of a page. Default: 0. */
  readonly offset?: Bytes;
  /** Bytes, whole pages. Default: up to the end of the memory. */
  readonly size?: Bytes;
}

export interface GuestWindowOptions {
  /** The most that anyone may do with shared pages. Default: 'read-write'. */
  readonly access?: Extract<Access, 'read' | 'read-write'>;
}

/**
 * Memory for a KVM guest that nobody on the host can read: not the kernel by
 * its map of all memory, not another process, not the monitor that runs the
 * guest. The monitor puts an initial image in, and seals it. Page ranges that
 * guest and host are to share are made shared, and seen through a
 * {@link window}.
 *
 * Methods throw {@link ExclusiveMemoryError} with the kernel's errno, and
 * `ERR_EXMEM_DISPOSED` once closed.
 */
export class GuestMemory implements Disposable {
  /** Bytes. */
  readonly size: number;
  readonly #lifetime = new Lifetime('GuestMemory');
  readonly #descriptor: Descriptor;
  readonly #hostAccess: boolean;
  /** Of attach(). The kernel allows one: all slots are parts of it. */
  #slots: SlotMapping | undefined;

  private constructor(descriptor: Descriptor, { size, hostAccess }: MemoryInfo) {
    this.#descriptor = descriptor;
    this.#hostAccess = hostAccess;
    this.size = size;
  }

  /**
   * @throws ExclusiveMemoryError `ENOENT` or `EACCES` (`open`) where the module
   *   is not loaded or not for this user; `ENOMEM` over a limit.
   */
  static create(options: GuestMemoryOptions): GuestMemory {
    checkOptions(options, 'options');
    const request = {
      size: checkPages(options.size, 'size', pageSize, Number.MAX_SAFE_INTEGER),
      name: checkName(checkString(options.name ?? '', 'name')),
      huge: checkBoolean(options.hugePages ?? false, 'hugePages'),
      guest: { hostAccess: checkBoolean(options.hostAccess ?? false, 'hostAccess') },
    };
    using memfd = createRestrictedMemfd(request);
    const info = memoryInfo(memfd.fd);
    return new GuestMemory(Descriptor.take(memfd), info);
  }

  /**
   * Takes over a descriptor, received from another process say. If this
   * throws, it is still the caller's.
   *
   * @throws ExclusiveMemoryError `ERR_EXMEM_WRONG_DESCRIPTOR` if it is no guest
   *   memory; `ERR_EXMEM_SIZE` if its size is not set; `EBADF` if it is not open.
   */
  static fromFd(fd: number | Descriptor): GuestMemory {
    const number = Descriptor.fdOf(fd, 'fd');
    const info = guestInfo(number);
    if (info.size === 0) {
      throw misuse(
        'ERR_EXMEM_SIZE',
        `Expected guest memory with a size but file descriptor ${number} has none yet; whoever ` +
          'made it sets it with ftruncate(2), or EXMEM_SET_SIZE for /dev/exclusive_guest',
      );
    }
    return new GuestMemory(Descriptor.take(fd), info);
  }

  /** The number, for calls that borrow it; this object stays its owner. */
  get fd(): number {
    this.#lifetime.check();
    return this.#descriptor.fd;
  }

  /**
   * Copies an initial image in, at any offset, also while a guest runs. It can
   * be done in parts, until {@link seal}. What a failed or aborted call has
   * copied so far stays there.
   *
   * @param source A path, a descriptor, bytes or a stream: {@link ImageSource}.
   * @returns The number of bytes copied.
   * @throws ExclusiveMemoryError `EPERM` once the content is sealed;
   *   `ERR_EXMEM_SIZE` if there is more than fits; `ENXIO` once destroyed.
   */
  async populate(source: ImageSource, options: PopulateOptions = {}): Promise<number> {
    this.#lifetime.check();
    return await populate(this, source, options);
  }

  /**
   * Makes pages shared: the host can see them through a {@link window}. What
   * was private in them is no secret any more, unless they are wiped.
   *
   * @param offset Byte offset, of a page.
   * @param size Bytes, whole pages.
   * @throws ExclusiveMemoryError `EPERM` once the layout is sealed; `ENXIO`
   *   once destroyed.
   */
  share(offset: Bytes, size: Bytes, options: ConvertOptions = {}): void {
    this.#convert(offset, size, options, native.constants.SHARE_SHARED);
  }

  /**
   * Makes pages private again. When it returns, no process has them any more,
   * on any processor; who used them through a window gets {@link RevokedError}.
   *
   * @param offset Byte offset, of a page.
   * @param size Bytes, whole pages.
   * @throws ExclusiveMemoryError As {@link share}.
   */
  unshare(offset: Bytes, size: Bytes, options: ConvertOptions = {}): void {
    this.#convert(offset, size, options, 0);
  }

  /**
   * Gives up rights for good, for everybody: `seal({ content: true })` before
   * a guest makes its secrets, `seal({ layout: true })` once it shares what it
   * has to. Without an argument, both.
   *
   * @throws ExclusiveMemoryError `ENXIO` once destroyed.
   */
  seal(what: SealOptions = { content: true, layout: true }): void {
    this.#lifetime.check();
    checkOptions(what, 'what');
    const { STATE_CONTENT_SEALED, STATE_LAYOUT_SEALED } = native.constants;
    const bits =
      (checkBoolean(what.content ?? false, 'content') ? STATE_CONTENT_SEALED : 0) |
      (checkBoolean(what.layout ?? false, 'layout') ? STATE_LAYOUT_SEALED : 0);
    if (bits === 0) {
      throw misuse('ERR_EXMEM_ARGUMENT', "Expected 'content' or 'layout' to seal but received neither");
    }
    system.seal(this.fd, bits);
  }

  /**
   * Ties the memory to one virtual machine of this process: from then on, no
   * other address space can map it.
   *
   * @param vm A KVM VM, or its descriptor.
   * @throws ExclusiveMemoryError `EINVAL` if it is no VM, or one of another
   *   process; `EBUSY` if the memory is tied to another one, or another process
   *   has it mapped.
   */
  bind(vm: DescriptorLike): void {
    system.bindVm(this.fd, fdOf(vm, 'vm'));
  }

  /**
   * Makes (a part of) the memory a slot of a VM; it can be in several. The slot
   * outlasts this object, and ends with `vm.removeSlot()`. The mapping for it
   * is made with the first slot, and kept until {@link close}.
   *
   * @throws ExclusiveMemoryError As {@link map}; `EEXIST` (`KVM_SET_USER_MEMORY_REGION`)
   *   if another slot has some of the addresses.
   */
  attach(vm: Vm, options: AttachOptions): void {
    this.#lifetime.check();
    if (!(vm instanceof Vm)) throw unexpected('a Vm', 'vm', vm);
    checkOptions(options, 'options');
    const end = wholePages(this.size);
    const offset = checkPages(options.offset ?? 0, 'offset', 0, end - pageSize);
    const rest = end - offset;
    const name = `size (at ${offset} of ${end} bytes)`;
    const size = checkPages(options.size ?? rest, name, pageSize, rest);
    const gpa = checkPages(options.gpa, 'gpa', 0, Number.MAX_SAFE_INTEGER - size);
    const memory = this.#slots ?? this.map();
    try {
      vm.setSlot({ slot: options.slot, gpa, memory, offset, size });
    } catch (error) {
      if (memory !== this.#slots) memory.unmap();
      throw error;
    }
    this.#slots = memory;
  }

  /**
   * The mapping itself, for a program that sets the slots: {@link Vm.setSlot}.
   * Nobody can read or write by it; it is there for KVM.
   *
   * @throws ExclusiveMemoryError `EBUSY` while it is mapped, here (by
   *   {@link attach}, too) or elsewhere; `EACCES` if it is bound to a VM of
   *   another process; `ENXIO` once destroyed; `EAGAIN` over RLIMIT_MEMLOCK;
   *   `ENOMEM` if the memory cannot be had.
   */
  map(): SlotMapping {
    const access = this.#hostAccess ? 'read-write' : 'none';
    return SlotMapping.of(this.fd, { size: wholePages(this.size), access });
  }

  /**
   * A view of the whole, at the same offsets: shared pages are there, private
   * ones are not ({@link RevokedError}), at any time. A guest may write to them
   * at any moment.
   */
  window(options: GuestWindowOptions = {}): MemoryView {
    const { fd } = this;
    checkOptions(options, 'options');
    const access = checkOneOf(options.access ?? 'read-write', 'access', ['read', 'read-write']);
    const size = wholePages(this.size);
    const view = MemoryView.create({ size });
    try {
      view.map(fd, { at: 0, size, access });
      return view;
    } catch (error) {
      view.close();
      throw error;
    }
  }

  info(): MemoryInfo {
    return memoryInfo(this.fd);
  }

  /**
   * Ends the memory for everybody: a guest that runs on it stops with `EFAULT`
   * from KVM_RUN, windows show nothing, and it is wiped and freed. The
   * descriptor stays open; what remains possible is `info()` and `close()`.
   */
  destroy(): void {
    system.destroy(this.fd);
  }

  /** Gives the descriptor away; the caller has to close it. */
  release(): number {
    this.#lifetime.check();
    this.#lifetime.end('released');
    this.#unmap();
    return this.#descriptor.release();
  }

  /** close(2). Slots and windows live on. Idempotent. */
  close(): void {
    if (!this.#lifetime.end('closed')) return;
    this.#unmap();
    this.#descriptor.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #convert(offset: Bytes, size: Bytes, options: ConvertOptions, flags: number): void {
    this.#lifetime.check();
    const end = wholePages(this.size);
    const start = checkPages(offset, 'offset', 0, end - pageSize);
    const length = checkPages(size, `size (at ${start} of ${end} bytes)`, pageSize, end - start);
    checkOptions(options, 'options');
    const wipe = checkBoolean(options.wipe ?? false, 'wipe') ? native.constants.SHARE_WIPE : 0;
    system.setShared(this.fd, start, length, flags | wipe);
  }

  /** A slot keeps what it needs of it. */
  #unmap(): void {
    this.#slots?.unmap();
  }
}

function guestInfo(fd: number): MemoryInfo {
  let info;
  try {
    info = memoryInfo(fd);
    if (info.guest) return info;
  } catch (error) {
    if (!(error instanceof ExclusiveMemoryError) || error.code !== 'ENOTTY') throw error;
  }
  const found = info === undefined ? 'something else' : 'exclusive memory that is not for guests';
  throw misuse(
    'ERR_EXMEM_WRONG_DESCRIPTOR',
    `Expected guest memory but file descriptor ${fd} is ${found}`,
  );
}
