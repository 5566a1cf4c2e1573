// SPDX-License-Identifier: MIT
import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';
import { hintFor } from './hints.js';
import type { FailedAccess } from './native.js';

/**
 * The codes of errors that no system call reported. Errors of the kernel carry
 * the errno's name instead (`EBUSY`), with `errno` and `syscall`.
 */
export type MisuseCode =
  /** An argument is of the wrong type or out of its range. */
  | 'ERR_EXMEM_ARGUMENT'
  /** The object was disposed, or given away. */
  | 'ERR_EXMEM_DISPOSED'
  /** It is in use: a `use()` of the secret, a transfer. What was asked for has to wait. */
  | 'ERR_EXMEM_BUSY'
  /** No backend that the policy allows can be used on this machine. */
  | 'ERR_EXMEM_UNAVAILABLE'
  /** The file descriptor is not one of the expected kind. */
  | 'ERR_EXMEM_WRONG_DESCRIPTOR'
  /** The ArrayBuffer was transferred away by the code that it was lent to. */
  | 'ERR_EXMEM_TRANSFERRED'
  /** Memory was taken away while it was used: {@link RevokedError}. */
  | 'ERR_EXMEM_REVOKED'
  /** Memory does not allow what was done to it: {@link NoAccessError}. */
  | 'ERR_EXMEM_NO_ACCESS'
  /** The input is empty, or longer than allowed. */
  | 'ERR_EXMEM_SIZE'
  /** The user pressed ^C at a prompt. */
  | 'ERR_EXMEM_CANCELLED'
  /** A received message did not fit; its descriptors were closed. */
  | 'ERR_EXMEM_TRUNCATED'
  /** The other end broke the framing, or ended within a message. */
  | 'ERR_EXMEM_PROTOCOL'
  /** The native addon is missing or cannot be loaded. */
  | 'ERR_EXMEM_ADDON';

/**
 * Every error this package makes. As in Node.js itself, an error that a system
 * call reported has `code` (`'EBUSY'`), a negative `errno` and `syscall`; any
 * other has a {@link MisuseCode} and neither.
 */
export class ExclusiveMemoryError extends Error {
  override readonly name: string;
  readonly code: string;
  /** Negative, as in Node.js: -16 for EBUSY. */
  declare readonly errno?: number;
  declare readonly syscall?: string;

  constructor(code: string, message: string, details: ErrorDetails = {}) {
    super(message, 'cause' in details ? { cause: details.cause } : {});
    this.name = new.target.name;
    this.code = code;
    if (details.errno !== undefined) this.errno = details.errno;
    if (details.syscall !== undefined) this.syscall = details.syscall;
    if (details.hideAbove !== undefined) Error.captureStackTrace(this, details.hideAbove);
  }
}

/**
 * Memory was taken away while it was used: a range of a view was unmapped, or
 * its source was truncated, or exclusive memory was destroyed by another holder
 * or mapped by it (`yield`). From there on, zeros were read in place of its
 * pages, and what was written to them is lost.
 */
export class RevokedError extends ExclusiveMemoryError {
  /** Byte offset, in the view or object, of the first page that was missed. */
  readonly offset: number;

  constructor(offset: number, message: string, details: ErrorDetails = {}) {
    super('ERR_EXMEM_REVOKED', message, details);
    this.offset = offset;
  }
}

/**
 * Memory does not allow what was done to it: a store to a page that may only be
 * read, or any access to one that may not. It had no effect; zeros were read.
 */
export class NoAccessError extends ExclusiveMemoryError {
  /** Byte offset, in the view or object, of the first page that refused. */
  readonly offset: number;

  constructor(offset: number, message: string, details: ErrorDetails = {}) {
    super('ERR_EXMEM_NO_ACCESS', message, details);
    this.offset = offset;
  }
}

/** The error of an access that failed: see AccessGuard in the addon. */
export function accessLost(
  what: string,
  { offset, denied }: FailedAccess,
  cause?: unknown,
): RevokedError | NoAccessError {
  const details = { ...(cause !== undefined && { cause }), hideAbove: accessLost };
  const place = `the page at byte ${offset} of this ${what}`;
  if (denied) {
    return new NoAccessError(
      offset,
      `Not allowed: an access to ${place}. It can be read only, or not at all, by its owner's ` +
        'will or because it was lent without "write: true"',
      details,
    );
  }
  return new RevokedError(
    offset,
    `The memory was taken away while it was used, first ${place}; do not trust what was read`,
    details,
  );
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
  const hint = hintFor(operation, code) ?? hintFor(syscall, code);
  const message = `${code}: ${text}, ${operation}${hint === undefined ? '' : `: ${hint}`}`;
  return new ExclusiveMemoryError(code, message, {
    errno,
    syscall,
    ...(hideAbove && { hideAbove }),
  });
}

/** What neither libuv nor Node.js has a name for. */
const furtherNames: Readonly<Record<number, string>> = { 109: 'ETOOMANYREFS' };

function describeErrno(errno: number): readonly [code: string, text: string] {
  const known = getSystemErrorMap().get(errno);
  if (known) return known;
  // libuv names fewer errors than Linux has.
  const code = Object.entries(constants.errno).find(([, number]) => number === -errno)?.[0];
  return [code ?? furtherNames[-errno] ?? `E${-errno}`, 'system error'];
}
