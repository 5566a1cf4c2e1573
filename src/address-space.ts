// SPDX-License-Identifier: MIT
import type { Access } from './access.js';
import { allOrNothing } from './all-or-nothing.js';
import { Descriptor } from './descriptor.js';
import { ExclusiveMemoryError, misuse } from './errors.js';
import { type Interval, IntervalMap } from './interval-map.js';
import { Vm } from './kvm/vm.js';
import { Lifetime } from './lifetime.js';
import { memoryInfo } from './memory-info.js';
import { type HandleOptions, MemoryView, type MemoryViewOptions } from './memory-view.js';
import { pageSize, wholePages } from './page.js';
import { PartSlots } from './part-slots.js';
import { system } from './system.js';
import {
  type Bytes,
  checkBoolean,
  checkBytes,
  checkInteger,
  checkOptions,
  checkPages,
  checkString,
  unexpected,
} from './validate.js';
import type { ViewHandle } from './view-handle.js';
import { bytesFrom, checkOwnMemory, sourceFd, type ViewSource } from './view-source.js';

export interface PartOptions {
  /** Its first address, of a page. */
  readonly at: Bytes;
  readonly access: Access;
  /** Byte offset in the source, of a page. Default: 0. */
  readonly offset?: Bytes;
  /** Bytes, whole pages. Default: up to the end of the source. */
  readonly size?: Bytes;
  /** As for {@link MemoryView.map}. Default: false. */
  readonly yield?: boolean;
}

export interface SpaceAttachOptions {
  /** The address space takes memory slots of the VM from this one on. Default: 0. */
  readonly firstSlot?: number;
}

/** A range of a source that has a name and addresses. */
export interface Part {
  readonly name: string;
  readonly at: number;
  readonly size: number;
  readonly offset: number;
  readonly access: Access;
  readonly yield: boolean;
}

/** Where an address leads. */
export interface Location {
  readonly part: Part;
  /** Byte offset in the part's source. */
  readonly offset: number;
}

/** More than any kernel has. */
const maxSlot = 0xffff;

/** A part, and what it shows: a descriptor of our own, or memory. */
interface Placed {
  readonly part: Part;
  readonly source: Descriptor | Uint8Array;
  /** It is {@link GuestMemory}. */
  readonly guest: boolean;
}

/**
 * A layout of named parts (the RAM of a machine, its ROM, a window on files)
 * and the view that shows it. Each change is a change of both.
 *
 * Attached to a VM, it is the guest-physical map: each part is a memory slot at
 * its address, {@link GuestMemory} as memory that only the guest can read. Each
 * change is one of the slots, too, all or nothing. A vCPU that runs meanwhile
 * may find nothing where a part moves, which is an exit, but nothing stale.
 */
export class AddressSpace implements Disposable {
  readonly #lifetime = new Lifetime('AddressSpace');
  readonly #view: MemoryView;
  readonly #layout = new IntervalMap<Placed>();
  readonly #byName = new Map<string, Placed>();
  #slots: PartSlots | undefined;

  private constructor(view: MemoryView) {
    this.#view = view;
  }

  /** @throws ExclusiveMemoryError As {@link MemoryView.create}. */
  static create(options: MemoryViewOptions): AddressSpace {
    return new AddressSpace(MemoryView.create(options));
  }

  /** Bytes; the addresses are those below. */
  get size(): number {
    return this.#view.size;
  }

