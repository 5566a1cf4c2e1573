// SPDX-License-Identifier: MIT
// Every method of Vcpu and Vm in every state: a value, or the exact error.
import { expect } from 'chai';
import { EventFd, SlotMapping, type Vcpu } from 'exclusive-memory/kvm';
import { outcome } from '../support/failures.js';
import { LossyFile } from '../support/lossy-file.js';
import { asm, PlainGuest, ramSize } from '../support/plain-guest.js';
import { requireKvm } from '../support/real-mode-guest.js';

const gone = 'ERR_EXMEM_DISPOSED';
const busy = 'ERR_EXMEM_BUSY';

const states = ['created', 'running', 'in an exit', 'paused', 'paused in an exit', 'stopped', 'closed'] as const;
type State = (typeof states)[number];

const counting = asm.forever(asm.increment(0x7000));
const exiting = [...asm.in(0x10), ...counting];

/** A vCPU in that state. */
async function enter(guest: PlainGuest, state: State): Promise<Vcpu> {
  guest.vm.ports.handle(0x10);
  const inExit = state === 'in an exit' || state === 'paused in an exit';
  const vcpu = guest.vcpu(inExit ? exiting : counting);
  if (state !== 'created') {
    await new Promise<void>((resolve) => {
      vcpu.start(() => {
        resolve();
        return new Promise(() => undefined);
      });
      if (!inExit) resolve();
    });
  }
  if (state === 'paused' || state === 'paused in an exit') await vcpu.pause();
  if (state === 'stopped') await vcpu.stop();
  if (state === 'closed') vcpu.close();
  return vcpu;
}

const done = (action: (vcpu: Vcpu) => unknown) => async (vcpu: Vcpu) => {
  await action(vcpu);
  return vcpu.state;
};

const methods = {
  state: (vcpu: Vcpu) => vcpu.state,
  regs: (vcpu: Vcpu) => typeof vcpu.regs.rip,
  setRegs: done((vcpu) => { vcpu.setRegs({ rax: 1n }); }),
  sregs: (vcpu: Vcpu) => typeof vcpu.sregs.cr0,
  setSregs: done((vcpu) => { vcpu.setSregs({ cr2: 1n }); }),
  msrs: (vcpu: Vcpu) => vcpu.msrs([0xc000_0081]).length,
  setMsrs: done((vcpu) => { vcpu.setMsrs([{ index: 0xc000_0081, value: 0n }]); }),
  tscKhz: (vcpu: Vcpu) => vcpu.tscKhz > 0,
  start: done((vcpu) => { vcpu.start(() => undefined); }),
  pause: done((vcpu) => vcpu.pause()),
  resume: done((vcpu) => { vcpu.resume(); }),
  stop: done((vcpu) => vcpu.stop()),
  close: done((vcpu) => { vcpu.close(); }),
} as const;

/** The same in every state in which the guest does not run. */
const atRest = (value: unknown, running: unknown = busy) =>
  [value, running, value, value, value, value, gone] as const;

/** After a call that changes nothing. */
const kept = ['created', busy, 'running', 'paused', 'paused', 'stopped', gone] as const;

/** In the order of `states`. A string that begins with E is an error's code. */
const expected: Record<keyof typeof methods, readonly unknown[]> = {
  state: ['created', 'running', 'running', 'paused', 'paused', 'stopped', 'closed'],
  regs: atRest('bigint'),
  setRegs: kept,
  sregs: atRest('bigint'),
  setSregs: kept,
  msrs: atRest(1),
  setMsrs: kept,
  tscKhz: atRest(true),
  start: ['running', busy, busy, busy, busy, 'running', gone],
  pause: ['created', 'paused', 'paused', 'paused', 'paused', 'stopped', gone],
  resume: ['created', 'running', 'running', 'running', 'running', 'stopped', gone],
  stop: ['created', 'stopped', 'stopped', 'stopped', 'stopped', 'stopped', gone],
  close: ['closed', 'closed', 'closed', 'closed', 'closed', 'closed', 'closed'],
};

describe('Vcpu, method by state', () => {
  before(requireKvm);

  states.forEach((state, column) => {
    it(state, async () => {
      const found: Record<string, unknown> = {};
      for (const [name, method] of Object.entries(methods)) {
        using guest = new PlainGuest();
        const vcpu = await enter(guest, state);
        found[name] = await outcome(() => method(vcpu));
      }
      expect(found).to.deep.equal(
        Object.fromEntries(Object.entries(expected).map(([name, results]) => [name, results[column]])),
      );
    });
  });
});

describe('Vm, method by state', () => {
  before(requireKvm);

  const size = 4096;
  const uses = ({ vm }: PlainGuest, memory: SlotMapping, event: EventFd): Record<string, () => unknown> => ({
    fd: () => vm.fd > 2,
    setTssAddress: () => { vm.setTssAddress(0xfffb_d000); },
    setSlot: () => { vm.setSlot({ slot: 1, gpa: ramSize, memory, logDirty: true }); },
    dirtyPages: () => vm.dirtyPages(1).length,
    removeSlot: () => { vm.removeSlot(1); },
    'ports.handle': () => { vm.ports.handle(1); },
    'ports.reply': () => { vm.ports.reply(1, 1); },
    'ports.post': () => { vm.ports.post(1); },
    'ports.release': () => { vm.ports.release(1); },
    'mmio.handle': () => { vm.mmio.handle(0, 1); },
    'mmio.post': () => { vm.mmio.post(0, 1); },
    'mmio.release': () => { vm.mmio.release(0, 1); },
    createIrqchip: () => { vm.createIrqchip(); },
    createPit: () => { vm.createPit(); },
    setIrqLine: () => { vm.setIrqLine(1, false); },
    irqfd: () => { vm.irqfd(event, 1); },
    ioeventfd: () => { vm.ioeventfd({ address: 1, length: 1, pio: true, fd: event }); },
    createVcpu: () => vm.createVcpu(1).id,
    enableCapability: () => { vm.enableCapability(0xffff); },
    close: () => { vm.close(); },
  });

  for (const state of ['open', 'closed'] as const) {
    it(state, async () => {
      using guest = new PlainGuest();
      using file = new LossyFile(size);
      using memory = SlotMapping.of(file.fd, { size, access: 'read-write' });
      using event = EventFd.create();
      if (state === 'closed') guest.vm.close();
      const found: Record<string, unknown> = {};
      for (const [name, use] of Object.entries(uses(guest, memory, event))) found[name] = await outcome(use);
      const values: Record<string, unknown> = {
        ...{ fd: true, dirtyPages: 1, createVcpu: 1 },
        enableCapability: 'EINVAL ioctl KVM_ENABLE_CAP',
      };
      expect(found).to.deep.equal(
        Object.fromEntries(
          Object.keys(found).map((name) => [
            name,
            state === 'open' ? values[name] : name === 'close' ? undefined : gone,
          ]),
        ),
      );
    });
  }
});
