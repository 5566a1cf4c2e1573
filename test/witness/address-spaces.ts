// SPDX-License-Identifier: MIT
// All address spaces of a machine, the kernel's and each process's, found in an
// image of its physical memory and walked as the processor walks them: which
// addresses lead to a page?
//
// For a kernel with four levels of page tables, without page table isolation, and
// with its memory where it is without KASLR: a guest inside the machine, whose
// tables are in the image too, has KASLR, and so none of them is taken for one.
import { closeSync, openSync, readSync } from 'node:fs';

const pageSize = 4096;
const entries = 512;

/** The levels, and how many bits of address are below an entry of each. */
const shifts = [39, 30, 21, 12] as const;
const lastLevel = shifts.length - 1;

const present = 1;
const large = 1 << 7;

/** Each process has its own page of entries, whose upper half is the kernel's. */
const kernelTextEntry = 511;
/** Where the kernel maps all of physical memory with nokaslr (Documentation/x86/x86_64/mm.rst). */
export const directMap = 0xffff888000000000n;
const directMapEntry = Number((directMap >> 39n) & 511n);

/** A table as pairs of 32 bits: without a BigInt for each entry. */
type Table = Uint32Array;

export interface Sighting {
  /** Physical address of the address space's root. */
  readonly root: number;
  readonly address: bigint;
}

export class AddressSpaces implements Disposable {
  readonly #image: number;
  #roots: readonly number[] = [];

  private constructor(image: number) {
    this.#image = image;
  }

  /** @param kernelRoot physical address of init_top_pgt */
  static open(imagePath: string, imageSize: number, kernelRoot: number): AddressSpaces {
    const spaces = new AddressSpaces(openSync(imagePath, 'r'));
    try {
      spaces.#roots = [...spaces.#findRoots(kernelRoot, imageSize)];
      return spaces;
    } catch (error) {
      spaces[Symbol.dispose]();
      throw error;
    }
  }

  /** Physical addresses. */
  get roots(): readonly number[] {
    return this.#roots;
  }

  [Symbol.dispose](): void {
    closeSync(this.#image);
  }

  /** Wherever a physical page can be reached; what a process has of the kernel is not said again. */
  addressesOf(page: number, kernelRoot: number): Sighting[] {
    const seen = new Map<string, bigint[]>();
    const ofKernel = new Set(this.#walk(kernelRoot, 0, page, seen));
    return this.roots.flatMap((root) =>
      this.#walk(root, 0, page, seen)
        .filter((address) => root === kernelRoot || !ofKernel.has(address))
        .map((address) => ({ root, address: canonical(address) })),
    );
  }

  /** What the processor finds at an address: the physical page, if any. */
  translate(root: number, address: bigint): number | undefined {
    let table = root;
    for (const [level, shift] of shifts.entries()) {
      const words = this.#table(table);
      const index = Number((address >> BigInt(shift)) & 511n);
      if (words === undefined || !isPresent(words, index)) return undefined;
      const target = targetOf(words, index);
      if (level === lastLevel) return target;
      if (isLarge(words, index, level)) {
        const below = Number(address & ((1n << BigInt(shift)) - 1n));
        return target - (target % 2 ** shift) + below - (below % pageSize);
      }
      table = target;
    }
    return undefined;
  }

  *#findRoots(kernelRoot: number, imageSize: number): Generator<number> {
    const wanted = [directMapEntry, kernelTextEntry];
    const kernel = this.#table(kernelRoot);
    if (kernel === undefined || !wanted.every((index) => isPresent(kernel, index))) {
      throw new Error(`Expected the kernel's root table at 0x${kernelRoot.toString(16)}`);
    }
    for (let page = 0; page < imageSize; page += pageSize) {
      const last = this.#read(page + kernelTextEntry * 8, 8);
      if (last?.[0] !== kernel[2 * kernelTextEntry]) continue;
      const table = this.#table(page);
      if (table && wanted.every((index) => targetOf(table, index) === targetOf(kernel, index))) {
        yield page;
      }
    }
  }

  /** Addresses below this table that lead to the page, from the first that the table serves. */
  #walk(table: number, level: number, page: number, seen: Map<string, bigint[]>): bigint[] {
    const key = `${level} ${table}`;
    const known = seen.get(key);
    if (known) return known;
    const found: bigint[] = [];
    // Before the entries: a table that leads to itself ends here.
    seen.set(key, found);
    const words = this.#table(table);
    const shift = shifts[level] ?? 0;
    for (let index = 0; words && index < entries; index++) {
      if (!isPresent(words, index)) continue;
      const base = BigInt(index) << BigInt(shift);
      const target = targetOf(words, index);
      if (level === lastLevel) {
        if (target === page) found.push(base);
      } else if (isLarge(words, index, level)) {
        const start = target - (target % 2 ** shift);
        if (page >= start && page < start + 2 ** shift) found.push(base + BigInt(page - start));
      } else {
        found.push(...this.#walk(target, level + 1, page, seen).map((offset) => base + offset));
      }
    }
    return found;
  }

  #table(address: number): Table | undefined {
    return this.#read(address, pageSize);
  }

  /** Undefined beyond the memory: a device, say. */
  #read(address: number, length: number): Table | undefined {
    const words = new Uint32Array(length / 4);
    return readSync(this.#image, words, 0, length, address) === length ? words : undefined;
  }
}

const isPresent = (table: Table, index: number) => ((table[2 * index] ?? 0) & present) !== 0;

const isLarge = (table: Table, index: number, level: number) =>
  level > 0 && ((table[2 * index] ?? 0) & large) !== 0;

/** The physical page that an entry names; of a large one, with flags in its low bits. */
function targetOf(table: Table, index: number): number {
  const low = (table[2 * index] ?? 0) & ~(pageSize - 1);
  const high = (table[2 * index + 1] ?? 0) & 0x000f_ffff;
  return high * 2 ** 32 + (low >>> 0);
}

/** The upper half's addresses begin with ones. */
const canonical = (address: bigint) => BigInt.asUintN(64, BigInt.asIntN(48, address));
