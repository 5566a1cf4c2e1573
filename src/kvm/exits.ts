// SPDX-License-Identifier: MIT
import type { ExclusiveMemoryError } from '../errors.js';
import type { Vcpu } from './vcpu.js';

/** `in` from a port: the answer is what the guest reads. */
export interface IoInExit {
  readonly type: 'io-in';
  readonly port: number;
  /** Bytes of one access: 1, 2 or 4. */
  readonly size: number;
  /** Accesses: more than 1 for `rep ins`. */
  readonly count: number;
}

/** `out` to a port. */
export interface IoOutExit {
  readonly type: 'io-out';
  readonly port: number;
  readonly size: number;
  /** Accesses: more than 1 for `rep outs`, and for writes to a posted port one after the other. */
  readonly count: number;
  /** `size * count` bytes. */
  readonly data: Uint8Array;
  /** The vCPU did not wait: see {@link IoPorts.post}. */
  readonly posted: boolean;
}

/** A load from where no slot is: the answer is what the guest reads. */
export interface MmioReadExit {
  readonly type: 'mmio-read';
  readonly address: bigint;
  /** 1 to 8 bytes. */
  readonly size: number;
}

/** A store to where no slot is, or to a slot that is read-only. */
export interface MmioWriteExit {
  readonly type: 'mmio-write';
  readonly address: bigint;
  readonly size: number;
  readonly data: Uint8Array;
  /** The vCPU did not wait: see {@link MmioRanges.post}. */
  readonly posted: boolean;
}

/** Of the kind that KVM_CAP_EXIT_HYPERCALL lets through: the answer is its result. */
export interface HypercallExit {
  readonly type: 'hypercall';
  readonly number: bigint;
  /** Six. */
  readonly args: readonly bigint[];
  readonly longMode: boolean;
}

/** `hlt`, where there is no in-kernel irqchip. */
export interface HltExit {
  readonly type: 'hlt';
}

/** A triple fault. */
export interface ShutdownExit {
  readonly type: 'shutdown';
}

/** KVM_EXIT_SYSTEM_EVENT. */
export interface SystemEventExit {
  readonly type: 'system-event';
  /** KVM_SYSTEM_EVENT_*: 1 shutdown, 2 reset, 3 crash. */
  readonly kind: number;
  readonly data: readonly bigint[];
}

/**
 * KVM could not emulate an instruction, or worse. Where guest code is in memory
 * that the host cannot read, that is what an instruction ends with that the
 * processor does not decode for KVM.
 */
export interface InternalErrorExit {
  readonly type: 'internal-error';
  /** KVM_INTERNAL_ERROR_*: 1 emulation. */
  readonly suberror: number;
  readonly data: readonly bigint[];
}

/** The processor refused the state of the guest. */
export interface FailEntryExit {
  readonly type: 'fail-entry';
  readonly reason: bigint;
  readonly cpu: number;
}

/** KVM_RUN failed with EFAULT: a slot without memory behind it, or without the right to it. */
export interface MemoryFaultExit {
  readonly type: 'memory-fault';
  readonly error: ExclusiveMemoryError;
}

/** KVM_RUN failed otherwise. */
export interface RunErrorExit {
  readonly type: 'run-error';
  readonly error: ExclusiveMemoryError;
}

/** One that this package has no name for: a capability that was enabled asks for it. */
export interface OtherExit {
  readonly type: 'other';
  /** KVM_EXIT_* */
  readonly reason: number;
  /** The union in `struct kvm_run`. */
  readonly details: Uint8Array;
}

export type VcpuExit =
  | IoInExit
  | IoOutExit
  | MmioReadExit
  | MmioWriteExit
  | HypercallExit
  | HltExit
  | ShutdownExit
  | SystemEventExit
  | InternalErrorExit
  | FailEntryExit
  | MemoryFaultExit
  | RunErrorExit
  | OtherExit;

/**
 * What a guest gets. Bytes: of `io-in`, `size * count` of them; a number: each
 * access reads it, little-endian. Nothing: all ones; of a hypercall, 0.
 */
export type ExitAnswer = Uint8Array | number | bigint | undefined;

/**
 * Called on the event loop for one exit at a time. The vCPU waits until it has
 * returned, or its promise is fulfilled.
 */
export type ExitHandler = (exit: VcpuExit, vcpu: Vcpu) => ExitAnswer | PromiseLike<ExitAnswer>;

/** The guest cannot go on by itself: the vCPU is paused, and {@link Vcpu.resume} tries again. */
const final: ReadonlySet<VcpuExit['type']> = new Set([
  ...(['shutdown', 'system-event', 'internal-error', 'fail-entry'] as const),
  ...(['memory-fault', 'run-error', 'other'] as const),
]);

export const isFinal = ({ type }: VcpuExit): boolean => final.has(type);
