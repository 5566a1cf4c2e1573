// SPDX-License-Identifier: MIT
// Interrupts, from the host and between vCPUs, and eventfds in both directions.
import { setTimeout } from 'node:timers/promises';
import { expect } from 'chai';
import { EventFd, guestCpuid } from 'exclusive-memory/kvm';
import { expectErrno, expectMisuse, rejection, thrown } from '../support/failures.js';
import { asm, isHlt, PlainGuest, runUntil } from '../support/plain-guest.js';
import { requireKvm } from '../support/real-mode-guest.js';

const told = 0x10;
const handler = 0x5000;

/** Programs the first PIC: vectors from 0x20 on, and the lines of this mask. */
const setUpPic = (unmasked: number) =>
  ([[0x20, 0x11], [0x21, 0x20], [0x21, 4], [0x21, 1], [0x21, 0xff & ~unmasked]] as const).flatMap(
    ([port, value]) => [...asm.al(value), ...asm.out(port)],
  );

/** Counts in bl, tells it, and ends the interrupt. */
const interruptHandler = [
  ...[0xfe, 0xc3], // inc bl
  ...[0x88, 0xd8, ...asm.out(told)], // mov al, bl
  ...[...asm.al(0x20), ...asm.out(0x20), ...asm.iret],
];

/** A guest that halts, and tells how many interrupts it had on this line. */
function interrupted(irq: number): { guest: PlainGuest; next: () => Promise<number> } {
  const guest = new PlainGuest({ irqchip: true });
  guest.vm.ports.handle(told);
  guest.write(interruptHandler, handler);
  guest.write([handler & 0xff, handler >> 8, 0, 0], (0x20 + irq) * 4);
  const waiting = [...asm.sti, ...asm.hlt];
  const vcpu = guest.vcpu([
    ...[...setUpPic(1 << irq), ...asm.ebx(0), ...asm.out(told)],
    ...asm.forever(waiting),
  ]);
  vcpu.setRegs({ rsp: 0x6000n });
  const numbers: number[] = [];
  let wake: (() => void) | undefined;
  vcpu.start((exit) => {
    if (exit.type === 'io-out') numbers.push(exit.data[0] ?? -1);
    wake?.();
    return undefined;
  });
  const next = async () => {
    while (numbers.length === 0) await new Promise<void>((resolve) => { wake = resolve; });
    return numbers.shift() ?? -1;
  };
  return { guest, next };
}

describe('interrupts', () => {
  before(requireKvm);

  it('of a line that the host raises', async () => {
    const { guest, next } = interrupted(4);
    using _ = guest;
    await next(); // it is set up
    for (let i = 1; i <= 5; i++) {
      guest.vm.setIrqLine(4, true);
      guest.vm.setIrqLine(4, false);
      expect(await next()).to.equal(i);
    }
  });

  it('of an eventfd', async () => {
    const { guest, next } = interrupted(5);
    using _ = guest;
    using event = EventFd.create();
    guest.vm.irqfd(event, 5);
    await next();
    for (let i = 1; i <= 5; i++) {
      event.signal();
      expect(await next()).to.equal(i);
    }
    expectErrno(thrown(() => { guest.vm.irqfd(event, 5); }), 'EBUSY', 'ioctl KVM_IRQFD');
    guest.vm.irqfd(event, 5, { remove: true });
    event.signal();
    guest.vm.setIrqLine(5, true);
    guest.vm.setIrqLine(5, false);
    expect(await next(), 'one, not two').to.equal(6);
    await setTimeout(20);
    using other = EventFd.create();
    guest.vm.irqfd(other, 5);
    other.signal();
    expect(await next()).to.equal(7);
  });

  it('of the timer', async () => {
    using guest = new PlainGuest({ irqchip: true });
    guest.vm.createPit();
    guest.vm.ports.handle(told);
    guest.write(interruptHandler, handler);
    guest.write([handler & 0xff, handler >> 8, 0, 0], 0x20 * 4);
    // Channel 0, periodic, every 11932 ticks of 1.19 MHz: 10 ms.
    const timer = [...asm.al(0x34), ...asm.out(0x43), ...asm.al(0x9c), ...asm.out(0x40)];
    const start = [...timer, ...asm.al(0x2e), ...asm.out(0x40)];
    const waiting = asm.forever([...asm.sti, ...asm.hlt]);
    const vcpu = guest.vcpu([...setUpPic(1), ...asm.ebx(0), ...start, ...waiting]);
    vcpu.setRegs({ rsp: 0x6000n });
    const exits = await runUntil(vcpu, (exit) => exit.type === 'io-out' && exit.data[0] === 5);
    expect(exits).to.have.length(5);
  });

  it('between vCPUs: one that waits to be started, and is', async () => {
    using guest = new PlainGuest({ irqchip: true });
    guest.vm.ports.handle(told, told + 1);
    const ICR = 0x830;
    const send = (command: number) => [
      ...[...asm.ecx(ICR), ...asm.eax(command), ...asm.edx(1), ...asm.wrmsr],
    ];
    const page = 3;
    const first = guest.vcpu([
      ...[...asm.out(told), ...send(0x4500), ...send(0x4600 | page)],
      ...[...asm.cli, ...asm.hlt],
    ]);
    const second = guest.vm.createVcpu(1);
    guest.write([...asm.al(0x77), ...asm.out(told + 1), ...asm.cli, ...asm.hlt], page << 12);
    const supported = guest.kvm.supportedCpuid();
    for (const vcpu of [first, second]) {
      vcpu.setCpuid(guestCpuid(supported, { apicId: vcpu.id, vcpus: 2 }));
      const bootProcessor = vcpu.id === 0 ? 0x100n : 0n;
      vcpu.setSregs({ apicBase: 0xfee0_0000n | 0xc00n | bootProcessor });
    }
    const heard: number[] = [];
    await new Promise<void>((resolve) => {
      second.start((exit) => {
        if (exit.type === 'io-out') heard.push(exit.port);
        resolve();
        return undefined;
      });
      // It waits, and can be paused and go on, before anybody starts it.
      void second.pause().then(() => {
        expect(heard).to.deep.equal([]);
        second.resume();
        first.start((exit) => {
          if (exit.type === 'io-out') heard.push(exit.port);
          return undefined;
        });
      });
    });
    expect(heard).to.deep.equal([told, told + 1]);
  });
});

