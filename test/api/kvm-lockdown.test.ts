// SPDX-License-Identifier: MIT
// A monitor with a running guest locks itself down, and is taken over then.
// test/unit/kvm-lockdown.test.ts has what needs no guest.
import { constants } from 'node:os';
import { expect } from 'chai';
import { LockdownProgram } from '../support/lockdown.js';
import { places, type Step } from '../support/lockdown-steps.js';
import { requireKvm } from '../support/real-mode-guest.js';

const { EACCES, EPERM } = constants.errno;

/** Numbers of x86-64, from linux/kvm.h. */
const calls = {
  kvm: {
    KVM_GET_API_VERSION: 0xae00,
    KVM_CREATE_VM: 0xae01,
    KVM_GET_MSR_INDEX_LIST: 0xc004ae02,
    KVM_GET_VCPU_MMAP_SIZE: 0xae04,
  },
  vm: {
    KVM_SET_USER_MEMORY_REGION: 0x4020ae46,
    KVM_CREATE_VCPU: 0xae41,
    KVM_GET_DIRTY_LOG: 0x4010ae42,
    KVM_SET_NR_MMU_PAGES: 0xae44,
    KVM_IRQFD: 0x4020ae76,
    KVM_CREATE_DEVICE: 0xc00caee0,
    KVM_ENABLE_CAP: 0x4068aea3,
  },
  vcpu: {
    KVM_GET_REGS: 0x8090ae81,
    KVM_SET_REGS: 0x4090ae82,
    KVM_GET_SREGS: 0x8138ae83,
    KVM_SET_SREGS: 0x4138ae84,
    KVM_TRANSLATE: 0xc018ae85,
    KVM_GET_MSRS: 0xc008ae88,
    KVM_SET_MSRS: 0x4008ae89,
    KVM_SET_CPUID2: 0x4008ae90,
    KVM_SET_GUEST_DEBUG: 0x4048ae9b,
    KVM_SET_VCPU_EVENTS: 0x4040aea0,
    KVM_SET_XSAVE: 0x5000aea5,
    KVM_SET_NESTED_STATE: 0x4080aebf,
  },
} as const;

const names = (['kvm', 'vm', 'vcpu'] as const).flatMap((of) =>
  Object.entries(calls[of]).map(([name, ioctl]) => ({ of, name, ioctl })),
);

