// SPDX-License-Identifier: MIT
// The kernel's structures, byte by byte: what is read from them, and written to them.
import { expect } from 'chai';
import type { ExitAnswer, VcpuExit } from 'exclusive-memory/kvm';
import { exitReason } from '#internal/kvm/constants.js';
import { decodeExit, encodeAnswer } from '#internal/kvm/exit-codec.js';
import { decodeMsrs, msrTable } from '#internal/kvm/msr.js';
import { decodePosted } from '#internal/kvm/posted.js';
import {
  decodeRegisters,
  decodeSpecialRegisters,
  encodeRegisters,
  encodeSpecialRegisters,
  registersSize,
  specialRegistersSize,
} from '#internal/kvm/registers.js';
import { expectErrno, expectRefused } from '../support/failures.js';

/** Every byte another one, as far as that goes. */
const pattern = (size: number) => Uint8Array.from({ length: size }, (_, i) => (i * 7 + 1) & 0xff);

describe('struct kvm_regs', () => {
  it('is decoded and encoded', () => {
    const bytes = pattern(registersSize);
    const view = new DataView(bytes.buffer);
    const registers = decodeRegisters(bytes);
    expect(registers.rax).to.equal(view.getBigUint64(0, true));
    expect(registers.rsp).to.equal(view.getBigUint64(6 * 8, true));
    expect(registers.rflags).to.equal(view.getBigUint64(17 * 8, true));
    const copy = new Uint8Array(registersSize);
    encodeRegisters(copy, registers);
    expect(copy).to.deep.equal(bytes);
  });

  it('keeps what is not given', () => {
    const bytes = pattern(registersSize);
    encodeRegisters(bytes, { rip: 5n });
    expect(decodeRegisters(bytes)).to.deep.equal({ ...decodeRegisters(pattern(registersSize)), rip: 5n });
  });

  it('refuses what is no register, or does not fit', () => {
    const bytes = new Uint8Array(registersSize);
    for (const value of [-1n, 2n ** 64n, 1.5, '1', null]) {
      expectRefused(() => { encodeRegisters(bytes, { rax: value as never }); }, /64 bits .* for rax/);
    }
    expectRefused(() => { encodeRegisters(bytes, { eax: 1n } as never); }, /no register of the name eax/);
    expect(bytes).to.deep.equal(new Uint8Array(registersSize));
  });
});

describe('struct kvm_sregs', () => {
  it('is decoded and encoded', () => {
    const bytes = pattern(specialRegistersSize);
    // What is padding is not kept: 24 - 23 of a segment, 16 - 10 of a table.
    for (let i = 0; i < 8; i++) bytes.fill(0, i * 24 + 23, i * 24 + 24);
    for (let i = 0; i < 2; i++) bytes.fill(0, 192 + i * 16 + 10, 192 + i * 16 + 16);
    const view = new DataView(bytes.buffer);
    const registers = decodeSpecialRegisters(bytes);
    expect(registers.cs).to.deep.equal({
      ...{ base: view.getBigUint64(0, true), limit: view.getUint32(8, true) },
      selector: view.getUint16(12, true),
      ...{ type: bytes[14], present: bytes[15], dpl: bytes[16], db: bytes[17], s: bytes[18] },
      ...{ l: bytes[19], g: bytes[20], avl: bytes[21], unusable: bytes[22] },
    });
    expect(registers.idt.limit).to.equal(view.getUint16(192 + 16 + 8, true));
    expect(registers.cr0).to.equal(view.getBigUint64(224, true));
    expect(registers.apicBase).to.equal(view.getBigUint64(224 + 6 * 8, true));
    const copy = new Uint8Array(specialRegistersSize);
    encodeSpecialRegisters(copy, registers);
    expect(copy).to.deep.equal(bytes);
  });

  it('keeps what is not given, and refuses what does not fit', () => {
    const bytes = new Uint8Array(specialRegistersSize);
    const { cs, gdt } = decodeSpecialRegisters(bytes);
    encodeSpecialRegisters(bytes, { efer: 0x500n });
    const refused: readonly (readonly [value: object, message: RegExp])[] = [
      [{ cr3: -1n }, /for cr3/],
      [{ cs: { ...cs, limit: 2 ** 32 } }, /for cs\.limit/],
      [{ cs: { ...cs, selector: 0x1_0000 } }, /for cs\.selector/],
      [{ cs: { ...cs, dpl: 256 } }, /for cs\.dpl/],
      [{ cs: {} }, /for cs\.base/],
      [{ gdt: { ...gdt, limit: -1 } }, /for gdt\.limit/],
      [{ interruptBitmap: [0n] }, /from 4 to 4 for the number of words of interruptBitmap/],
      [{ cr1: 0n }, /no register of the name cr1/],
    ];
    for (const [value, message] of refused) {
      expectRefused(() => { encodeSpecialRegisters(bytes, value); }, message);
    }
    expect(decodeSpecialRegisters(bytes)).to.include({ efer: 0x500n, cr3: 0n });
  });
});

