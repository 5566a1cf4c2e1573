// SPDX-License-Identifier: MIT
import type { KvmConstantName } from './constants.js';

/** The addon's exports that are about KVM: see addon/kvm*.cc and addon/slot_region.cc. */
export interface NativeKvm {
  readonly kvmConstants: Readonly<Record<KvmConstantName, number>>;
  /**
   * ioctl(2) of KVM. `argument` is the structure, which is read and written in
   * place, or the number; the result is what the kernel returns.
   */
  readonly kvmCall: (fd: number, name: KvmCallName, argument?: Uint8Array | number) => number;
  /** KVM_CREATE_VM and KVM_CREATE_VCPU: a new descriptor. */
  readonly kvmCreateVm: (kvmFd: number) => number;
  readonly kvmCreateVcpu: (vmFd: number, id: number) => number;
  /** eventfd(2), not blocking. */
  readonly eventFd: () => number;

  readonly SlotRegion: new (
    fd: number,
    size: number,
    offset: number,
    access: 0 | 1 | 2,
  ) => NativeSlotRegion;
  readonly KvmMachine: new (fd: number) => NativeMachine;
  readonly KvmProcessor: new (
    machine: NativeMachine,
    fd: number,
    runSize: number,
  ) => NativeProcessor;
}

/** A mapping that JavaScript gets no address of. */
export interface NativeSlotRegion {
  /** Unmapped now, or when the last slot over it goes. */
  release(): void;
}

/** Who answers an access of the guest. */
export type NativeRoute = 'none' | 'reply' | 'exit' | 'post';

/** Owner of a VM's descriptor, of the mappings its slots use, and of who answers which access. */
export interface NativeMachine {
  setSlot(
    slot: number,
    flags: number,
    gpa: number,
    region: NativeSlotRegion,
    offset: number,
    size: number,
  ): void;
  removeSlot(slot: number): void;
  dirtyLog(slot: number): Uint8Array;
  /** `value` is what `'reply'` gives. */
  routeIn(first: number, last: number, route: NativeRoute, value: number): void;
  routeOut(first: number, last: number, route: NativeRoute): void;
  /** In order: start, end, and whether stores are posted. All of them at once. */
  setMmioRoutes(triples: readonly number[]): void;
  close(): void;
}

/** Owner of a vCPU's descriptor, and of the thread that runs it. */
export interface NativeProcessor {
  /** Writes for which the vCPU did not wait: see posted.ts. */
  onPosted: (records: Uint8Array) => void;
  /**
   * KVM_RUN came back with an exit, or failed with `error`, and the thread
   * waits for `answer()`. `details` is the union in struct kvm_run, `data` what
   * `out` wrote.
   */
  onExit: (reason: number, error: number, details: Uint8Array, data: Uint8Array) => void;
  /** It is `parked()` now. */
  onParked: () => void;
  /** The thread is over. */
  onEnded: () => void;

  /** `number` is for the name of the thread. */
  start(number: number): void;
  /** Whether it may be in KVM_RUN, where another call on the vCPU would wait without end. */
  busy(): boolean;
  /** Whether it is out of KVM_RUN, as `pause()` asked for. */
  parked(): boolean;
  /** Ends the wait of `onExit`: the guest gets the bytes, or all ones. */
  answer(bytes: Uint8Array | undefined): void;
  pause(): void;
  resume(): void;
  stop(): void;
  /** Stops the thread, waits for its end, and closes the vCPU. */
  close(): void;
}

export type KvmCallName =
  | 'KVM_GET_API_VERSION'
  | 'KVM_CHECK_EXTENSION'
  | 'KVM_GET_VCPU_MMAP_SIZE'
  | 'KVM_GET_SUPPORTED_CPUID'
  | 'KVM_SET_TSS_ADDR'
  | 'KVM_CREATE_IRQCHIP'
  | 'KVM_CREATE_PIT2'
  | 'KVM_ENABLE_CAP'
  | 'KVM_IRQ_LINE'
  | 'KVM_IRQFD'
  | 'KVM_IOEVENTFD'
  | 'KVM_SET_CPUID2'
  | 'KVM_GET_REGS'
  | 'KVM_SET_REGS'
  | 'KVM_GET_SREGS'
  | 'KVM_SET_SREGS'
  | 'KVM_GET_MSRS'
  | 'KVM_SET_MSRS'
  | 'KVM_GET_TSC_KHZ'
  | 'KVM_SET_TSC_KHZ';
