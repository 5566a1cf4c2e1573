// SPDX-License-Identifier: MIT
// The thread of a vCPU: it starts, pauses, stops and ends, whatever the guest does.
import { once } from 'node:events';
import { setTimeout } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { readdirSync, readFileSync } from 'node:fs';
import { expect } from 'chai';
import { programOfSupport } from '../support/paths.js';
import { asm, begin, isHlt, PlainGuest, runUntil } from '../support/plain-guest.js';
import { requireKvm } from '../support/real-mode-guest.js';
import { runKvmProcess } from '../support/kvm-runs.js';

const counter = 0x7000;
/** Counts in memory without an exit. */
const countOn = asm.forever(asm.increment(counter));

/** Threads of vCPUs in this process. */
const vcpuThreads = () =>
  readdirSync('/proc/self/task').filter((task) => {
    try {
      return readFileSync(`/proc/self/task/${task}/comm`, 'utf8').startsWith('exmem-vcpu-');
    } catch {
      return false; // it ended just now
    }
  }).length;

const nothing = () => undefined;

describe('the thread of a vCPU', () => {
  before(requireKvm);

  let guest: PlainGuest;
  beforeEach(() => {
    guest = new PlainGuest();
  });
  afterEach(() => {
    guest[Symbol.dispose]();
    expect(vcpuThreads(), 'no thread is left').to.equal(0);
  });

  /** Until the guest counts: its memory shows it. */
  async function untilItCounts(): Promise<void> {
    const [before] = guest.read(counter, 1);
    while (guest.read(counter, 1)[0] === before) await setTimeout(1);
  }

  /** Whether the guest counts within a time that is long enough to. */
  async function stands(): Promise<boolean> {
    const before = guest.read(counter, 1)[0];
    await setTimeout(50);
    return guest.read(counter, 1)[0] === before;
  }

  it('takes thousands of exits', async () => {
    guest.vm.ports.handle(0x10, 0x11);
    const rounds = 3000;
    const body = [...asm.in(0x10), ...asm.inc, ...asm.out(0x11)];
    const vcpu = guest.vcpu([...asm.times(rounds, body), ...asm.hlt]);
    let last = 0;
    let wrong = 0;
    const exits = await runUntil(vcpu, isHlt, (exit) => {
      if (exit.type === 'io-in') return (last = (last * 7 + 1) & 0xff);
      if (exit.type === 'io-out' && exit.data[0] !== ((last + 1) & 0xff)) wrong++;
      return undefined;
    });
    expect(exits).to.have.length(2 * rounds + 1);
    expect(wrong).to.equal(0);
  });

  it('waits for the promise of a handler', async () => {
    guest.vm.ports.handle(0x10);
    const vcpu = guest.vcpu([...asm.in(0x10), ...asm.hlt]);
    const order: string[] = [];
    await new Promise<void>((resolve) => {
      vcpu.start(async ({ type }) => {
        order.push(`${type} begins`);
        await setTimeout(20);
        order.push(`${type} ends`);
        if (type === 'hlt') resolve();
        return type === 'io-in' ? 0x33 : undefined;
      });
    });
    expect(order).to.deep.equal(['io-in begins', 'io-in ends', 'hlt begins', 'hlt ends']);
    await vcpu.stop();
    expect(vcpu.regs.rax & 0xffn).to.equal(0x33n);
  });

  it('goes on after an exit when it is told to, and not before', async () => {
    guest.vm.ports.handle(0x10);
    const vcpu = guest.vcpu([...asm.out(0x10), ...countOn]);
    let answer: (() => void) | undefined;
    await new Promise<void>((resolve) => {
      vcpu.start(() => {
        resolve();
        return new Promise<undefined>((settle) => {
          answer = () => { settle(undefined); };
        });
      });
    });
    expect(await stands()).to.equal(true);
    answer?.();
    await untilItCounts();
    await vcpu.stop();
  });

  it('is paused in the middle of the guest, and goes on', async () => {
    const vcpu = guest.vcpu(countOn);
    vcpu.start(nothing);
    for (let i = 0; i < 20; i++) {
      await untilItCounts();
      await vcpu.pause();
      expect(vcpu.state).to.equal('paused');
      const { rip } = vcpu.regs;
      expect(Number(rip)).to.be.within(0x1000, 0x1000 + countOn.length);
      expect(await stands()).to.equal(true);
      vcpu.resume();
      expect(vcpu.state).to.equal('running');
    }
    await vcpu.stop();
  });

  it('is paused and goes on, again and again', async () => {
    const vcpu = guest.vcpu(countOn);
    vcpu.start(nothing);
    for (let i = 0; i < 300; i++) {
      const paused = vcpu.pause();
      if (i % 3 !== 0) await paused;
      vcpu.resume();
      await paused;
    }
    await untilItCounts();
    await vcpu.pause();
    expect(await stands()).to.equal(true);
    await vcpu.stop();
  });

  it('is paused in a halt, where it is in the kernel', async () => {
    using waiting = new PlainGuest({ irqchip: true });
    const vcpu = waiting.vcpu([...asm.cli, ...asm.hlt]);
    vcpu.start(nothing);
    await setTimeout(20);
    await vcpu.pause();
    expect(vcpu.regs.rip).to.equal(0x1002n);
    vcpu.resume();
    await vcpu.pause();
    await vcpu.stop();
  });

  it('completes the instruction of an exit in a pause, and does no other', async () => {
    guest.vm.ports.handle(0x10);
    const vcpu = guest.vcpu([...asm.in(0x10), ...countOn]);
    let paused: Promise<void> | undefined;
    const [atExit] = await new Promise<bigint[]>((resolve) => {
      vcpu.start(() => {
        paused = vcpu.pause();
        const { rip } = vcpu.regs;
        setImmediate(() => { resolve([rip]); });
        return 0x44;
      });
    });
    await paused;
    expect(vcpu.regs.rax & 0xffn, 'what was answered').to.equal(0x44n);
    expect(vcpu.regs.rip, `it was ${atExit}`).to.equal(0x1002n);
    expect(guest.read(counter, 1)).to.deep.equal([0]);
    vcpu.resume();
    await untilItCounts();
    await vcpu.stop();
  });

  it('takes new registers in a pause', async () => {
    const vcpu = guest.vcpu(countOn);
    guest.write([...asm.al(0x66), ...asm.store(0x7001), ...asm.hlt], 0x3000);
    const halted = new Promise<void>((resolve) => {
      vcpu.start((exit) => {
        if (isHlt(exit)) resolve();
        return undefined;
      });
    });
    await untilItCounts();
    await vcpu.pause();
    begin(vcpu, 0x3000);
    vcpu.resume();
    await halted;
    expect(guest.read(0x7001, 1)).to.deep.equal([0x66]);
  });

  it('is stopped in the middle of the guest, and started again', async () => {
    const vcpu = guest.vcpu(countOn);
    for (let i = 0; i < 5; i++) {
      vcpu.start(nothing);
      await untilItCounts();
      await Promise.all([vcpu.stop(), vcpu.stop()]);
      expect(vcpu.state).to.equal('stopped');
      expect(vcpuThreads()).to.equal(0);
      expect(await stands()).to.equal(true);
    }
  });

  it('is stopped in an exit, by its handler and without its answer', async () => {
    guest.vm.ports.handle(0x10);
    const vcpu = guest.vcpu([...asm.in(0x10), ...countOn]);
    let late: ((value: number) => void) | undefined;
    await new Promise<void>((resolve, reject) => {
      vcpu.start(() => {
        vcpu.stop().then(resolve, reject);
        return new Promise<number>((settle) => {
          late = settle;
        });
      });
    });
    expect(vcpu.regs.rax & 0xffn, 'all ones').to.equal(0xffn);
    expect(vcpu.regs.rip, 'the instruction is over').to.equal(0x1002n);
    late?.(0x11);
    await setTimeout(10);
    expect(vcpu.regs.rax & 0xffn, 'too late').to.equal(0xffn);
  });

  it('is stopped while its posted writes are not delivered', async () => {
    guest.vm.ports.post(0x10);
    const vcpu = guest.vcpu(asm.forever(asm.out(0x10)));
    let bytes = 0;
    vcpu.start((exit) => {
      if (exit.type === 'io-out') bytes += exit.count;
      return undefined;
    });
    while (bytes === 0) await setTimeout(1);
    const end = performance.now() + 300;
    while (performance.now() < end); // the queue fills
    await vcpu.stop();
    expect(bytes).to.be.above(1);
  });

  it('is closed while it runs', async () => {
    const vcpu = guest.vcpu(countOn);
    vcpu.start(nothing);
    await untilItCounts();
    const [paused, stopped] = [vcpu.pause(), vcpu.stop()];
    vcpu.close();
    expect(vcpuThreads()).to.equal(0);
    await Promise.all([paused, stopped]);
    expect(vcpu.state).to.equal('closed');
  });

  it('is closed by its handler, as is the whole machine', async () => {
    guest.vm.ports.handle(0x10);
    const vcpu = guest.vcpu([...asm.out(0x10), ...countOn]);
    await new Promise<void>((resolve) => {
      vcpu.start(() => {
        guest.vm.close();
        setImmediate(resolve);
        return undefined;
      });
    });
    expect(vcpu.state).to.equal('closed');
  });

  it('ends with the machine', async () => {
    const vcpu = guest.vcpu(countOn);
    vcpu.start(nothing);
    await untilItCounts();
    guest.vm.close();
    expect(vcpu.state).to.equal('closed');
    expect(vcpuThreads()).to.equal(0);
  });

  it('runs with three others, each on its own', async () => {
    const rounds = 200;
    guest.vm.ports.handle(0x10, 0x13);
    const vcpus = [0, 1, 2, 3].map((id) =>
      guest.vcpu([...asm.al(0), ...asm.times(rounds, [...asm.inc, ...asm.out(0x10 + id)]), ...asm.hlt], { id }),
    );
    const all = await Promise.all(vcpus.map((vcpu) => runUntil(vcpu, isHlt)));
    all.forEach((exits, id) => {
      const told = exits.flatMap((exit) => (exit.type === 'io-out' ? [[exit.port, exit.data[0]]] : []));
      expect(told).to.deep.equal(Array.from({ length: rounds }, (_, i) => [0x10 + id, i + 1]));
    });
  });

  it('leaves signals alone', async () => {
    const vcpu = guest.vcpu(countOn);
    let signals = 0;
    const count = () => { signals++; };
    process.on('SIGUSR2', count);
    try {
      vcpu.start(nothing);
      await untilItCounts();
      for (let i = 0; i < 10; i++) {
        process.kill(process.pid, 'SIGUSR2');
        while (signals === i) await setTimeout(1);
        await vcpu.pause();
        vcpu.resume();
      }
      await vcpu.stop();
      expect(signals).to.equal(10);
    } finally {
      process.off('SIGUSR2', count);
    }
  });

  it('does not keep setuid(2) of the process waiting', async () => {
    const vcpu = guest.vcpu(countOn);
    vcpu.start(nothing);
    await untilItCounts();
    // The C library makes every thread do it, by a signal that it waits for.
    process.setgid?.(process.getgid?.() ?? 0);
    await untilItCounts();
    await vcpu.stop();
  });
});

