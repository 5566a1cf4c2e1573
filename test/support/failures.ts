// SPDX-License-Identifier: MIT
// Assertions that name the exact error. "It threw something" proves nothing.
import { constants } from 'node:os';
import { expect } from 'chai';
import { ExclusiveMemoryError, type MisuseCode } from 'exclusive-memory';

function check(error: unknown): ExclusiveMemoryError {
  if (!(error instanceof ExclusiveMemoryError)) throw error;
  return error;
}

/** What `action` throws. */
export function thrown(action: () => unknown): ExclusiveMemoryError {
  try {
    action();
  } catch (error) {
    return check(error);
  }
  return expect.fail('nothing was thrown');
}

/** What `promise` rejects with. */
export async function rejection(promise: Promise<unknown>): Promise<ExclusiveMemoryError> {
  try {
    await promise;
  } catch (error) {
    return check(error);
  }
  return expect.fail('the promise was fulfilled');
}

export function expectMisuse(error: ExclusiveMemoryError, code: MisuseCode, message?: RegExp): void {
  expect(error.code).to.equal(code);
  expect(error).not.to.have.property('errno');
  expect(error).not.to.have.property('syscall');
  if (message) expect(error.message).to.match(message);
}

/** An argument that is refused before any system call. */
export function expectRefused(action: () => unknown, message?: RegExp): void {
  expectMisuse(thrown(action), 'ERR_EXMEM_ARGUMENT', message);
}

export type ErrnoName = keyof typeof constants.errno;

export function expectErrno(error: ExclusiveMemoryError, code: ErrnoName, syscall: string): void {
  expect(error).to.include({ code, errno: -constants.errno[code], syscall });
}

/** What `action` gives, or the code and the system call of its error: "EBUSY mmap". */
export async function outcome(action: () => unknown): Promise<unknown> {
  try {
    return await action();
  } catch (error) {
    const { code, syscall } = check(error);
    return [code, syscall].join(' ').trim();
  }
}
