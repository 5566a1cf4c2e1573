// SPDX-License-Identifier: MIT
// struct boot_params: what a boot loader tells the kernel
// (Documentation/arch/x86/zero-page.rst).
import { type KernelImage, setupHeader } from './kernel-image.js';
import { addresses, e820, type MemoryMap, type RangeKind } from './memory-map.js';

const size = 4096;
const acpiRsdp = 0x070;
const e820Count = 0x1e8;
const e820Table = 0x2d0;
const e820EntrySize = 20;
const e820Types: Readonly<Record<RangeKind, number>> = { ram: 1, reserved: 2 };

/** A loader that has no number of its own. */
const undefinedLoader = 0xff;
const loadedHigh = 1;

export function zeroPage(kernel: KernelImage, map: MemoryMap): Buffer {
  const page = Buffer.alloc(size);
  kernel.header.copy(page, setupHeader.start);
  page.writeUInt8(undefinedLoader, setupHeader.typeOfLoader);
  page.writeUInt8(page.readUInt8(setupHeader.loadFlags) | loadedHigh, setupHeader.loadFlags);
  page.writeUInt32LE(kernel.loadAddress, setupHeader.code32Start);
  page.writeUInt32LE(map.initramfs.address, setupHeader.ramdiskImage);
  page.writeUInt32LE(map.initramfs.size, setupHeader.ramdiskSize);
  page.writeUInt32LE(addresses.commandLine, setupHeader.commandLinePointer);
  page.writeBigUInt64LE(BigInt(addresses.acpi), acpiRsdp);

  const ranges = e820(map);
  page.writeUInt8(ranges.length, e820Count);
  ranges.forEach(({ address, size: length, kind }, index) => {
    const entry = e820Table + index * e820EntrySize;
    page.writeBigUInt64LE(BigInt(address), entry);
    page.writeBigUInt64LE(BigInt(length), entry + 8);
    page.writeUInt32LE(e820Types[kind], entry + 16);
  });
  return page;
}