describe('lockdown() of a monitor whose guest runs', function () {
  this.timeout(300_000);
  before(requireKvm);

  let program: LockdownProgram;
  before(() => {
    program = new LockdownProgram();
  });
  after(() => {
    program[Symbol.dispose]();
  });

  /** What came of the steps, all of which ended; that of `'lockdown'` is left out. */
  function run(...steps: Step[]): unknown[] {
    const { results, status, signal } = program.run(...steps);
    expect({ status, signal, steps: results.length }).to.deep.equal({
      status: 0,
      signal: null,
      steps: steps.length,
    });
    return results.filter((_, i) => steps[i]?.do !== 'lockdown');
  }

  const begin: readonly Step[] = [{ do: 'start the guest' }, { do: 'lockdown' }];

  it('the guest goes on, pauses, and ends; Node.js goes on', () => {
    const goesOn: Step = { do: 'guest goes on' };
    const results = run(...begin, goesOn, { do: 'use Node' }, goesOn, { do: 'end the guest' });
    const [started, on, works, further, end] = results;
    expect([started, on, further]).to.deep.equal(['started', true, true]);
    expect(works).to.include('worker threads');
    expect(end).to.equal('paused, went on, closed');
  });

  it('holds for the thread of the vCPU', () => {
    const [, modes] = run(...begin, { do: 'threads' }) as [string, string[][]];
    for (const mode of modes) expect(mode).to.deep.equal(['1', '2']);
  });

  for (const from of places) {
    it(`no machine, slot or register is had of KVM any more: from ${from}`, () => {
      const steps: Step[] = names.map(({ of, ioctl }) => ({ do: 'KVM call', of, from, ioctl }));
      // The kernel's own refusals come later, and would be others: nothing is at address 0.
      const [, ...results] = run(...begin, ...steps, { do: 'guest goes on' });
      const expected = names.map(({ name }) => [name, -EPERM]);
      expect(names.map(({ name }, i) => [name, results[i]])).to.deep.equal(expected);
      expect(results.at(-1)).to.equal(true);
    });
  }

  it('the control: without a lockdown, these calls arrive', () => {
    const steps: Step[] = [
      { do: 'KVM call', of: 'kvm', from: 'worker', ioctl: calls.kvm.KVM_CREATE_VM },
      { do: 'KVM call', of: 'vm', from: 'worker', ioctl: calls.vm.KVM_CREATE_VCPU },
      { do: 'KVM call', of: 'vcpu', from: 'worker', ioctl: calls.vcpu.KVM_SET_REGS },
    ];
    const [, vm, vcpu, registers] = run({ do: 'start the guest' }, ...steps);
    expect(vm).to.be.above(0);
    expect(vcpu).to.equal(-constants.errno.EEXIST);
    expect(registers).to.equal(-constants.errno.EFAULT);
  });

  it('a /dev/kvm that is opened makes no machine, also by a number with more bits', () => {
    const ioctls = [calls.kvm.KVM_CREATE_VM, '0x10000ae01', '0xffffffff0000ae01'];
    const steps: Step[] = ioctls.map((ioctl) => ({ do: 'KVM call', of: 'kvm', from: 'main', ioctl }));
    const [, fd, ...results] = run(...begin, { do: 'open /dev/kvm', from: 'main' }, ...steps);
    expect(fd).to.be.above(0);
    expect(results).to.deep.equal([-EPERM, -EPERM, -EPERM]);
  });

  it('no thread opens /dev/kvm, if the monitor is no user for whom it is', () => {
    const open: Step[] = places.map((from) => ({ do: 'open /dev/kvm', from }));
    const start: Step[] = [{ do: 'start the guest' }, { do: 'become nobody' }, { do: 'lockdown' }];
    const results = run(...start, ...open, { do: 'guest goes on' });
    expect(results.slice(2)).to.deep.equal([...places.map(() => -EACCES), true]);
  });

  it('the API says which call was refused', () => {
    const [, outcomes] = run(...begin, { do: 'use the API' });
    const ioctl = (name: string) => `EPERM ioctl ${name}`;
    expect(outcomes).to.deep.equal({
      'Kvm.open': ioctl('KVM_GET_API_VERSION'),
      createVcpu: ioctl('KVM_CREATE_VCPU'),
      attach: ioctl('KVM_SET_USER_MEMORY_REGION'),
      removeSlot: ioctl('KVM_SET_USER_MEMORY_REGION'),
      regs: ioctl('KVM_GET_REGS'),
      setRegs: ioctl('KVM_GET_REGS'),
      sregs: ioctl('KVM_GET_SREGS'),
      msrs: ioctl('KVM_GET_MSRS'),
      setMsrs: ioctl('KVM_SET_MSRS'),
      setCpuid: ioctl('KVM_SET_CPUID2'),
      populate: ioctl('EXMEM_POPULATE'),
      share: ioctl('EXMEM_SET_SHARED'),
      bind: ioctl('EXMEM_BIND_VM'),
    });
  });

  it('leaves what it was asked to leave', () => {
    const lockdown: Step = { do: 'lockdown', options: { allow: ['EXMEM_SET_SHARED'] } };
    const [, outcomes] = run({ do: 'start the guest' }, lockdown, { do: 'use the API' });
    expect(outcomes).to.include({ share: 'done', bind: 'EPERM ioctl EXMEM_BIND_VM' });
  });

  // Not a promise, but what docs/threat-model.md owes its reader: the day this fails, it can say more.
  it('does not keep code in the process from steering the guest through struct kvm_run', () => {
    const [, steered] = run(...begin, { do: 'steer the guest' });
    expect(steered).to.equal('revealed');
  });
});
