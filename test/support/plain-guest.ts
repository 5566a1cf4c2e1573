// SPDX-License-Identifier: MIT
// Virtual machines on ordinary memory, which run a few bytes of real-mode code.
import { closeSync, readSync, writeSync } from 'node:fs';
import {
  type ExitAnswer,
  Kvm,
  SlotMapping,
  type SlotOptions,
  type Vcpu,
  type VcpuExit,
  type Vm,
} from 'exclusive-memory/kvm';
import { LossyFile } from './lossy-file.js';

/** The slot at 0. What is behind it is MMIO. */
export const ramSize = 0x8000;

const word = (value: number) => [value & 0xff, (value >> 8) & 0xff];
const double = (value: number) => [...word(value), ...word(value >>> 16)];

/** Instructions, with 16 bits of address. */
export const asm = {
  /** in al, port */
  in: (port: number) => [0xe4, port],
  /** out port, al */
  out: (port: number) => [0xe6, port],
  /** in ax, port */
  in16: (port: number) => [0xe5, port],
  /** out port, ax */
  out16: (port: number) => [0xe7, port],
  /** in eax, port */
  in32: (port: number) => [0x66, 0xe5, port],
  /** mov al, value */
  al: (value: number) => [0xb0, value],
  /** mov ax, value */
  ax: (value: number) => [0xb8, ...word(value)],
  /** mov cx, value */
  cx: (value: number) => [0xb9, ...word(value)],
  /** mov dx, value */
  dx: (value: number) => [0xba, ...word(value)],
  /** mov si, value */
  si: (value: number) => [0xbe, ...word(value)],
  /** mov di, value */
  di: (value: number) => [0xbf, ...word(value)],
  /** mov e?x, value */
  eax: (value: number) => [0x66, 0xb8, ...double(value)],
  ecx: (value: number) => [0x66, 0xb9, ...double(value)],
  edx: (value: number) => [0x66, 0xba, ...double(value)],
  ebx: (value: number) => [0x66, 0xbb, ...double(value)],
  /** mov al, [address] */
  load: (address: number) => [0xa0, ...word(address)],
  /** mov [address], al */
  store: (address: number) => [0xa2, ...word(address)],
  /** mov [address], eax */
  store32: (address: number) => [0x66, 0xa3, ...word(address)],
  /** inc byte [address] */
  increment: (address: number) => [0xfe, 0x06, ...word(address)],
  inc: [0xfe, 0xc0], // al
  /** rep outsb, from si to dx */
  repOut: [0xf3, 0x6e],
  /** rep insb, from dx to di */
  repIn: [0xf3, 0x6c],
  wrmsr: [0x0f, 0x30],
  rdmsr: [0x0f, 0x32],
  sti: [0xfb],
  cli: [0xfa],
  iret: [0xcf],
  hlt: [0xf4],
  /** jmp to the instruction itself */
  spin: [0xeb, 0xfe],
  /** The body again and again. */
  forever: (body: readonly number[]) => [...body, 0xe9, ...word(-(body.length + 3))],
  /** The body `count` times: uses cx. */
  times: (count: number, body: readonly number[]): number[] => [
    ...asm.cx(count),
    ...body,
    ...[0xe2, 0x100 - (body.length + 2)],
  ],
};

export interface GuestOptions {
  /** With in-kernel interrupt controllers: then `hlt` is no exit. */
  readonly irqchip?: boolean;
  readonly slot?: Partial<SlotOptions>;
}

export class PlainGuest implements Disposable {
  readonly kvm: Kvm;
  readonly vm: Vm;
  readonly #file = new LossyFile(ramSize);

  constructor({ irqchip = false, slot = {} }: GuestOptions = {}) {
    this.kvm = Kvm.open();
    this.vm = this.kvm.createVm();
    this.vm.setTssAddress(0xfffb_d000);
    if (irqchip) this.vm.createIrqchip();
    // From here on, the slot holds the mapping.
    using memory = SlotMapping.of(this.#file.fd, { size: ramSize, access: 'read-write' });
    this.vm.setSlot({ slot: 0, gpa: 0, memory, ...slot });
  }

  write(bytes: Uint8Array | readonly number[], at: number): void {
    writeSync(this.#file.fd, Uint8Array.from(bytes), 0, bytes.length, at);
  }

  read(at: number, length: number): number[] {
    const bytes = new Uint8Array(length);
    readSync(this.#file.fd, bytes, 0, length, at);
    return [...bytes];
  }

  /** A vCPU that begins with this code, which is put there. */
  vcpu(program: readonly number[], { id = 0 } = {}): Vcpu {
    const at = 0x1000 + id * 0x1000;
    this.write(program, at);
    const vcpu = this.vm.createVcpu(id);
    begin(vcpu, at);
    return vcpu;
  }

  [Symbol.dispose](): void {
    this.vm.close();
    this.kvm.close();
    closeSync(this.#file.fd);
  }
}

/** The vCPU goes on at this address, with segments that begin at 0. */
export function begin(vcpu: Vcpu, at: number): void {
  const { cs, ds, es } = vcpu.sregs;
  const flat = { base: 0n, selector: 0 };
  vcpu.setSregs({ cs: { ...cs, ...flat }, ds: { ...ds, ...flat }, es: { ...es, ...flat } });
  vcpu.setRegs({ rip: BigInt(at), rflags: 2n });
}

/** Those that a guest goes on from by itself. */
const usual = new Set(['io-in', 'io-out', 'mmio-read', 'mmio-write', 'hypercall', 'hlt']);

/** Runs it until `last` says so, or it cannot go on; all its exits. */
export async function runUntil(
  vcpu: Vcpu,
  last: (exit: VcpuExit) => boolean,
  answer: (exit: VcpuExit) => ExitAnswer = () => undefined,
): Promise<VcpuExit[]> {
  const exits: VcpuExit[] = [];
  await new Promise<void>((resolve, reject) => {
    vcpu.start((exit) => {
      exits.push(exit);
      if (last(exit) || !usual.has(exit.type)) void vcpu.stop().then(resolve, reject);
      return answer(exit);
    });
  });
  return exits;
}

export const isHlt = ({ type }: VcpuExit) => type === 'hlt';
