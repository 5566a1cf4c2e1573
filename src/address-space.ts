// SPDX-License-Identifier: MIT
import type { Access } from './access.js';
import { Descriptor } from './descriptor.js';
import { misuse } from './errors.js';
import { type Interval, IntervalMap } from './interval-map.js';
import { Lifetime } from './lifetime.js';
import { type HandleOptions, MemoryView, type MemoryViewOptions } from './memory-view.js';
import { pageSize, wholePages } from './page.js';
import { system } from './system.js';
import {
  type Bytes,
  checkBoolean,
  checkBytes,
  checkOptions,
  checkPages,
  checkString,
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

/** A part, and what it shows: a descriptor of our own, or memory. */
interface Placed {
  readonly part: Part;
  readonly source: Descriptor | Uint8Array;
}

/**
 * A layout of named parts (the RAM of a machine, its ROM, a window on files)
 * and the view that shows it. Each change is a change of both.
 */
export class AddressSpace implements Disposable {
  readonly #lifetime = new Lifetime('AddressSpace');
  readonly #view: MemoryView;
  readonly #layout = new IntervalMap<Placed>();
  readonly #byName = new Map<string, Placed>();

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
   *   one of the addresses; as for these two.
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
    const placed = { part, source: hold(source) };
    try {
      this.#show(placed, false);
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
    this.#view.unmap(placed.part.at, placed.part.size);
    this.#displace(placed);
    release(placed);
  }

  /** For a moment it can be found at both places. */
  move(name: string, at: Bytes): Part {
    const { part: before, source } = this.#named(name);
    const { size } = before;
    const part = { ...before, at: checkPages(at, 'at', 0, this.size - size) };
    this.#checkFree(part.at, size, before);
    const placed = { part, source };
    const overlaps = Math.abs(part.at - before.at) < size;
    this.#show(placed, overlaps);
    const left = new IntervalMap<null>();
    left.set(before.at, before.at + size, null);
    left.delete(part.at, part.at + size);
    for (const { start, end } of left) this.#view.unmap(start, end - start);
    this.#displace({ part: before, source });
    this.#place(placed);
    return part;
  }

  /** When it returns, nobody can use the old permission any more. */
  protect(name: string, access: Access): Part {
    const { part: before, source } = this.#named(name);
    this.#view.protect(before.at, before.size, access);
    const part = { ...before, access };
    this.#place({ part, source });
    return part;
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

  /** Takes everything back, for good. Idempotent. */
  close(): void {
    if (!this.#lifetime.end('closed')) return;
    try {
      this.#view.close();
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

function release({ source }: Placed): void {
  if (source instanceof Descriptor) source.close();
}
