// SPDX-License-Identifier: MIT
// struct kvm_msrs of linux/kvm.h, x86.
import { checkArray, checkOptions } from '../validate.js';
import { checkU32, checkWord } from './checks.js';

/** A model-specific register. */
export interface MsrEntry {
  readonly index: number;
  readonly value: bigint;
}

const headerSize = 8;
const entrySize = 16;

export function msrTable(entries: readonly MsrEntry[]): Uint8Array {
  checkArray(entries, 'entries');
  const table = new Uint8Array(headerSize + entries.length * entrySize);
  const view = new DataView(table.buffer);
  view.setUint32(0, entries.length, true);
  entries.forEach((entry, i) => {
    checkOptions(entry, `entries[${i}]`);
    const at = headerSize + i * entrySize;
    view.setUint32(at, checkU32(entry.index, `entries[${i}].index`), true);
    view.setBigUint64(at + 8, checkWord(entry.value, `entries[${i}].value`), true);
  });
  return table;
}

export function decodeMsrs(table: Uint8Array): MsrEntry[] {
  const view = new DataView(table.buffer, table.byteOffset, table.byteLength);
  return Array.from({ length: view.getUint32(0, true) }, (_, i) => {
    const at = headerSize + i * entrySize;
    return { index: view.getUint32(at, true), value: view.getBigUint64(at + 8, true) };
  });
}