describe('struct kvm_msrs', () => {
  it('is encoded and decoded', () => {
    const entries = [{ index: 0xc000_0080, value: 2n ** 63n }, { index: 1, value: 0n }];
    const table = msrTable(entries);
    expect(table.byteLength).to.equal(8 + 2 * 16);
    expect(decodeMsrs(table)).to.deep.equal(entries);
    expectRefused(() => msrTable([{ index: -1, value: 0n }]), /for entries\[0\]\.index/);
    expectRefused(() => msrTable([{ index: 1, value: 2n ** 64n }]), /for entries\[0\]\.value/);
  });
});

/** The union in struct kvm_run, of such values. */
function details(...fields: readonly (readonly [at: number, size: 1 | 2 | 4 | 8, value: number | bigint])[]) {
  const bytes = new Uint8Array(256);
  for (const [at, size, value] of fields) {
    const word = new Uint8Array(new BigUint64Array([BigInt(value)]).buffer);
    bytes.set(word.subarray(0, size), at);
  }
  return bytes;
}

describe('struct kvm_run', () => {
  const none = new Uint8Array(0);
  const cases: readonly (readonly [number, Uint8Array, Uint8Array, object])[] = [
    [
      exitReason.IO,
      details([0, 1, 0], [1, 1, 2], [2, 2, 0x3f8], [4, 4, 3]),
      none,
      { type: 'io-in', port: 0x3f8, size: 2, count: 3 },
    ],
    [
      exitReason.IO,
      details([0, 1, 1], [1, 1, 1], [2, 2, 0xffff], [4, 4, 1]),
      Uint8Array.of(9),
      { type: 'io-out', port: 0xffff, size: 1, count: 1, data: Uint8Array.of(9), posted: false },
    ],
    [
      exitReason.MMIO,
      details([0, 8, 0xfedc_ba98_7654_3210n], [16, 4, 8]),
      none,
      { type: 'mmio-read', address: 0xfedc_ba98_7654_3210n, size: 8 },
    ],
    [
      exitReason.MMIO,
      details([0, 8, 0x1000], [8, 4, 0x0403_0201], [16, 4, 2], [20, 1, 1]),
      none,
      { type: 'mmio-write', address: 0x1000n, size: 2, data: Uint8Array.of(1, 2), posted: false },
    ],
    [
      exitReason.HYPERCALL,
      details([0, 8, 12], [8, 8, 1], [48, 8, 2n ** 63n], [64, 4, 1]),
      none,
      { type: 'hypercall', number: 12n, args: [1n, 0n, 0n, 0n, 0n, 2n ** 63n], longMode: true },
    ],
    [exitReason.HLT, details(), none, { type: 'hlt' }],
    [exitReason.SHUTDOWN, details(), none, { type: 'shutdown' }],
    [
      exitReason.SYSTEM_EVENT,
      details([0, 4, 2], [4, 4, 1], [8, 8, 7]),
      none,
      { type: 'system-event', kind: 2, data: [7n] },
    ],
    [
      exitReason.INTERNAL_ERROR,
      details([0, 4, 1], [4, 4, 2], [8, 8, 5], [16, 8, 6]),
      none,
      { type: 'internal-error', suberror: 1, data: [5n, 6n] },
    ],
    [
      exitReason.INTERNAL_ERROR,
      details([0, 4, 1], [4, 4, 0xffff_ffff]),
      none,
      { type: 'internal-error', suberror: 1, data: Array.from({ length: 16 }, () => 0n) },
    ],
    [
      exitReason.FAIL_ENTRY,
      details([0, 8, 0x8000_0021], [8, 4, 3]),
      none,
      { type: 'fail-entry', reason: 0x8000_0021n, cpu: 3 },
    ],
    [99, details([0, 1, 1]), none, { type: 'other', reason: 99, details: details([0, 1, 1]) }],
  ];
  for (const [reason, bytes, data, expected] of cases) {
    it(`is decoded: ${(expected as VcpuExit).type}`, () => {
      expect(decodeExit(reason, 0, bytes, data)).to.deep.equal(expected);
    });
  }

  it('is not looked at where KVM_RUN failed', () => {
    for (const [errno, type, code] of [[14, 'memory-fault', 'EFAULT'], [12, 'run-error', 'ENOMEM']] as const) {
      const exit = decodeExit(exitReason.HLT, errno, details(), none);
      expect(exit.type).to.equal(type);
      if ('error' in exit) expectErrno(exit.error, code, 'ioctl KVM_RUN');
    }
  });
});

