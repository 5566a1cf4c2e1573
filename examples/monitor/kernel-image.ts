// SPDX-License-Identifier: MIT
// A bzImage, as distributions install it, by the 64-bit boot protocol
// (Documentation/arch/x86/boot.rst).
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';

/** Of fields in the file; at the same places in the zero page. */
export const setupHeader = {
  start: 0x1f1,
  setupSectors: 0x1f1,
  jump: 0x200,
  magic: 0x202,
  version: 0x206,
  typeOfLoader: 0x210,
  loadFlags: 0x211,
  code32Start: 0x214,
  ramdiskImage: 0x218,
  ramdiskSize: 0x21c,
  heapEndPointer: 0x224,
  commandLinePointer: 0x228,
  ramdiskAddressMax: 0x22c,
  extendedLoadFlags: 0x236,
  commandLineSize: 0x238,
  preferredAddress: 0x258,
  initSize: 0x260,
} as const;

const sectorSize = 512;
const magic = 'HdrS';
const minVersion = 0x20c;
/** XLF_KERNEL_64: it has an entry point for 64-bit mode. */
const kernel64 = 1;
/** Of that entry point, from where the kernel is loaded. */
const entry64 = 0x200;

export interface KernelImage {
  readonly path: string;
  /** What the zero page repeats, from `setupHeader.start` on. */
  readonly header: Buffer;
  /** Where in the file the protected-mode part begins, and its size. */
  readonly offset: number;
  readonly size: number;
  /** Where it wants to be, and how much it needs there until it knows its memory. */
  readonly loadAddress: number;
  readonly initSize: number;
  readonly entry: number;
  readonly maxCommandLine: number;
}

export function openKernelImage(path: string): KernelImage {
  const fd = openSync(path, 'r');
  try {
    const start = Buffer.alloc(0x1000);
    readSync(fd, start, 0, start.length, 0);
    return parseKernelImage(path, start, fstatSync(fd).size);
  } finally {
    closeSync(fd);
  }
}

export function parseKernelImage(path: string, start: Buffer, fileSize: number): KernelImage {
  const found = start.toString('latin1', setupHeader.magic, setupHeader.magic + magic.length);
  if (found !== magic) {
    throw new Error(`Expected ${path} to be a bzImage, which has "${magic}" at byte 514`);
  }
  const version = start.readUInt16LE(setupHeader.version);
  const extended = start.readUInt16LE(setupHeader.extendedLoadFlags);
  if (version < minVersion || (extended & kernel64) === 0) {
    throw new Error(
      `Expected ${path} to have a 64-bit entry point, found boot protocol 0x${version.toString(16)}, ` +
        `xloadflags 0x${extended.toString(16)}`,
    );
  }
  // By tradition, 0 means 4.
  const sectors = start.readUInt8(setupHeader.setupSectors) || 4;
  const offset = (sectors + 1) * sectorSize;
  // The jump over the header says how long the header is.
  const end = setupHeader.magic + start.readUInt8(setupHeader.jump + 1);
  const loadAddress = Number(start.readBigUInt64LE(setupHeader.preferredAddress));
  return {
    path,
    header: Buffer.from(start.subarray(setupHeader.start, end)),
    offset,
    size: fileSize - offset,
    loadAddress,
    initSize: start.readUInt32LE(setupHeader.initSize),
    entry: loadAddress + entry64,
    maxCommandLine: start.readUInt32LE(setupHeader.commandLineSize),
  };
}