describe('ioeventfd', () => {
  before(requireKvm);

  it('is signalled by writes of the guest, without an exit', async () => {
    using guest = new PlainGuest();
    using port = EventFd.create();
    using value = EventFd.create();
    using memory = EventFd.create();
    guest.vm.ports.handle(0x10, 0x11);
    const device = 0x9000;
    const onValue = { address: 0x11, length: 1, pio: true, datamatch: 3, fd: value };
    guest.vm.ioeventfd({ address: 0x10, length: 1, pio: true, fd: port });
    guest.vm.ioeventfd(onValue);
    guest.vm.ioeventfd({ address: device, length: 4, fd: memory });
    const program = [
      ...[...asm.out(0x10), ...asm.out(0x10), ...asm.al(3), ...asm.out(0x11)],
      ...[...asm.al(4), ...asm.out(0x11), ...asm.eax(1), ...asm.store32(device), ...asm.hlt],
    ];
    const exits = await runUntil(guest.vcpu(program), isHlt);
    expect(exits.map((exit) => (exit.type === 'io-out' ? exit.data[0] : exit.type))).to.deep.equal([4, 'hlt']);
    expect(await port.wait()).to.equal(2n);
    expect(await value.wait()).to.equal(1n);
    expect(await memory.wait()).to.equal(1n);

    guest.vm.ioeventfd({ ...onValue, remove: true });
    expectErrno(
      thrown(() => { guest.vm.ioeventfd({ ...onValue, remove: true }); }),
      'ENOENT',
      'ioctl KVM_IOEVENTFD',
    );
    expectErrno(
      thrown(() => { guest.vm.ioeventfd({ ...onValue, address: 0x10, length: 1, datamatch: 1, fd: 0 }); }),
      'EINVAL',
      'ioctl KVM_IOEVENTFD',
    );
  });

  it('wakes who waits for it', async () => {
    using guest = new PlainGuest();
    using event = EventFd.create();
    guest.vm.ioeventfd({ address: 0x10, length: 1, pio: true, fd: event });
    const vcpu = guest.vcpu(asm.forever(asm.out(0x10)));
    const woken = event.wait();
    vcpu.start(() => undefined);
    expect(Number(await woken)).to.be.at.least(1);
    expect(Number(await event.wait())).to.be.at.least(1);
    await vcpu.stop();
  });
});

describe('EventFd', () => {
  it('counts, and sets back', async () => {
    using event = EventFd.create();
    event.signal();
    event.signal();
    expect(await event.wait()).to.equal(2n);
    const next = event.wait();
    event.signal();
    expect(await next).to.equal(1n);
  });

  it('stops waiting when it is told to, and when it is closed', async () => {
    using event = EventFd.create();
    const abort = new AbortController();
    const aborted = event.wait({ signal: abort.signal });
    const closed = event.wait();
    abort.abort(new Error('enough'));
    await aborted.then(
      () => expect.fail('it went on'),
      (error: unknown) => { expect(error).to.have.property('message', 'enough'); },
    );
    event.close();
    event.close();
    expectMisuse(await rejection(closed), 'ERR_EXMEM_DISPOSED', /closed while somebody waited/);
    for (const use of [() => event.fd, () => { event.signal(); }]) {
      expectMisuse(thrown(use), 'ERR_EXMEM_DISPOSED', /EventFd was closed/);
    }
    expectMisuse(await rejection(event.wait()), 'ERR_EXMEM_DISPOSED', /EventFd was closed/);
  });
});
