// SPDX-License-Identifier: MIT
import { misuse } from '../errors.js';
import { Lifetime } from '../lifetime.js';
import { checkArray, checkFunction, checkInteger } from '../validate.js';
import { capability } from './constants.js';
import { type CpuidEntry, encodeCpuid } from './cpuid-table.js';
import { enableCapability } from './enable-capability.js';
import { decodeExit, encodeAnswer } from './exit-codec.js';
import { type ExitAnswer, type ExitHandler, isFinal, type VcpuExit } from './exits.js';
import { decodeMsrs, type MsrEntry, msrTable } from './msr.js';
import type { KvmCallName, NativeMachine, NativeProcessor } from './native.js';
import { decodePosted } from './posted.js';
import {
  decodeRegisters,
  decodeSpecialRegisters,
  encodeRegisters,
  encodeSpecialRegisters,
  type Registers,
  registersSize,
  type SpecialRegisters,
  specialRegistersSize,
} from './registers.js';
import { kvmSystem } from './system.js';
import type { Vm } from './vm.js';

/** What a Vm makes a vCPU of. */
export interface VcpuParts {
  readonly vm: Vm;
  readonly id: number;
  readonly machine: NativeMachine;
  /** Becomes the vCPU's. */
  readonly fd: number;
  readonly runSize: number;
  readonly closed: () => void;
}

/** `'created'` and `'stopped'` have no thread; `'paused'` has one that waits. */
export type VcpuState = 'created' | 'running' | 'paused' | 'stopped' | 'closed';

/**
 * A virtual processor. It runs on a thread of its own, and its exits come to a
 * handler on the event loop, one at a time; while the handler has not answered,
 * the vCPU waits. The event loop goes on while it has a thread.
 *
 * Registers can be read and written while it is out of the guest: before
 * `start()`, in an exit, and once `pause()` or `stop()` is over. Otherwise that
 * is `ERR_EXMEM_BUSY`. In an exit, they are those of the instruction that is not
 * over yet.
 *
 * What takes it out of the guest is SIGSTKFLT, which Linux itself never sends:
 * without a handler, and blocked on its thread as all signals are, so that it
 * disturbs nobody. The process may end at any time, and a worker thread be
 * terminated, while it runs.
 *
 * Made by {@link Vm.createVcpu}.
 */
export class Vcpu implements Disposable {
  readonly vm: Vm;
  readonly id: number;
  readonly #lifetime = new Lifetime('Vcpu');
  readonly #native: NativeProcessor;
  readonly #fd: number;
  readonly #closed: () => void;
  #state: VcpuState = 'created';
  #handler: ExitHandler | undefined;
  /** The exit whose answer the thread waits for. An answer to another one comes too late. */
  #exit: VcpuExit | undefined;
  /** Who waits for it to be out of the guest, and for the end of its thread. */
  readonly #untilParked: (() => void)[] = [];
  readonly #untilEnded: (() => void)[] = [];

