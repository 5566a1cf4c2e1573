// SPDX-License-Identifier: MIT
// The witness's walk through page tables, on an image made by hand.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { AddressSpaces, directMap } from '../witness/address-spaces.js';

const page = 4096;
const large = 0x80n;
const present = 1n;

/** Physical addresses of an image of 4 MiB. */
const size = 4 << 20;
const kernelRoot = 0x1000;
const processRoot = 0x2000;
const foreignRoot = 0x3000;
const at = { directPdpt: 0x4000, textPdpt: 0x5000, directPd: 0x6000, directPt: 0x7000, text: 0x8000 };
const user = { pdpt: 0x9000, pd: 0xa000, pt: 0xb000 };
const target = 0x20_5000;
const hidden = 0x6_0000;
const decoy = 0x7_0000;

describe('the witness: address spaces', () => {
  let folder: string;
  let file: string;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'address-spaces-'));
    file = join(folder, 'image');
    const image = Buffer.alloc(size);
    const set = (table: number, index: number, to: number, flags = present) =>
      image.writeBigUInt64LE(BigInt(to) | flags, table + index * 8);
    for (const root of [kernelRoot, processRoot]) {
      set(root, 273, at.directPdpt);
      set(root, 511, at.textPdpt);
    }
    // A table that only looks alike.
    set(foreignRoot, 511, at.textPdpt);
    set(foreignRoot, 273, 0x1_0000);
    set(at.directPdpt, 0, at.directPd);
    // The first 2 MiB of the direct map page by page, the next as one.
    set(at.directPd, 0, at.directPt);
    set(at.directPd, 1, 0x20_0000, present | large);
    for (let i = 0; i < 512; i++) set(at.directPt, i, i * page);
    set(at.directPt, hidden / page, decoy);
    // The process has the target at 0x40_3000, and what it may not use at 0x40_4000.
    set(processRoot, 0, user.pdpt);
    set(user.pdpt, 0, user.pd);
    set(user.pd, 2, user.pt);
    set(user.pt, 3, target);
    set(user.pt, 4, hidden, 0x100n);
    // Beyond the image, and a table that leads to itself.
    set(user.pdpt, 1, size + 0x1000);
    set(user.pdpt, 2, user.pdpt);
    writeFileSync(file, image);
  });
  after(() => { rmSync(folder, { recursive: true }); });

  it('are all those with the kernel in their upper half', () => {
    using spaces = AddressSpaces.open(file, size, kernelRoot);
    expect(spaces.roots).to.deep.equal([kernelRoot, processRoot]);
    expect(() => AddressSpaces.open(file, size, 0xd000)).to.throw(/root table at 0xd000/);
  });

  it('lead to a page by a large entry and by a small one', () => {
    using spaces = AddressSpaces.open(file, size, kernelRoot);
    expect(spaces.addressesOf(target, kernelRoot)).to.deep.equal([
      { root: kernelRoot, address: directMap + BigInt(target) },
      { root: processRoot, address: 0x40_3000n },
    ]);
  });

  it('do not lead to a page whose entries are not present, or lead elsewhere', () => {
    using spaces = AddressSpaces.open(file, size, kernelRoot);
    expect(spaces.addressesOf(hidden, kernelRoot)).to.deep.equal([]);
    expect(spaces.translate(kernelRoot, directMap + BigInt(hidden))).to.equal(decoy);
    expect(spaces.addressesOf(decoy, kernelRoot).map(({ address }) => address)).to.deep.equal([
      directMap + BigInt(hidden),
      directMap + BigInt(decoy),
    ]);
  });

  it('translate as the processor does', () => {
    using spaces = AddressSpaces.open(file, size, kernelRoot);
    expect(spaces.translate(processRoot, 0x40_3123n)).to.equal(target);
    expect(spaces.translate(kernelRoot, 0x40_3000n)).to.equal(undefined);
    expect(spaces.translate(kernelRoot, directMap + 0x20_5008n)).to.equal(target);
    expect(spaces.translate(kernelRoot, directMap + 0x40_0000n)).to.equal(undefined);
  });
});
