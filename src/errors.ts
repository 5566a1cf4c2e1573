// SPDX-License-Identifier: MIT
import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';
import { hintFor } from './hints.js';

/**
 * The codes of errors that no system call reported. Errors of the kernel carry
 * the errno's name instead (`EBUSY`), with `errno` and `syscall`.
 */
export type MisuseCode =
  /** An argument is of the wrong type or out of its range. */
  | 'ERR_EXMEM_ARGUMENT'
  /** The object was disposed, or given away. */
  | 'ERR_EXMEM_DISPOSED'
  /** A `use()` of the secret is running; what was asked for has to wait. */
  | 'ERR_EXMEM_BUSY'
  /** No backend that the policy allows can be used on this machine. */
  | 'ERR_EXMEM_UNAVAILABLE'
  /** The file descriptor is not one of the expected kind. */
  | 'ERR_EXMEM_WRONG_DESCRIPTOR'
  /** The ArrayBuffer was transferred away by the code that it was lent to. */
  | 'ERR_EXMEM_TRANSFERRED'
  /** The input is empty, or longer than allowed. */
  | 'ERR_EXMEM_SIZE'
  /** The user pressed ^C at a prompt. */
  | 'ERR_EXMEM_CANCELLED'
  /** A received message did not fit; its descriptors were closed. */
  | 'ERR_EXMEM_TRUNCATED'
  /** The native addon is missing or cannot be loaded. */
  | 'ERR_EXMEM_ADDON';

/**
 * Every error this package makes. As in Node.js itself, an error that a system
 * call reported has `code` (`'EBUSY'`), a negative `errno` and `syscall`; any
 * other has a {@link MisuseCode} and neither.
 */
export class ExclusiveMemoryError extends Error {
  override readonly name = 'ExclusiveMemoryError';
  readonly code: string;
  /** Negative, as in Node.js: -16 for EBUSY. */
  declare readonly errno?: number;
  declare readonly syscall?: string;

  constructor(code: string, message: string, details: ErrorDetails = {}) {
    super(message, 'cause' in details ? { cause: details.cause } : {});
    this.code = code;
    if (details.errno !== undefined) this.errno = details.errno;
    if (details.syscall !== undefined) this.syscall = details.syscall;
    if (details.hideAbove !== undefined) Error.captureStackTrace(this, details.hideAbove);
  }
}

interface ErrorDetails {
  readonly errno?: number;
  readonly syscall?: string;
  readonly cause?: unknown;
  /** The function that the stack should begin below. */
  readonly hideAbove?: (...args: never[]) => unknown;
}

export function misuse(code: MisuseCode, message: string, cause?: unknown): ExclusiveMemoryError {
  return new ExclusiveMemoryError(code, message, {
    ...(cause !== undefined && { cause }),
    hideAbove: misuse,
  });
}

/** What the addon and `node:fs` throw when a system call fails. */
interface SystemFailure {
  readonly errno: number;
  readonly syscall: string;
  readonly path?: unknown;
}

function isSystemFailure(value: unknown): value is Error & SystemFailure {
  return (
    value instanceof Error &&
    'errno' in value &&
    typeof value.errno === 'number' &&
    'syscall' in value &&
    typeof value.syscall === 'string'
  );
}

/** Gives the failure of a system call its public class; passes others through. */
export function fromSystem(failure: unknown, hideAbove?: (...args: never[]) => unknown): unknown {
  if (!isSystemFailure(failure) || failure instanceof ExclusiveMemoryError) return failure;
  const { errno, syscall, path } = failure;
  const [code, text] = describeErrno(errno);
  const operation = typeof path === 'string' ? `${syscall} '${path}'` : syscall;
  const hint = hintFor(operation, code);
  const message = `${code}: ${text}, ${operation}${hint === undefined ? '' : `: ${hint}`}`;
  return new ExclusiveMemoryError(code, message, {
    errno,
    syscall,
    ...(hideAbove && { hideAbove }),
  });
}

function describeErrno(errno: number): readonly [code: string, text: string] {
  const known = getSystemErrorMap().get(errno);
  if (known) return known;
  // libuv names fewer errors than Linux has.
  const code = Object.entries(constants.errno).find(([, number]) => number === -errno)?.[0];
  return [code ?? `E${-errno}`, 'system error'];
}
