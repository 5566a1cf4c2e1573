// SPDX-License-Identifier: MIT
// The union in struct kvm_run of linux/kvm.h, and what a guest is given back.
import { constants } from 'node:os';
import { ExclusiveMemoryError, fromSystem, misuse } from '../errors.js';
import { unexpected } from '../validate.js';
import { exitReason } from './constants.js';
import type { ExitAnswer, VcpuExit } from './exits.js';

const EXIT_IO_OUT = 1;
const mmioDataAt = 8;

/** `error` is the errno of a KVM_RUN that failed, or 0. */
export function decodeExit(
  reason: number,
  error: number,
  details: Uint8Array,
  data: Uint8Array,
): VcpuExit {
  if (error !== 0) return decodeFailure(error);
  const view = new DataView(details.buffer, details.byteOffset, details.byteLength);
  switch (reason) {
    case exitReason.IO: {
      const access = {
        port: view.getUint16(2, true),
        size: view.getUint8(1),
        count: view.getUint32(4, true),
      };
      if (view.getUint8(0) === EXIT_IO_OUT) return { type: 'io-out', ...access, data, posted: false };
      return { type: 'io-in', ...access };
    }
    case exitReason.MMIO: {
      const address = view.getBigUint64(0, true);
      const size = view.getUint32(16, true);
      if (view.getUint8(20) === 0) return { type: 'mmio-read', address, size };
      const stored = details.slice(mmioDataAt, mmioDataAt + size);
      return { type: 'mmio-write', address, size, data: stored, posted: false };
    }
    case exitReason.HYPERCALL:
      return {
        type: 'hypercall',
        number: view.getBigUint64(0, true),
        args: words(view, 8, 6),
        longMode: view.getUint32(64, true) !== 0,
      };
    case exitReason.HLT:
      return { type: 'hlt' };
    case exitReason.SHUTDOWN:
      return { type: 'shutdown' };
    case exitReason.SYSTEM_EVENT: {
      const kind = view.getUint32(0, true);
      return { type: 'system-event', kind, data: words(view, 8, view.getUint32(4, true)) };
    }
    case exitReason.INTERNAL_ERROR: {
      const suberror = view.getUint32(0, true);
      return { type: 'internal-error', suberror, data: words(view, 8, view.getUint32(4, true)) };
    }
    case exitReason.FAIL_ENTRY:
      return {
        type: 'fail-entry',
        reason: view.getBigUint64(0, true),
        cpu: view.getUint32(8, true),
      };
    default:
      return { type: 'other', reason, details };
  }
}

/** The kernel has room for 16. */
const words = (view: DataView, at: number, count: number): bigint[] =>
  Array.from({ length: Math.min(count, 16) }, (_, i) => view.getBigUint64(at + i * 8, true));

function decodeFailure(errno: number): VcpuExit {
  const syscall = 'ioctl KVM_RUN';
  const error = fromSystem(Object.assign(new Error(syscall), { errno: -errno, syscall }));
  if (!(error instanceof ExclusiveMemoryError)) throw error;
  return { type: errno === constants.errno.EFAULT ? 'memory-fault' : 'run-error', error };
}

/** The bytes for the guest; `undefined`: all ones. */
export function encodeAnswer(exit: VcpuExit, answer: ExitAnswer): Uint8Array | undefined {
  switch (exit.type) {
    case 'io-in':
      return encode(answer, exit.type, exit.size, exit.count);
    case 'mmio-read':
      return encode(answer, exit.type, exit.size, 1);
    case 'hypercall':
      return encode(answer ?? 0, exit.type, 8, 1);
    default:
      if (answer === undefined) return undefined;
      throw misuse('ERR_EXMEM_ARGUMENT', `Expected no answer to an exit of type '${exit.type}'`);
  }
}

function encode(
  answer: ExitAnswer,
  type: string,
  size: number,
  count: number,
): Uint8Array | undefined {
  if (answer === undefined) return undefined;
  if (answer instanceof Uint8Array) {
    if (answer.byteLength === size * count) return answer;
  } else if (typeof answer === 'bigint' || Number.isSafeInteger(answer)) {
    const word = BigInt.asUintN(size * 8, BigInt(answer));
    const element = new Uint8Array(new BigUint64Array([word]).buffer, 0, size);
    const bytes = new Uint8Array(size * count);
    for (let i = 0; i < count; i++) bytes.set(element, i * size);
    return bytes;
  }
  const expected = `an integer, ${size * count} bytes or nothing`;
  throw unexpected(expected, `the answer to an exit of type '${type}'`, answer);
}
