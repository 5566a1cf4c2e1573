// SPDX-License-Identifier: MIT
import { expect } from 'chai';
import { offsetInCore } from '../../examples/monitor/kernel-memory.js';

/** An ELF core with one note and two loadable segments, as /proc/kcore has them. */
function core(): Buffer {
  const bytes = Buffer.alloc(64 + 3 * 56);
  bytes.writeBigUInt64LE(64n, 0x20);
  bytes.writeUInt16LE(56, 0x36);
  bytes.writeUInt16LE(3, 0x38);
  const segments = [
    { type: 4, offset: 0x100n, physical: 0n, size: 0x100n },
    { type: 1, offset: 0x1000n, physical: 0xffff_ffff_ffff_ffffn, size: 0x1000n },
    { type: 1, offset: 0x8000n, physical: 0x10_0000n, size: 0x20_0000n },
  ];
  segments.forEach(({ type, offset, physical, size }, i) => {
    const at = 64 + 56 * i;
    bytes.writeUInt32LE(type, at);
    bytes.writeBigUInt64LE(offset, at + 8);
    bytes.writeBigUInt64LE(physical, at + 0x18);
    bytes.writeBigUInt64LE(size, at + 0x20);
  });
  return bytes;
}

describe('monitor: the kernel’s memory', () => {
  const find = (physical: number) =>
    offsetInCore((offset, length) => core().subarray(offset, offset + length), physical);

  it('is in the segment that has the physical address', () => {
    expect(find(0x10_0000)).to.equal(0x8000);
    expect(find(0x12_3456)).to.equal(0x8000 + 0x2_3456);
  });

  it('ends where the segment ends', () => {
    expect(find(0x2f_ffff)).to.equal(0x8000 + 0x1f_ffff);
    for (const physical of [0, 0x30_0000]) {
      expect(() => find(physical)).to.throw(/Expected physical address 0x\w+ in the kernel's memory/);
    }
  });
});
