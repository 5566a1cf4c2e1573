// SPDX-License-Identifier: MIT
// struct kvm_cpuid2 of linux/kvm.h, x86.
import { checkArray, checkOptions } from '../validate.js';
import { checkU32 } from './checks.js';

/** `struct kvm_cpuid_entry2`: what a leaf tells the guest. */
export interface CpuidEntry {
  readonly function: number;
  readonly index: number;
  /** KVM_CPUID_FLAG_*: 1 if `index` matters. */
  readonly flags: number;
  readonly eax: number;
  readonly ebx: number;
  readonly ecx: number;
  readonly edx: number;
}

const fields = ['function', 'index', 'flags', 'eax', 'ebx', 'ecx', 'edx'] as const;
const headerSize = 8;
/** Three words behind the fields are padding. */
const entrySize = (fields.length + 3) * 4;

/** Room for so many entries. */
export function cpuidTable(count: number): Uint8Array {
  const table = new Uint8Array(headerSize + count * entrySize);
  new DataView(table.buffer).setUint32(0, count, true);
  return table;
}

export function decodeCpuid(table: Uint8Array): CpuidEntry[] {
  const view = new DataView(table.buffer, table.byteOffset, table.byteLength);
  return Array.from({ length: view.getUint32(0, true) }, (_, i) => {
    const at = headerSize + i * entrySize;
    return Object.fromEntries(
      fields.map((name, j) => [name, view.getUint32(at + j * 4, true)]),
    ) as unknown as CpuidEntry;
  });
}

export function encodeCpuid(entries: readonly CpuidEntry[]): Uint8Array {
  checkArray(entries, 'entries');
  const table = cpuidTable(entries.length);
  const view = new DataView(table.buffer);
  entries.forEach((entry, i) => {
    checkOptions(entry, `entries[${i}]`);
    fields.forEach((name, j) => {
      const value = checkU32(entry[name], `entries[${i}].${name}`);
      view.setUint32(headerSize + i * entrySize + j * 4, value, true);
    });
  });
  return table;
}