describe('the answer to an exit', () => {
  const ioIn: VcpuExit = { type: 'io-in', port: 1, size: 2, count: 3 };
  const load: VcpuExit = { type: 'mmio-read', address: 0n, size: 8 };
  const hypercall: VcpuExit = { type: 'hypercall', number: 0n, args: [], longMode: false };
  const accepted: readonly (readonly [VcpuExit, ExitAnswer, readonly number[] | undefined])[] = [
    [ioIn, undefined, undefined],
    [ioIn, 0x1_2345, [0x45, 0x23, 0x45, 0x23, 0x45, 0x23]],
    [ioIn, -1n, [255, 255, 255, 255, 255, 255]],
    [ioIn, Uint8Array.of(1, 2, 3, 4, 5, 6), [1, 2, 3, 4, 5, 6]],
    [load, 2n ** 64n - 2n, [254, 255, 255, 255, 255, 255, 255, 255]],
    [load, Buffer.alloc(8, 3), [3, 3, 3, 3, 3, 3, 3, 3]],
    [hypercall, undefined, [0, 0, 0, 0, 0, 0, 0, 0]],
    [hypercall, -2, [254, 255, 255, 255, 255, 255, 255, 255]],
    [{ type: 'hlt' }, undefined, undefined],
  ];
  accepted.forEach(([exit, answer, bytes], i) => {
    it(`${i}: ${exit.type}`, () => {
      const encoded = encodeAnswer(exit, answer);
      expect(encoded && [...encoded]).to.deep.equal(bytes);
    });
  });

  it('is refused if it is none', () => {
    for (const answer of [Uint8Array.of(1), 1.5, 'a', {}, null]) {
      expectRefused(() => encodeAnswer(ioIn, answer as never), /6 bytes or nothing for the answer .*'io-in'/);
    }
    expectRefused(() => encodeAnswer({ type: 'hlt' }, 0), /no answer to an exit of type 'hlt'/);
  });
});

describe('posted writes', () => {
  const record = (address: number, size: number, value: number, memory = 0) =>
    details([0, 8, address], [8, 8, value], [16, 1, size], [17, 1, memory]).subarray(0, 24);
  const concat = (...records: Uint8Array[]) => Uint8Array.from(records.flatMap((bytes) => [...bytes]));

  it('are grouped by port and size, in order', () => {
    const records = concat(
      ...[record(1, 1, 10), record(1, 1, 11), record(2, 1, 12), record(1, 2, 0x1413)],
      ...[record(1, 1, 15), record(0x1000, 4, 16, 1), record(0x1000, 4, 17, 1)],
    );
    const port = (number: number, size: number, data: number[]) => ({
      ...{ type: 'io-out', port: number, size, count: data.length / size },
      ...{ data: Uint8Array.from(data), posted: true },
    });
    const memory = (value: number) => ({
      ...{ type: 'mmio-write', address: 0x1000n, size: 4 },
      ...{ data: Uint8Array.of(value, 0, 0, 0), posted: true },
    });
    expect([...decodePosted(records)]).to.deep.equal([
      ...[port(1, 1, [10, 11]), port(2, 1, [12]), port(1, 2, [0x13, 0x14]), port(1, 1, [15])],
      ...[memory(16), memory(17)],
    ]);
  });
});
