// SPDX-License-Identifier: MIT
import { dirname } from 'node:path';
import { Descriptor } from './descriptor.js';
import { ExclusiveMemoryError } from './errors.js';
import { system } from './system.js';
import { checkString, unexpected } from './validate.js';

/** The room in struct sockaddr_un, less the zero byte that ends a path. */
const maxAddressBytes = 107;

/** How often and how long (ms) to wait for others that bind right now; each takes microseconds. */
const lockTries = 50;
const lockTryMs = 2;

/** A path, or an abstract name: "\0" and a name that is in no directory. */
export function checkAddress(value: unknown, name: string): Uint8Array {
  const address = new TextEncoder().encode(checkString(value, name));
  const rest = address[0] === 0 ? address.subarray(1) : address;
  if (rest.byteLength > 0 && address.byteLength <= maxAddressBytes && !rest.includes(0)) return address;
  throw unexpected(
    `1 to ${maxAddressBytes} bytes of UTF-8 without NUL, but for a first one that makes it abstract,`,
    name,
    value,
  );
}

export const isAbstract = (path: string): boolean => path.startsWith('\0');

/**
 * Binds `socketFd` to `path`, in place of a socket there that nobody has any more.
 *
 * The mode is set on the socket before it has a name: what bind(2) makes has
 * that mode, less the umask, from its first moment. (Changing it afterwards
 * would leave a window, and changing the umask meanwhile would concern every
 * other thread.)
 */
export function bindPath(socketFd: number, path: string, mode: number): void {
  const address = checkAddress(path, 'path');
  if (isAbstract(path)) {
    system.unixBind(socketFd, address);
    return;
  }
  system.fchmod(socketFd, mode);
  const lock = lockDirectory(dirname(path));
  try {
    bindOrReplace(socketFd, path, address, lock !== undefined);
  } finally {
    if (lock !== undefined) system.close(lock);
  }
}

function bindOrReplace(socketFd: number, path: string, address: Uint8Array, mayReplace: boolean): void {
  try {
    system.unixBind(socketFd, address);
  } catch (error) {
    const inUse = error instanceof ExclusiveMemoryError && error.code === 'EADDRINUSE';
    if (!inUse || !mayReplace || !isStale(path, address)) throw error;
    system.unlink(path);
    system.unixBind(socketFd, address);
  }
}

/**
 * A lock for whoever binds. Without it another process could, between our
 * looking and removing, do the same and bind its own there; and bind(2) makes
 * the file a moment before the file leads to the socket, so that a new socket
 * looks like a stale one.
 *
 * Undefined if it cannot be had: the directory cannot be read, or a stranger
 * holds the lock. Then nothing may be removed, but what is free can be bound.
 */
function lockDirectory(directory: string): number | undefined {
  let fd;
  try {
    fd = system.openDirectory(directory);
  } catch {
    return undefined;
  }
  for (let tries = lockTries; tries > 0; tries--) {
    if (system.tryLock(fd)) return fd;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, lockTryMs);
  }
  system.close(fd);
  return undefined;
}

/**
 * Whether a socket was left behind there. A datagram socket asks: it cannot
 * disturb who listens (EPROTOTYPE), and unlike a stream socket it is not told
 * ECONNREFUSED by somebody who is bound and about to listen.
 */
function isStale(path: string, address: Uint8Array): boolean {
  if (system.lstat(path)?.isSocket() !== true) return false;
  using probe = new Descriptor(system.unixSocket('dgram'));
  try {
    system.unixConnect(probe.fd, address);
    return false;
  } catch (error) {
    return error instanceof ExclusiveMemoryError && error.code === 'ECONNREFUSED';
  }
}
