// SPDX-License-Identifier: MIT
// A virtual machine with one vCPU, which does what a few bytes of code say and
// tells the test with an `out`. Real mode and `out` alone: an emulated processor
// does not decode other instructions for KVM, which cannot read the guest's.
import { existsSync } from 'node:fs';
import { Kvm, type Vcpu, type VcpuExit, type Vm } from 'exclusive-memory/kvm';

/** Skips the tests where there is no KVM: not every processor has it. */
export function requireKvm(this: Mocha.Context): void {
  if (!existsSync('/dev/kvm')) this.skip();
}

/** Ports of `out` that the test is told of. */
const firstPort = 0x10;
const lastPort = 0x1f;

const word = (value: number) => [value & 0xff, value >> 8];

/** Instructions of real mode, with addresses below 64 KiB. */
export const code = {
  /** mov al, [address] */
  load: (address: number) => [0xa0, ...word(address)],
  /** mov [address], al */
  store: (address: number) => [0xa2, ...word(address)],
  /** mov al, value */
  set: (value: number) => [0xb0, value],
  /** inc al */
  next: () => [0xfe, 0xc0],
  /** inc byte [address] */
  increment: (address: number) => [0xfe, 0x06, ...word(address)],
  /** out port, al */
  tell: (port = firstPort) => [0xe6, port],
  /** jmp to the start of the last `bytes` bytes */
  repeat: (bytes: number) => [0xeb, 0x100 - (bytes + 2)],
} as const;

export class RealModeGuest implements AsyncDisposable {
  readonly vm: Vm;
  readonly vcpu: Vcpu;
  readonly #kvm = Kvm.open();
  /** Lets the guest go on from the exit that the test has. */
  #proceed: (() => void) | undefined;
  #deliver: ((exit: VcpuExit) => void) | undefined;

  constructor() {
    this.vm = this.#kvm.createVm();
    this.vm.setTssAddress(0xfffb_d000);
    this.vm.ports.handle(firstPort, lastPort);
    this.vcpu = this.vm.createVcpu(0);
  }

  /** Where it begins, below 64 KiB. */
  startAt(address: number): void {
    const { cs } = this.vcpu.sregs;
    this.vcpu.setSregs({ cs: { ...cs, base: 0n, selector: 0 } });
    this.vcpu.setRegs({ rip: BigInt(address), rflags: 2n });
  }

  /** Runs it up to its next exit, in which it waits. */
  async run(): Promise<VcpuExit> {
    const exit = new Promise<VcpuExit>((resolve) => {
      this.#deliver = resolve;
    });
    const { state } = this.vcpu;
    if (state === 'created') this.vcpu.start((exit) => this.#receive(exit));
    this.#proceed?.();
    if (state === 'paused') this.vcpu.resume();
    return await exit;
  }

  /** Runs it until it tells a byte, and returns that; anything else that it does is an error. */
  async told(): Promise<number> {
    const exit = await this.run();
    if (exit.type === 'io-out' && exit.data.length === 1) return exit.data[0] ?? 0;
    throw new Error(`Expected an out of one byte but the guest had ${describe(exit)}`);
  }

  /** Runs it up to its next exit; what that is. */
  async comesTo(): Promise<string> {
    return describe(await this.run());
  }

  #receive(exit: VcpuExit): Promise<undefined> {
    const answered = new Promise<undefined>((resolve) => {
      this.#proceed = () => { resolve(undefined); };
    });
    this.#deliver?.(exit);
    return answered;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.vcpu.stop();
    this.vm.close();
    this.#kvm.close();
  }
}

function describe(exit: VcpuExit): string {
  switch (exit.type) {
    case 'memory-fault':
    case 'run-error':
      return `${exit.type} ${exit.error.code}`;
    case 'mmio-read':
    case 'mmio-write':
      return `${exit.type} 0x${exit.address.toString(16)}`;
    case 'internal-error':
      return `${exit.type} ${exit.suberror}`;
    default:
      return exit.type;
  }
}
