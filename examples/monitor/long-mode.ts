// SPDX-License-Identifier: MIT
// The state in which the 64-bit boot protocol wants the processor: long mode,
// memory mapped where it is, flat segments.
import { addresses } from './memory-map.js';

const entrySize = 8;
const entries = 512;
const pageSize = 4096;
const largePage = 2 << 20;

const present = 1n << 0n;
const writable = 1n << 1n;
const large = 1n << 7n;

/** Of memory that is mapped. */
const gibibytes = 4;

/** One PML4, one PDPT, and a page directory of 2 MiB pages for each GiB; they refer to one another by address. */
export function identityPageTables(base: number): Buffer {
  const tables = Buffer.alloc((2 + gibibytes) * pageSize);
  const addressOf = (table: number) => BigInt(base + table * pageSize);
  const set = (table: number, index: number, value: bigint) =>
    tables.writeBigUInt64LE(value, table * pageSize + index * entrySize);

  set(0, 0, addressOf(1) | present | writable);
  for (let gib = 0; gib < gibibytes; gib++) {
    set(1, gib, addressOf(2 + gib) | present | writable);
    for (let i = 0; i < entries; i++) {
      const address = BigInt(gib * entries + i) * BigInt(largePage);
      set(2 + gib, i, address | present | writable | large);
    }
  }
  return tables;
}

/** The selectors __BOOT_CS and __BOOT_DS, which the protocol names. */
export const selectors = { code: 0x10, data: 0x18 } as const;

export function bootGdt(): Buffer {
  const gdt = Buffer.alloc(4 * entrySize);
  gdt.writeBigUInt64LE(0x00af_9b00_0000_ffffn, selectors.code);
  gdt.writeBigUInt64LE(0x00cf_9300_0000_ffffn, selectors.data);
  return gdt;
}

export const controlRegisters = {
  /** PE, MP, ET, NE, WP, AM, PG */
  cr0: 0x8005_0033n,
  /** PAE */
  cr4: 0x20n,
  /** LME, LMA */
  efer: 0x500n,
  cr3: BigInt(addresses.pageTables),
} as const;