  /** @internal Use {@link Vm.createVcpu}. */
  constructor({ vm, id, machine, fd, runSize, closed }: VcpuParts) {
    this.vm = vm;
    this.id = id;
    this.#fd = fd;
    this.#closed = closed;
    this.#native = kvmSystem.newProcessor(machine, fd, runSize);
    this.#native.onPosted = (records) => {
      for (const exit of decodePosted(records)) this.#deliverPosted(exit);
    };
    this.#native.onExit = (...details) => {
      this.#deliver(decodeExit(...details));
    };
    this.#native.onParked = () => {
      settle(this.#untilParked);
    };
    this.#native.onEnded = () => {
      this.#end('stopped');
    };
    try {
      enableCapability(fd, capability.ENFORCE_PV_FEATURE_CPUID, [1n]);
    } catch (error) {
      this.#native.close();
      throw error;
    }
  }

  get state(): VcpuState {
    return this.#state;
  }

  /**
   * What `cpuid` tells the guest: see {@link guestCpuid}.
   *
   * @throws ExclusiveMemoryError `EINVAL` once it has run, for other entries
   *   than it has.
   */
  setCpuid(entries: readonly CpuidEntry[]): void {
    this.#lifetime.check();
    this.#call('KVM_SET_CPUID2', encodeCpuid(entries));
  }

  get regs(): Registers {
    return decodeRegisters(this.#get('KVM_GET_REGS', registersSize));
  }

  /** Those that are given; the others stay. */
  setRegs(values: Partial<Registers>): void {
    const bytes = this.#get('KVM_GET_REGS', registersSize);
    encodeRegisters(bytes, values);
    this.#call('KVM_SET_REGS', bytes);
  }

  get sregs(): SpecialRegisters {
    return decodeSpecialRegisters(this.#get('KVM_GET_SREGS', specialRegistersSize));
  }

  /** Those that are given; the others stay. */
  setSregs(values: Partial<SpecialRegisters>): void {
    const bytes = this.#get('KVM_GET_SREGS', specialRegistersSize);
    encodeSpecialRegisters(bytes, values);
    this.#call('KVM_SET_SREGS', bytes);
  }

  /** @throws ExclusiveMemoryError `ERR_EXMEM_ARGUMENT` for an MSR that KVM refuses to read. */
  msrs(indices: readonly number[]): MsrEntry[] {
    this.#lifetime.check();
    checkArray(indices, 'indices');
    const table = msrTable(indices.map((index) => ({ index, value: 0n })));
    this.#callForMsrs('KVM_GET_MSRS', table);
    return decodeMsrs(table);
  }

  /**
   * In order.
   *
   * @throws ExclusiveMemoryError `ERR_EXMEM_ARGUMENT` for an MSR that KVM
   *   refuses to write; those before it are written.
   */
  setMsrs(entries: readonly MsrEntry[]): void {
    this.#lifetime.check();
    this.#callForMsrs('KVM_SET_MSRS', msrTable(entries));
  }

  get tscKhz(): number {
    return this.#call('KVM_GET_TSC_KHZ');
  }

  /** @throws ExclusiveMemoryError `EINVAL` where the processor cannot scale it. */
  set tscKhz(value: number) {
    this.#lifetime.check();
    this.#call('KVM_SET_TSC_KHZ', checkInteger(value, 'tscKhz', 1, 0xffff_ffff));
  }

  /**
   * Runs it on a new thread. After `stop()`, it can be started again.
   *
   * What the handler throws is an uncaught exception of the process; the vCPU
   * waits then, and can be stopped.
   *
   * @throws ExclusiveMemoryError `ERR_EXMEM_BUSY` if it has a thread.
   */
  start(handler: ExitHandler): void {
    this.#lifetime.check();
    checkFunction(handler, 'handler');
    if (this.#hasThread) throw misuse('ERR_EXMEM_BUSY', `This Vcpu is ${this.#state} already`);
    kvmSystem.start(this.#native, this.id);
    this.#handler = handler;
    this.#state = 'running';
  }

  /**
   * Resolves once it is out of the guest: at once in an exit, whose answer is
   * taken, but which the guest does not go on from before {@link resume}. Does
   * nothing to one that has no thread.
   */
  pause(): Promise<void> {
    return this.#async(() => {
      if (!this.#hasThread) return undefined;
      this.#native.pause();
      this.#state = 'paused';
      return this.#native.parked() ? undefined : this.#untilParked;
    });
  }

  /** Ends a pause. Does nothing to one that is not paused. */
  resume(): void {
    this.#lifetime.check();
    if (this.#state !== 'paused') return;
    this.#state = 'running';
    this.#native.resume();
    settle(this.#untilParked);
  }

  /**
   * Ends its thread, and resolves then. An exit without an answer gets all ones.
   * Does nothing to one that has no thread. Idempotent.
   */
  stop(): Promise<void> {
    return this.#async(() => {
      if (!this.#hasThread) return undefined;
      this.#exit = undefined;
      this.#native.stop();
      return this.#untilEnded;
    });
  }

  /** Ends its thread, waits for that, and closes the vCPU. Idempotent. */
  close(): void {
    if (!this.#lifetime.end('closed')) return;
    this.#native.close();
    this.#end('closed');
    this.#closed();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  get #hasThread(): boolean {
    return this.#state === 'running' || this.#state === 'paused';
  }

  // As an async function: what is wrong rejects. But the work is done at once.
  #async(begin: () => (() => void)[] | undefined): Promise<void> {
    return new Promise((resolve) => {
      this.#lifetime.check();
      const line = begin();
      if (line) line.push(resolve);
      else resolve();
    });
  }

  #end(state: 'stopped' | 'closed'): void {
    this.#state = state;
    this.#exit = undefined;
    settle(this.#untilParked);
    settle(this.#untilEnded);
  }

  #deliver(exit: VcpuExit): void {
    const stops = this.#untilEnded.length > 0;
    if (stops) return;
    this.#exit = exit;
    if (isFinal(exit)) {
      this.#native.pause();
      this.#state = 'paused';
    }
    this.#handle(exit, (answer) => {
      if (this.#exit !== exit) return;
      const bytes = encodeAnswer(exit, answer);
      this.#exit = undefined;
      this.#native.answer(bytes);
    });
  }

  #deliverPosted(exit: VcpuExit): void {
    this.#handle(exit, (answer) => encodeAnswer(exit, answer));
  }

  #handle(exit: VcpuExit, take: (answer: ExitAnswer) => void): void {
    try {
      const answer = this.#handler?.(exit, this);
      if (isPromiseLike(answer)) answer.then(take).then(undefined, raise);
      else take(answer);
    } catch (error) {
      raise(error);
    }
  }

  #get(name: KvmCallName, size: number): Uint8Array {
    const bytes = new Uint8Array(size);
    this.#call(name, bytes);
    return bytes;
  }

  #callForMsrs(name: 'KVM_GET_MSRS' | 'KVM_SET_MSRS', table: Uint8Array): void {
    const done = this.#call(name, table);
    const refused = decodeMsrs(table)[done];
    if (refused === undefined) return;
    const verb = name === 'KVM_GET_MSRS' ? 'reads' : 'writes';
    throw misuse(
      'ERR_EXMEM_ARGUMENT',
      `Expected MSRs that KVM ${verb} but received 0x${refused.index.toString(16)}`,
    );
  }

  #call(name: KvmCallName, argument?: Uint8Array | number): number {
    this.#lifetime.check();
    if (this.#native.busy()) {
      throw misuse(
        'ERR_EXMEM_BUSY',
        'This Vcpu is in the guest, where its state cannot be had: await pause() first',
      );
    }
    return kvmSystem.call(this.#fd, name, argument);
  }
}

function settle(waiting: (() => void)[]): void {
  for (const resolve of waiting.splice(0)) resolve();
}

/** The addon's callbacks must not throw: Node.js would swallow it. */
function raise(error: unknown): void {
  setImmediate(() => {
    throw error;
  });
}

function isPromiseLike(value: ExitAnswer | PromiseLike<ExitAnswer>): value is PromiseLike<ExitAnswer> {
  return typeof value === 'object' && 'then' in value;
}
