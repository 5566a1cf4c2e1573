// SPDX-License-Identifier: MIT
import { closeSync, fstatSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { fromSystem } from './errors.js';
import { native, type NativeMapping } from './native.js';

/** `call`, but a failure is an ExclusiveMemoryError with the stack of the caller. */
function raising<A extends unknown[], R>(call: (...args: A) => R): (...args: A) => R {
  return function raise(...args: A): R {
    try {
      return call(...args);
    } catch (failure) {
      throw fromSystem(failure, raise);
    }
  };
}

/** The same for what fails later: the stack is that of the call, not of the event loop. */
function rejecting<A extends unknown[], R>(
  call: (...args: A) => Promise<R>,
): (...args: A) => Promise<R> {
  return async function reject(...args: A): Promise<R> {
    const origin: { stack?: string } = {};
    Error.captureStackTrace(origin, reject);
    try {
      return await call(...args);
    } catch (failure) {
      const error = fromSystem(failure);
      if (error instanceof Error && origin.stack !== undefined) {
        error.stack = origin.stack.replace(/^Error/, `${error.name}: ${error.message}`);
      }
      throw error;
    }
  };
}

/** The system calls: what Node.js has comes from it, the rest from the addon. */
export const system = {
  open: raising((path: string) => openSync(path, 'r+')),
  openFile: rejecting((path: string | URL) => open(path, 'r')),
  close: raising(closeSync),
  fstat: raising((fd: number) => fstatSync(fd)),
  ftruncate: raising(ftruncateSync),
  write: raising((fd: number, text: string) => writeSync(fd, text)),

  getVersion: raising(native.getVersion),
  create: raising(native.create),
  setSize: raising(native.setSize),
  getInfo: raising(native.getInfo),
  waitIdle: rejecting(native.waitIdle),
  destroy: raising(native.destroy),

  map: raising((fd: number, byteLength: number) => new native.Mapping(fd, byteLength)),
  unmap: raising((mapping: NativeMapping) => {
    mapping.unmap();
  }),
  fillRandom: raising(native.fillRandom),
  wipe: raising(native.wipe),
  equal: raising(native.equal),
  copy: raising(native.copy),
  read: rejecting(native.read),

  memfdSecret: raising(native.memfdSecret),
  isMemfdSecret: raising(native.isMemfdSecret),

  socketPair: raising(native.socketPair),
  send: raising(native.send),
  receive: raising(native.receive),

  muteTerminal: raising(native.muteTerminal),
  restoreTerminal: raising(native.restoreTerminal),
  readLine: rejecting(native.readLine),

  memlockLimit: raising(native.memlockLimit),
} as const;
