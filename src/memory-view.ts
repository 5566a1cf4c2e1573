// SPDX-License-Identifier: MIT
import { type Access, accessFlags, accessOf } from './access.js';
import { Descriptor } from './descriptor.js';
import { createView } from './device.js';
import { misuse } from './errors.js';
import { IntervalMap } from './interval-map.js';
import { Lifetime } from './lifetime.js';
import { native } from './native.js';
import { pageSize, wholePages } from './page.js';
import { system } from './system.js';
import { type Bytes, checkBoolean, checkOptions, checkPages } from './validate.js';
import { ViewHandle } from './view-handle.js';
import { bytesFrom, checkOwnMemory, sourceFd, type ViewSource } from './view-source.js';

export interface MemoryViewOptions {
  /** Bytes of address space, whole pages: it costs no memory. */
  readonly size: Bytes;
}

export interface MapMemoryOptions {
  /** Byte offset in the view, of a page. */
  readonly at: Bytes;
  readonly access: Access;
  /**
   * Takes the place of whatever the range holds, in one step. Without it, a
   * range that holds something already is `EEXIST`.
   */
  readonly replace?: boolean;
}

export interface MapOptions extends MapMemoryOptions {
  /** Byte offset in the source, of a page. Default: 0. */
  readonly offset?: Bytes;
  /** Bytes, whole pages. Default: up to the end of the source. */
  readonly size?: Bytes;
  /**
   * Only for exclusive memory: give way when somebody maps it, as
   * `secret.use()` does, rather than make that fail with `EBUSY`. For as long,
   * whoever uses the view finds nothing there ({@link RevokedError}).
   */
  readonly yield?: boolean;
}

export interface HandleOptions {
  /** The most that the handle ever allows, whatever ranges do. Default: no such limit. */
  readonly cap?: Exclude<Access, 'none'>;
}

/** What a range of a view shows. */
export interface ViewRange {
  /** Byte offset in the view. */
  readonly at: number;
  readonly size: number;
  /** Byte offset in the source; of `process`, the address. */
  readonly offset: number;
  readonly access: Access;
  readonly yield: boolean;
  /** A file or memfd, exclusive memory, or memory of the process that mapped it. */
  readonly kind: 'file' | 'exclusive' | 'process';
}

/** Views that show memory of this process: not to be collected before that memory. */
const showing = new Set<MemoryView>();

/**
 * A window of virtual size. Its owner decides, page range by page range and at
 * any time, what whoever has a {@link handle} finds there, and can take it
 * back: when {@link unmap} or {@link protect} returns, nobody can use the old
 * permission any more, on any processor.
 *
 * Files and memory are not copied and not pinned: what is read through the view
 * is what the source holds then.
 *
 * Methods throw {@link ExclusiveMemoryError} with the kernel's errno, and
 * `ERR_EXMEM_DISPOSED` once disposed. It needs the kernel module; a forgotten
 * one is disposed when it is collected, unless it shows own memory.
 */
export class MemoryView implements Disposable {
  /** Bytes. */
  readonly size: number;
  readonly #lifetime = new Lifetime('MemoryView');
  readonly #control: Descriptor;
  /** Own memory that the view shows, so that it stays what it is. */
  readonly #memory = new IntervalMap<Uint8Array>();

  private constructor(control: Descriptor, size: number) {
    this.#control = control;
    this.size = size;
  }

  /**
   * @throws ExclusiveMemoryError `ENOENT` or `EACCES` (`open`) where the module
   *   is not loaded or not for this user.
   */
  static create(options: MemoryViewOptions): MemoryView {
    checkOptions(options, 'options');
    const size = checkPages(options.size, 'size', pageSize, Number.MAX_SAFE_INTEGER);
    return new MemoryView(createView(size), size);
  }

