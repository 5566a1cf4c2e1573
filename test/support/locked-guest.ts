// SPDX-License-Identifier: MIT
// A guest on memory that the host cannot read, for a process that locks itself
// down while it runs.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { GuestMemory } from 'exclusive-memory';
import { Kvm } from 'exclusive-memory/kvm';
import { outcome } from './failures.js';
import { code, RealModeGuest } from './real-mode-guest.js';
import { page } from './views.js';

const entry = page;
const counter = 2 * page;
/** What the guest has, and never runs by itself. */
const gadget = entry + 0x100;
const gadgetPort = 0x11;
const size = 16 * page;

const count = [...code.increment(counter), ...code.load(counter), ...code.tell()];
const reveal = [...code.load(counter), ...code.tell(gadgetPort)];

export class LockedGuest {
  readonly #guest = new RealModeGuest();
  /** Not sealed, and in no slot. */
  readonly #other = GuestMemory.create({ size: page });
  #told = 0;

  static async start(): Promise<LockedGuest> {
    const started = new LockedGuest();
    using memory = GuestMemory.create({ size });
    await memory.populate(Uint8Array.from([...count, ...code.repeat(count.length)]), { at: entry });
    await memory.populate(Uint8Array.from([...reveal, ...code.repeat(reveal.length)]), { at: gadget });
    memory.bind(started.#guest.vm);
    memory.attach(started.#guest.vm, { slot: 0, gpa: 0 });
    memory.seal();
    started.#guest.startAt(entry);
    await started.goesOn();
    return started;
  }

  /** It counts in its own memory, and tells each number. */
  async goesOn(): Promise<boolean> {
    for (let i = 0; i < 100; i++) {
      this.#told = (this.#told + 1) & 0xff;
      if ((await this.#guest.told()) !== this.#told) return false;
    }
    return true;
  }

  /** A descriptor of KVM's, by the kernel's name for it. */
  descriptor(kind: 'vm' | 'vcpu'): number {
    if (kind === 'vm') return this.#guest.vm.fd;
    const found = readdirSync('/proc/self/fd').find((fd) => linkOf(fd).includes('kvm-vcpu'));
    return Number(found);
  }

  /** Where the vCPU's struct kvm_run is mapped. */
  get runAddress(): bigint {
    const maps = readFileSync('/proc/self/maps', 'utf8');
    const [, address = ''] = /^([0-9a-f]+)-.*kvm-vcpu/m.exec(maps) ?? [];
    return BigInt(`0x${address}`);
  }

  /** What code in this process can let the guest do, once it has written to struct kvm_run. */
  async steered(steer: (run: bigint, rip: bigint, rax: bigint) => void): Promise<string> {
    steer(this.runAddress, BigInt(gadget), 0n);
    const exit = await this.#guest.run();
    if (exit.type !== 'io-out' || exit.port !== gadgetPort) return exit.type;
    return exit.data[0] === this.#told ? 'revealed' : 'told something else';
  }

  /** What the API says to each of these: `'done'`, or the error's code and system call. */
  async tryAll(): Promise<Record<string, unknown>> {
    const { vm, vcpu } = this.#guest;
    const attempts: Record<string, () => unknown> = {
      'Kvm.open': () => Kvm.open(),
      createVcpu: () => vm.createVcpu(1),
      attach: () => { this.#other.attach(vm, { slot: 1, gpa: size }); },
      removeSlot: () => { vm.removeSlot(0); },
      regs: () => vcpu.regs,
      setRegs: () => { vcpu.setRegs({ rip: 0n }); },
      sregs: () => vcpu.sregs,
      msrs: () => vcpu.msrs([0x10]),
      setMsrs: () => { vcpu.setMsrs([{ index: 0x10, value: 0n }]); },
      setCpuid: () => { vcpu.setCpuid([]); },
      populate: () => this.#other.populate(Uint8Array.of(1)),
      share: () => { this.#other.share(0, page); },
      bind: () => { this.#other.bind(vm); },
    };
    const outcomes: Record<string, unknown> = {};
    for (const [name, attempt] of Object.entries(attempts)) {
      const result = await outcome(attempt);
      outcomes[name] = typeof result === 'string' ? result : 'done';
    }
    return outcomes;
  }

  /** Pauses it, lets it go on, and ends it. */
  async end(): Promise<string> {
    const { vcpu } = this.#guest;
    await vcpu.pause();
    const { state } = vcpu;
    const on = await this.goesOn();
    await this.#guest[Symbol.asyncDispose]();
    this.#other.close();
    return `${state}, ${on ? 'went on' : 'stood still'}, ${vcpu.state}`;
  }
}

function linkOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return ''; // the one that lists this directory
  }
}
