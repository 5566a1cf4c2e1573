// SPDX-License-Identifier: MIT
import { types } from 'node:util';
import { type DescriptorLike, fdOf } from './descriptor.js';
import { misuse } from './errors.js';
import { native } from './native.js';
import { pageSize } from './page.js';
import { descriptorOf, Secret } from './secret.js';
import { system } from './system.js';
import { checkBuffer } from './validate.js';

/**
 * What can be seen through a view: a file descriptor (of a memfd, of a file on
 * tmpfs, hugetlbfs or a disk, of exclusive memory), whatever has one (a
 * {@link Descriptor}, a {@link RestrictedMemfd}, a `FileHandle`), or a
 * {@link Secret}. It stays the caller's, who may close it at once.
 */
export type ViewSource = DescriptorLike | Secret;

export function sourceFd(source: ViewSource, name: string): number {
  if (source instanceof Secret) return descriptorOf(source).fd;
  return fdOf(source, name, 'a file descriptor, an object with an fd, or a Secret');
}

/** Bytes from the offset to the end of the source, where it has one. */
export function bytesFrom(fd: number, offset: number): number {
  const { size } = system.fstat(fd);
  if (size > offset) return size - offset;
  throw misuse(
    'ERR_EXMEM_ARGUMENT',
    `Expected a size, since file descriptor ${fd} has ${size} bytes and none from ${offset} on`,
  );
}

/**
 * Memory of this process that a view can show: such that it cannot go away
 * while somebody holds the Uint8Array. What comes to be at its address later
 * would be shown, too.
 */
export function checkOwnMemory(memory: Uint8Array, name: string): Uint8Array {
  checkBuffer(memory, name);
  const shared = types.isSharedArrayBuffer(memory.buffer);
  const misplaced = native.offsetInPage(memory);
  if (shared && misplaced === 0 && memory.byteLength > 0 && memory.byteLength % pageSize === 0) {
    return memory;
  }
  const found = shared
    ? `${memory.byteLength} bytes, the first of them ${misplaced} bytes behind the start of a page`
    : 'one of an ArrayBuffer, which can be transferred away and freed';
  throw misuse(
    'ERR_EXMEM_ARGUMENT',
    `Expected whole pages of a SharedArrayBuffer for ${name} but received ${found}. ` +
      `new SharedArrayBuffer(size, { maxByteLength: size }) and the buffer of a shared ` +
      `WebAssembly.Memory begin with a page, of ${pageSize} bytes`,
  );
}