  /**
   * Shows a range of a source.
   *
   * @throws ExclusiveMemoryError `EEXIST` if the range holds something;
   *   `EACCES` if the descriptor is not open for the access; `EPERM` for
   *   execution of what is exclusive, or on a `noexec` mount; `ELOOP` for a
   *   view; `ENODEV` for what is neither a file nor exclusive memory; `EBUSY`
   *   for exclusive memory that is mapped, without `yield`, and `ENXIO` if it
   *   was destroyed; `EINVAL` for a range that is not aligned to the source's
   *   own pages (hugetlbfs), and for a file that is to yield.
   */
  map(source: ViewSource, options: MapOptions): void {
    this.#lifetime.check();
    checkOptions(options, 'options');
    const fd = sourceFd(source, 'source');
    const offset = checkPages(options.offset ?? 0, 'offset', 0, Number.MAX_SAFE_INTEGER);
    const at = this.#checkOffset(options.at);
    const size = this.#checkSize(options.size ?? wholePages(bytesFrom(fd, offset)), at);
    const yields = checkBoolean(options.yield ?? false, 'yield');
    const flags = mapFlags(options) | (yields ? native.constants.MEMVIEW_YIELD : 0);
    system.viewMapFd(this.#fd, fd, offset, size, at, flags);
    this.#forget(at, size);
  }

  /**
   * Shows memory of this process: whole pages of a SharedArrayBuffer, which the
   * view keeps alive while it shows them. (An ArrayBuffer can be transferred
   * away and freed, and the view would show what comes to be there next.)
   *
   * @throws ExclusiveMemoryError `EEXIST` if the range holds something.
   */
  mapMemory(memory: Uint8Array, options: MapMemoryOptions): void {
    this.#lifetime.check();
    checkOwnMemory(memory, 'memory');
    checkOptions(options, 'options');
    const at = this.#checkOffset(options.at);
    const size = this.#checkSize(memory.byteLength, at);
    system.viewMapMemory(this.#fd, memory, at, mapFlags(options));
    this.#memory.set(at, at + size, memory);
    showing.add(this);
  }

  /**
   * Takes a range back, whatever it holds; ranges are split if need be.
   *
   * @param at Byte offset in the view, of a page.
   * @param size Bytes, whole pages.
   */
  unmap(at: Bytes, size: Bytes): void {
    const start = this.#checkOffset(at);
    const length = this.#checkSize(size, start);
    system.viewUnmap(this.#fd, start, length);
    this.#forget(start, length);
  }

  /**
   * Changes what a range allows, where it holds something.
   *
   * @param at Byte offset in the view, of a page.
   * @param size Bytes, whole pages.
   * @throws ExclusiveMemoryError `EACCES` if a source is not open for it.
   */
  protect(at: Bytes, size: Bytes, access: Access): void {
    const start = this.#checkOffset(at);
    const length = this.#checkSize(size, start);
    system.viewProtect(this.#fd, start, length, accessFlags(access, 'access'));
  }

  /** What is mapped, in order. */
  ranges(): ViewRange[] {
    const { MEMVIEW_YIELD, MEMVIEW_KIND_FILE, MEMVIEW_KIND_EXCLUSIVE } = native.constants;
    return system.viewGetRanges(this.#fd).map(({ at, size, offset, flags, kind }) => ({
      at,
      size,
      offset,
      access: accessOf(flags),
      yield: (flags & MEMVIEW_YIELD) !== 0,
      kind:
        kind === MEMVIEW_KIND_FILE ? 'file'
        : kind === MEMVIEW_KIND_EXCLUSIVE ? 'exclusive'
        : 'process',
    }));
  }

  /**
   * Resolves when every change of a source so far (a truncation, say) has
   * reached everybody. Changes made here need no such wait.
   */
  async sync(): Promise<void> {
    await system.viewSync(this.#fd);
  }

  /**
   * A handle on the view: a file descriptor that can be mapped and passed on,
   * and nothing else. There can be many. It lasts beyond this object, but has
   * nothing to show then.
   */
  handle(options: HandleOptions = {}): ViewHandle {
    checkOptions(options, 'options');
    const flags = options.cap === undefined ? 0 : checkCap(options.cap);
    return ViewHandle.fromFd(new Descriptor(system.viewGetHandle(this.#fd, flags)));
  }

  /** Takes everything back, for good. Idempotent. */
  close(): void {
    if (!this.#lifetime.end('closed')) return;
    using control = this.#control;
    // Not left to close(2): a sync() that runs borrows the open file.
    system.viewUnmap(control.fd, 0, this.size);
    this.#forget(0, this.size);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  get #fd(): number {
    this.#lifetime.check();
    return this.#control.fd;
  }

  #checkOffset(at: Bytes): number {
    this.#lifetime.check();
    return checkPages(at, 'at', 0, this.size - pageSize);
  }

  #checkSize(size: Bytes, at: number): number {
    return checkPages(size, `size (at ${at} of ${this.size} bytes)`, pageSize, this.size - at);
  }

  /** The range shows no own memory any more. */
  #forget(at: number, size: number): void {
    this.#memory.delete(at, at + size);
    if (this.#memory.size === 0) showing.delete(this);
  }
}

function mapFlags({ access, replace = false }: MapMemoryOptions): number {
  const flags = accessFlags(access, 'access');
  return checkBoolean(replace, 'replace') ? flags | native.constants.MEMVIEW_REPLACE : flags;
}

function checkCap(cap: Access): number {
  const flags = accessFlags(cap, 'cap');
  if (flags !== 0) return flags;
  throw misuse('ERR_EXMEM_ARGUMENT', "Expected a cap that allows something but received 'none'");
}
