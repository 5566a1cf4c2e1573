// SPDX-License-Identifier: MIT
// What the tests of views have in common.
import { expect } from 'chai';
import { NoAccessError, RevokedError, type ViewHandle } from 'exclusive-memory';
import { LossyFile } from './lossy-file.js';

export const page = 4096;

/** What look() says where nothing is, and where something is that refuses. */
export const gone = 'ERR_EXMEM_REVOKED';
export const refused = 'ERR_EXMEM_NO_ACCESS';

/** The byte that a handle finds, or the code of the error, which names the page. */
export function look(handle: ViewHandle, offset: number): number | string {
  const into = new Uint8Array(1);
  return attempt(offset, () => {
    handle.read(offset, into);
    return into[0] ?? 'nothing';
  });
}

/** Stores a byte: 'stored', or the code of the error. */
export function store(handle: ViewHandle, offset: number, byte: number): string {
  return attempt(offset, () => {
    handle.write(offset, Uint8Array.of(byte));
    return 'stored';
  });
}

function attempt<T>(offset: number, action: () => T): T | string {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof RevokedError || error instanceof NoAccessError)) throw error;
    expect(error.offset).to.equal(Math.floor(offset / page) * page);
    return error.code;
  }
}

/** A file whose pages hold their own number, from 1. */
export function numberedFile(pages: number): LossyFile {
  const file = new LossyFile(pages * page);
  for (let i = 0; i < pages; i++) file.fill(i + 1, i * page, page);
  return file;
}

export function expectRevoked(error: unknown, offset: number): void {
  expect(error).to.be.instanceOf(RevokedError).and.include({ code: gone, offset });
}

export function expectDenied(error: unknown, offset: number): void {
  expect(error).to.be.instanceOf(NoAccessError).and.include({ code: refused, offset });
}
