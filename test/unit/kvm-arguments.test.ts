// SPDX-License-Identifier: MIT
// What the binding of KVM refuses before any system call, and without KVM.
import { mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { EventFd, Kvm, SlotMapping } from 'exclusive-memory/kvm';
import { IoPorts, MmioRanges } from '#internal/kvm/routes.js';
import { native } from '#internal/native.js';
import { expectErrno, expectMisuse, expectRefused, thrown } from '../support/failures.js';

const wrong = (value: unknown) => value as never;

describe('without KVM', () => {
  it('says what to do', () => {
    const folder = mkdtempSync(join(tmpdir(), 'exmem-'));
    try {
      const error = thrown(() => Kvm.open(join(folder, 'kvm')));
      expectErrno(error, 'ENOENT', 'open');
    } finally {
      rmdirSync(folder);
    }
  });

  it('a file that is something else', () => {
    expectErrno(thrown(() => Kvm.open('/dev/null')), 'ENOTTY', 'ioctl KVM_GET_API_VERSION');
  });

  it('a descriptor that is something else', () => {
    const call = (name: string, argument?: unknown) => () =>
      native.kvmCall(0, wrong(name), wrong(argument));
    expect(call('KVM_RUN')).to.throw(TypeError, 'Expected a call of KVM but received KVM_RUN');
    expect(call('KVM_GET_REGS')).to.throw(TypeError, 'Expected the structure of ioctl KVM_GET_REGS');
    expect(call('KVM_GET_REGS', new Uint8Array(143))).to.throw(TypeError, 'Expected the structure');
    // Entries that are not there: the kernel would write behind the array.
    const table = new Uint8Array(8 + 40);
    table[0] = 2;
    expect(call('KVM_GET_SUPPORTED_CPUID', table)).to.throw(TypeError, 'Expected the structure');
    expect(call('KVM_GET_SUPPORTED_CPUID', new Uint8Array(3))).to.throw(TypeError);
    table[0] = 1;
    expect(call('KVM_GET_SUPPORTED_CPUID', table)).to.throw(Error).with.property('errno');
  });
});

describe('refused arguments of KVM', () => {
  const page = 4096;
  const ports = new IoPorts(() => expect.fail('it got to the machine'));
  const mmio = new MmioRanges(() => expect.fail('it got to the machine'));
  const cases: readonly (readonly [name: string, action: () => unknown, message: RegExp])[] = [
    ['Kvm.open(1)', () => Kvm.open(wrong(1)), /a string for path/],
    ['SlotMapping.of("x")', () => SlotMapping.of(wrong('x'), wrong({})), /for source/],
    ['SlotMapping.of(0)', () => SlotMapping.of(0, wrong(undefined)), /an object for options/],
    [
      'SlotMapping.of(size 1)',
      () => SlotMapping.of(0, { size: 1, access: 'none' }),
      /for size but received 1/,
    ],
    [
      'SlotMapping.of(offset 1)',
      () => SlotMapping.of(0, { size: page, offset: 1, access: 'none' }),
      /page size.* for offset/,
    ],
    [
      'SlotMapping.of(access)',
      () => SlotMapping.of(0, { size: page, access: wrong('write') }),
      /one of 'none', 'read', 'read-write' for access/,
    ],
    ['ports.handle(-1)', () => { ports.handle(-1); }, /for first but received -1/],
    ['ports.handle(2, 1)', () => { ports.handle(2, 1); }, /from 2 to 65535 for last/],
    ['ports.handle(65536)', () => { ports.handle(0x1_0000); }, /for first/],
    ['ports.reply(1, -1)', () => { ports.reply(1, -1); }, /for value/],
    ['ports.reply(1.5, 1)', () => { ports.reply(1.5, 1); }, /for port/],
    ['ports.post("x")', () => { ports.post(wrong('x')); }, /for first/],
    ['mmio.handle(-1)', () => { mmio.handle(-1, 1); }, /for address/],
    ['mmio.handle(size 0)', () => { mmio.handle(0, 0); }, /for size/],
    ['mmio.post(beyond)', () => { mmio.post(Number.MAX_SAFE_INTEGER, 1); }, /for size/],
  ];
  for (const [name, action, message] of cases) {
    it(name, () => {
      expectRefused(action, message);
    });
  }

  it('an EventFd without options', async () => {
    using event = EventFd.create();
    await event.wait(wrong(null)).then(
      () => expect.fail('it waited'),
      (error: unknown) => {
        expectMisuse(wrong(error), 'ERR_EXMEM_ARGUMENT', /an object for options/);
      },
    );
  });
});
