// SPDX-License-Identifier: MIT
// What is where in the guest's memory when it starts: guest-physical addresses.

const kib = 1024;
const mib = 1024 * kib;
const pageSize = 4096;

export const addresses = {
  zeroPage: 0x1_0000,
  commandLine: 0x2_0000,
  pageTables: 0x3_0000,
  gdt: 0x4_0000,
  stackEnd: 0x5_0000,
  /** Where a BIOS would end. The legacy area is plain memory: what probes it finds zeros. */
  legacyArea: 0x9_fc00,
  acpi: 0xe_0000,
  highMemory: 0x10_0000,
} as const;

/** Of the window that guest and monitor share. */
export const windowSize = 64 * kib;

export interface MemoryMap {
  readonly size: number;
  readonly window: { readonly address: number; readonly size: number };
  readonly initramfs: { readonly address: number; readonly size: number };
}

/** Memory for the kernel alone, before it knows what else there is. */
const leastSize = 96 * mib;

/** The window ends the memory, and the initramfs stands right before it. */
export function memoryMap(size: number, initramfsSize: number): MemoryMap {
  if (size < leastSize || size % (2 * mib) !== 0) {
    throw new Error(
      `Expected memory of whole 2 MiB blocks, at least ${leastSize / mib} MiB, received ${size} bytes`,
    );
  }
  const window = { address: size - windowSize, size: windowSize };
  const address = Math.floor((window.address - initramfsSize) / pageSize) * pageSize;
  return { size, window, initramfs: { address, size: initramfsSize } };
}

export type RangeKind = 'ram' | 'reserved';

export interface E820Range {
  readonly address: number;
  readonly size: number;
  readonly kind: RangeKind;
}

/** What the guest may use. The window is reserved, and so its init can open it by /dev/mem. */
export function e820(map: MemoryMap): E820Range[] {
  const { legacyArea, highMemory } = addresses;
  return [
    { address: 0, size: legacyArea, kind: 'ram' },
    { address: legacyArea, size: highMemory - legacyArea, kind: 'reserved' },
    { address: highMemory, size: map.window.address - highMemory, kind: 'ram' },
    { ...map.window, kind: 'reserved' },
  ];
}