  /**
   * @param name One that no other part has.
   * @param source As for {@link MemoryView.map}, or for
   *   {@link MemoryView.mapMemory}. A descriptor is duplicated: the caller may
   *   close it.
   * @throws ExclusiveMemoryError `ERR_EXMEM_ARGUMENT` if a part has the name, or
   *   one of the addresses; as for these two, and as for {@link attach}.
   */
  add(name: string, source: ViewSource | Uint8Array, options: PartOptions): Part {
    this.#lifetime.check();
    checkString(name, 'name');
    if (this.#byName.has(name)) {
      throw misuse('ERR_EXMEM_ARGUMENT', `Expected a new name but there is a part '${name}'`);
    }
    checkOptions(options, 'options');
    const own = source instanceof Uint8Array ? checkOwnMemory(source, 'source') : undefined;
    const offset = checkPages(options.offset ?? 0, 'offset', 0, Number.MAX_SAFE_INTEGER);
    const at = checkPages(options.at, 'at', 0, this.size - pageSize);
    const rest = options.size ?? restOf(source, offset);
    const room = Math.min(this.size - at, own === undefined ? Infinity : own.byteLength - offset);
    const size = checkPages(rest, `size (at ${at} of ${this.size} bytes)`, pageSize, room);
    const yields = checkBoolean(options.yield ?? false, 'yield');
    if (yields && own !== undefined) {
      throw misuse('ERR_EXMEM_ARGUMENT', 'Expected exclusive memory to yield but received own memory');
    }
    this.#checkFree(at, size);
    const part = { name, at, size, offset, access: options.access, yield: yields };
    const held = hold(source);
    const placed = { part, source: held, guest: isGuest(held) };
    try {
      allOrNothing((step) => {
        step(() => { this.#show(placed, false); }, () => { this.#view.unmap(at, size); });
        this.#setSlot(placed);
      });
    } catch (error) {
      release(placed);
      throw error;
    }
    this.#place(placed);
    return part;
  }

  /** When it returns, nobody finds it at its addresses any more. */
  remove(name: string): void {
    const placed = this.#named(name);
    allOrNothing((step) => {
      step(() => { this.#clearSlot(placed); }, () => { this.#setSlot(placed); });
      this.#view.unmap(placed.part.at, placed.part.size);
    });
    this.#displace(placed);
    release(placed);
  }

  /** For a moment it can be found at both places, but by the guest of a VM at neither. */
  move(name: string, at: Bytes): Part {
    const before = this.#named(name);
    const { size, at: from } = before.part;
    const part = { ...before.part, at: checkPages(at, 'at', 0, this.size - size) };
    this.#checkFree(part.at, size, before.part);
    const after = { ...before, part };
    const overlaps = Math.abs(part.at - from) < size;
    const show = (placed: Placed, replace: boolean) => { this.#show(placed, replace); };
    allOrNothing((step) => {
      step(() => { this.#clearSlot(before); }, () => { this.#setSlot(before); });
      step(
        () => { show(after, overlaps); },
        () => {
          show(before, true);
          this.#hide(after, before);
        },
      );
      this.#hide(before, after);
      this.#setSlot(after);
    });
    this.#displace(before);
    this.#place(after);
    return part;
  }

  /**
   * When it returns, nobody can use the old permission any more. A guest's
   * store to what it may only read is an exit to the monitor, as to a ROM; what
   * allows nothing makes KVM_RUN fail with `EFAULT`.
   */
  protect(name: string, access: Access): Part {
    const before = this.#named(name);
    this.#view.protect(before.part.at, before.part.size, access);
    const part = { ...before.part, access };
    this.#place({ ...before, part });
    return part;
  }

  /**
   * Makes each part, now and later, a memory slot of the VM, at its address.
   * Parts of {@link GuestMemory} are for the guest alone; others are what the
   * view shows, and no page of them is pinned. Other exclusive memory cannot be
   * used by a guest (`EFAULT` from KVM_RUN).
   *
   * @throws ExclusiveMemoryError `ERR_EXMEM_BUSY` if it is attached already;
   *   `EEXIST` (`KVM_SET_USER_MEMORY_REGION`) if another slot has some of the
   *   addresses, `EINVAL` if there are not as many slots.
   */
  attach(vm: Vm, options: SpaceAttachOptions = {}): void {
    this.#lifetime.check();
    if (!(vm instanceof Vm)) throw unexpected('a Vm', 'vm', vm);
    checkOptions(options, 'options');
    const firstSlot = checkInteger(options.firstSlot ?? 0, 'firstSlot', 0, maxSlot);
    if (this.#slots !== undefined) {
      throw misuse('ERR_EXMEM_BUSY', 'This AddressSpace is attached to a VM; call detach() first');
    }
    const slots = new PartSlots(vm, this.#view, firstSlot);
    try {
      for (const { value } of this.#layout) slots.set({ ...value.part, guest: value.guest });
    } catch (error) {
      slots[Symbol.dispose]();
      throw error;
    }
    this.#slots = slots;
  }

  /** Takes the parts from the VM again. When it returns, its guest finds nothing. Idempotent. */
  detach(): void {
    this.#lifetime.check();
    this.#detach();
  }

  /** The memory slot of a part; undefined while the space is not attached. */
  slotOf(name: string): number | undefined {
    this.#named(name);
    return this.#slots?.slotOf(name);
  }

  /** What is at an address; undefined where nothing is. */
  find(address: Bytes): Location | undefined {
    this.#lifetime.check();
    const position = checkBytes(address, 'address', 0, this.size - 1);
    const found = this.#layout.at(position);
    if (found === undefined) return undefined;
    const { part } = found.value;
    return { part, offset: part.offset + position - part.at };
  }

  get(name: string): Part | undefined {
    this.#lifetime.check();
    return this.#byName.get(checkString(name, 'name'))?.part;
  }

  /** All parts, by address. */
  ranges(): Part[] {
    this.#lifetime.check();
    return Array.from(this.#layout, ({ value }) => value.part);
  }

  /** As {@link MemoryView.handle}. */
  handle(options: HandleOptions = {}): ViewHandle {
    this.#lifetime.check();
    return this.#view.handle(options);
  }

  /** Takes everything back, for good, from a VM too. Idempotent. */
  close(): void {
    if (!this.#lifetime.end('closed')) return;
    try {
      using _view = this.#view;
      this.#detach();
    } finally {
      this.#byName.forEach(release);
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #named(name: string): Placed {
    this.#lifetime.check();
    const placed = this.#byName.get(checkString(name, 'name'));
    if (placed !== undefined) return placed;
    throw misuse('ERR_EXMEM_ARGUMENT', `Expected the name of a part but there is no '${name}'`);
  }

  #checkFree(at: number, size: number, except?: Part): void {
    const taken = this.#layout
      .overlapping(at, at + size)
      .find((interval: Interval<Placed>) => interval.value.part !== except);
    if (taken === undefined) return;
    const { name, at: start } = taken.value.part;
    throw misuse(
      'ERR_EXMEM_ARGUMENT',
      `Expected free addresses for ${size} bytes at ${at} but part '${name}' is at ${start}`,
    );
  }

  #show({ part, source }: Placed, replace: boolean): void {
    const { at, size, offset, access, yield: yields } = part;
    if (source instanceof Uint8Array) {
      this.#view.mapMemory(source.subarray(offset, offset + size), { at, access, replace });
    } else {
      this.#view.map(source, { at, size, offset, access, replace, yield: yields });
    }
  }

  /** Takes back where it is shown, but for where the other one is. */
  #hide({ part }: Placed, except: Placed): void {
    const left = new IntervalMap<null>();
    left.set(part.at, part.at + part.size, null);
    left.delete(except.part.at, except.part.at + except.part.size);
    for (const { start, end } of left) this.#view.unmap(start, end - start);
  }

  #setSlot({ part, guest }: Placed): void {
    this.#slots?.set({ ...part, guest });
  }

  #clearSlot({ part }: Placed): void {
    this.#slots?.clear(part.name);
  }

  #detach(): void {
    const slots = this.#slots;
    this.#slots = undefined;
    slots?.[Symbol.dispose]();
  }

  #place(placed: Placed): void {
    const { name, at, size } = placed.part;
    this.#layout.set(at, at + size, placed);
    this.#byName.set(name, placed);
  }

  #displace({ part }: Placed): void {
    this.#layout.delete(part.at, part.at + part.size);
    this.#byName.delete(part.name);
  }
}

function restOf(source: ViewSource | Uint8Array, offset: number): number {
  if (source instanceof Uint8Array) return source.byteLength - offset;
  return wholePages(bytesFrom(sourceFd(source, 'source'), offset));
}

function hold(source: ViewSource | Uint8Array): Descriptor | Uint8Array {
  if (source instanceof Uint8Array) return source;
  return new Descriptor(system.duplicate(sourceFd(source, 'source')));
}

function isGuest(source: Descriptor | Uint8Array): boolean {
  if (source instanceof Uint8Array) return false;
  try {
    return memoryInfo(source.fd).guest;
  } catch (error) {
    // It is no exclusive memory; whether it can be shown at all, the view says.
    if (error instanceof ExclusiveMemoryError) return false;
    throw error;
  }
}

function release({ source }: Placed): void {
  if (source instanceof Descriptor) source.close();
}
