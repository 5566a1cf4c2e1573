// SPDX-License-Identifier: MIT
// The host kernel's own view of physical memory, its direct map, as root reads it
// from /proc/kcore: an ELF file with a segment for each range of addresses.
import { closeSync, openSync, readSync } from 'node:fs';

const headerSize = 64;
const field = {
  programHeaders: 0x20,
  programHeaderSize: 0x36,
  programHeaderCount: 0x38,
} as const;
const segment = { type: 0, offset: 8, physical: 0x18, size: 0x20 } as const;
const load = 1;

/** Where in the file a physical address stands. */
export function offsetInCore(read: (offset: number, length: number) => Buffer, physical: number): number {
  const header = read(0, headerSize);
  const start = Number(header.readBigUInt64LE(field.programHeaders));
  const size = header.readUInt16LE(field.programHeaderSize);
  const count = header.readUInt16LE(field.programHeaderCount);
  const table = read(start, size * count);
  for (let at = 0; at < table.length; at += size) {
    // Not what has no physical address: modules say 2^64 - 1.
    const from = Number(table.readBigUInt64LE(at + segment.physical));
    const length = Number(table.readBigUInt64LE(at + segment.size));
    if (table.readUInt32LE(at + segment.type) === load && physical >= from && physical < from + length) {
      return Number(table.readBigUInt64LE(at + segment.offset)) + physical - from;
    }
  }
  throw new Error(`Expected physical address 0x${physical.toString(16)} in the kernel's memory`);
}

/** What stands at a physical page's address in the direct map. */
export function readDirectMap(physical: number, length: number): Buffer {
  const fd = openSync('/proc/kcore', 'r');
  const read = (offset: number, size: number) => {
    const bytes = Buffer.alloc(size);
    readSync(fd, bytes, 0, size, offset);
    return bytes;
  };
  try {
    return read(offsetInCore(read, physical), length);
  } finally {
    closeSync(fd);
  }
}