describe('a process with running vCPUs', () => {
  before(requireKvm);

  it('stays as long as one runs, and ends by itself when none does', async () => {
    expect(await runKvmProcess('stop-later')).to.deep.equal({ code: 0, signal: null, said: 'stopped\n' });
  });

  for (const how of ['exit', 'exit-in-handler', 'throw'] as const) {
    it(`ends while they run: ${how}`, async () => {
      const { code, signal, said } = await runKvmProcess(how);
      expect({ code, signal }).to.deep.equal({ code: how === 'throw' ? 1 : 7, signal: null });
      if (how === 'throw') expect(said).to.contain('Error: thrown by a handler');
    });
  }

  it('ends while they run: SIGKILL', async () => {
    expect(await runKvmProcess('kill')).to.include({ code: null, signal: 'SIGKILL' });
  });

  for (const how of ['count', 'exits', 'posts', 'pause'] as const) {
    it(`can end a worker thread in which one runs: ${how}`, async () => {
      const worker = new Worker(programOfSupport('kvm-worker'), { workerData: { how } });
      const [message] = (await once(worker, 'message')) as [unknown];
      expect(message).to.equal('runs');
      expect(vcpuThreads()).to.equal(1);
      await worker.terminate();
      expect(vcpuThreads()).to.equal(0);
    });
  }
});

