// SPDX-License-Identifier: MIT
import { expect } from 'chai';
import { type CpuidEntry, guestCpuid } from 'exclusive-memory/kvm';
import { decodeCpuid, encodeCpuid } from '#internal/kvm/cpuid-table.js';
import { expectRefused } from '../support/failures.js';

const all = 0xffff_ffff;
const entry = (leaf: number, values: Partial<CpuidEntry> = {}): CpuidEntry => ({
  ...{ function: leaf, index: 0, flags: 0, eax: 0, ebx: 0, ecx: 0, edx: 0 },
  ...values,
});
const full = (leaf: number) => entry(leaf, { eax: all, ebx: all, ecx: all, edx: all });
const intel = entry(0, { ebx: 0x756e_6547, edx: 0x4965_6e69, ecx: 0x6c65_746e });
const amd = entry(0, { ebx: 0x6874_7541, edx: 0x6974_6e65, ecx: 0x444d_4163 });
const one = { apicId: 0, vcpus: 1 };

const bit = (word: number | undefined, number: number) => ((word ?? 0) >>> number) & 1;

/** What the filter makes of one leaf of all ones. */
const filtered = (leaf: number, options = {}, vendor = intel) =>
  guestCpuid([vendor, full(leaf)], { ...one, ...options })[1];

describe('guestCpuid', () => {
  it('withholds the leaves of hypervisors, SVM, SGX and SEV', () => {
    const withheld = [0x4000_0000, 0x4000_0001, 0x4000_0100, 0x4fff_ffff, 0x12, 0x8000_000a, 0x8000_001f];
    const kept = [0, 1, 2, 4, 7, 0xb, 0xd, 0x15, 0x8000_0000, 0x8000_0001, 0x8000_0008];
    const leaves = guestCpuid([...kept, ...withheld].map(full), one).map((leaf) => leaf.function);
    expect(leaves).to.deep.equal(kept);
  });

  it('withholds the bits of VMX, SVM and SGX', () => {
    expect(bit(filtered(1)?.ecx, 5)).to.equal(0);
    expect(bit(filtered(0x8000_0001)?.ecx, 2)).to.equal(0);
    expect(filtered(7)).to.include({ ebx: 0xffff_fffb, ecx: 0xbfff_ffff, edx: all });
    const subleaf = { ...full(7), index: 1 };
    expect(guestCpuid([subleaf], one)).to.deep.equal([subleaf]);
  });

  it('says that there is a hypervisor', () => {
    const [leaf] = guestCpuid([entry(1)], one);
    expect(bit(leaf?.ecx, 31)).to.equal(1);
  });

  it('says which vCPU it is, of how many', () => {
    const leaf = filtered(1, { apicId: 3, vcpus: 4 });
    expect(leaf?.ebx).to.equal(0x0304_ffff);
    expect(bit(leaf?.edx, 28)).to.equal(1);
    expect(bit(filtered(1)?.edx, 28), 'alone').to.equal(0);
    for (const number of [0xb, 0x1f]) expect(filtered(number, { apicId: 3 })?.edx).to.equal(3);
    expect(filtered(0x8000_001e, { apicId: 3 })?.eax).to.equal(3);
    expect(filtered(0x8000_0008, { vcpus: 4 }, amd)?.ecx).to.equal(0xffff_ff03);
    expect(filtered(0x8000_0008, { vcpus: 4 }, intel)?.ecx).to.equal(all);
    expect(filtered(1, { apicId: 0x1_0007, vcpus: 4000 })?.ebx, 'more than a byte').to.equal(0x07ff_ffff);
  });

  it('offers x2APIC and the TSC deadline timer, unless told not to', () => {
    const [leaf] = guestCpuid([entry(1)], one);
    expect([bit(leaf?.ecx, 21), bit(leaf?.ecx, 24)]).to.deep.equal([1, 1]);
    const without = filtered(1, { x2apic: false, tscDeadline: false });
    expect([bit(without?.ecx, 21), bit(without?.ecx, 24)]).to.deep.equal([0, 0]);
  });

  it('offers features of KVM that need no memory, with the signature', () => {
    const [signature, features] = guestCpuid([full(0x4000_0001)], { ...one, kvmFeatures: 1 << 11 });
    expect(signature).to.deep.equal(
      entry(0x4000_0000, { eax: 0x4000_0001, ebx: 0x4b4d_564b, ecx: 0x564b_4d56, edx: 0x4d }),
    );
    expect(features).to.deep.equal(entry(0x4000_0001, { eax: 1 << 11 }));
  });

  it('refuses features of KVM that need memory', () => {
    for (const number of [0, 2, 3, 4, 5, 6, 9, 10, 14, 17, 24]) {
      const kvmFeatures = (1 << number) >>> 0;
      expectRefused(() => guestCpuid([], { ...one, kvmFeatures }), /needs memory that KVM can access/);
    }
  });

  it('changes nothing of what it was given', () => {
    const entries = [amd, full(1), full(7), full(0x8000_0008), full(0x8000_0001)];
    const before = structuredClone(entries);
    guestCpuid(entries, { apicId: 1, vcpus: 2 });
    expect(entries).to.deep.equal(before);
  });

  it('refuses what is no place', () => {
    const wrong = (value: unknown) => value as never;
    expectRefused(() => guestCpuid(wrong(1), one), /an array for entries/);
    expectRefused(() => guestCpuid([], wrong(null)), /an object for options/);
    expectRefused(() => guestCpuid([], { apicId: 0, vcpus: 0 }), /for vcpus but received 0/);
    expectRefused(() => guestCpuid([], { apicId: -1, vcpus: 1 }), /for apicId but received -1/);
    expectRefused(() => guestCpuid([], { ...one, x2apic: wrong(1) }), /a boolean for x2apic/);
    expectRefused(() => guestCpuid([], { ...one, kvmFeatures: wrong('1') }), /for kvmFeatures/);
  });
});

describe('struct kvm_cpuid2', () => {
  it('holds what was put in', () => {
    const entries = [full(0), entry(0x8000_0001, { index: 1, flags: 1, eax: 2, ebx: 3, ecx: 4, edx: 5 })];
    const table = encodeCpuid(entries);
    expect(table.byteLength).to.equal(8 + 2 * 40);
    expect([...table.subarray(48, 76)]).to.deep.equal(
      [...new Uint8Array(Uint32Array.of(0x8000_0001, 1, 1, 2, 3, 4, 5).buffer)],
    );
    expect(decodeCpuid(table)).to.deep.equal(entries);
  });

  it('refuses what does not fit', () => {
    expectRefused(() => encodeCpuid([entry(1, { ecx: 2 ** 32 })]), /for entries\[0\]\.ecx/);
    expectRefused(() => encodeCpuid([null as never]), /an object for entries\[0\]/);
  });
});
