// SPDX-License-Identifier: MIT
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  ftruncateSync,
  lstatSync,
  openSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { fromSystem } from './errors.js';
import { native, type NativeMapping, type NativePolledDescriptor } from './native.js';
import { warnOfDisplacedHandlers } from './signal-handlers.js';

/** `call`, but a failure is an ExclusiveMemoryError with the stack of the caller. */
export function raising<A extends unknown[], R>(call: (...args: A) => R): (...args: A) => R {
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

/** `call` with a socket's address, which the message of a failure should name. */
function naming<R>(call: (fd: number, address: Uint8Array) => R) {
  return function named(fd: number, address: Uint8Array): R {
    try {
      return call(fd, address);
    } catch (failure) {
      const path = new TextDecoder().decode(address).replace('\0', '@');
      throw failure instanceof Error ? Object.assign(failure, { path }) : failure;
    }
  };
}

/** The system calls: what Node.js has comes from it, the rest from the addon. */
export const system = {
  open: raising((path: string) => openSync(path, 'r+')),
  openFile: rejecting((path: string | URL) => open(path, 'r')),
  close: raising(closeSync),
  duplicate: raising(native.duplicate),
  fstat: raising((fd: number) => fstatSync(fd)),
  ftruncate: raising(ftruncateSync),
  write: raising((fd: number, text: string) => writeSync(fd, text)),

  getVersion: raising(native.getVersion),
  create: raising(native.create),
  setSize: raising(native.setSize),
  getInfo: raising(native.getInfo),
  waitIdle: rejecting(native.waitIdle),
  destroy: raising(native.destroy),

  populate: rejecting(native.populate),
  populateBytes: raising(native.populateBytes),
  seal: raising(native.seal),
  setShared: raising(native.setShared),
  bindVm: raising(native.bindVm),

  viewSetSize: raising(native.viewSetSize),
  viewMapFd: raising(native.viewMapFd),
  viewMapMemory: raising(native.viewMapMemory),
  viewUnmap: raising(native.viewUnmap),
  viewProtect: raising(native.viewProtect),
  viewGetHandle: raising(native.viewGetHandle),
  viewGetRanges: raising(native.viewGetRanges),
  viewSync: rejecting(native.viewSync),

  map: raising((fd: number, byteLength: number) => {
    warnOfDisplacedHandlers();
    return new native.Mapping(fd, byteLength);
  }),
  mapWindow: raising((fd: number, byteLength: number, offset: number, writable: boolean) => {
    warnOfDisplacedHandlers();
    return new native.Mapping(fd, byteLength, offset, writable);
  }),
  unmap: raising((mapping: NativeMapping) => {
    mapping.unmap();
  }),
  fillRandom: raising(native.fillRandom),
  wipe: raising(native.wipe),
  equal: raising(native.equal),
  copy: raising(native.copy),
  copyOut: raising(native.copyOut),
  copyIn: raising(native.copyIn),
  read: rejecting(native.read),

  memfdSecret: raising(native.memfdSecret),
  isMemfdSecret: raising(native.isMemfdSecret),

  socketPair: raising(native.socketPair),
  send: raising(native.send),
  trySend: raising(native.trySend),
  receive: raising(native.receive),
  tryReceive: raising(native.tryReceive),

  openDirectory: raising((path: string) => openSync(path, constants.O_RDONLY | constants.O_DIRECTORY)),
  lstat: raising((path: string) => lstatSync(path, { bigint: true, throwIfNoEntry: false })),
  unlink: raising((path: string) => {
    unlinkSync(path);
  }),
  fchmod: raising((fd: number, mode: number) => {
    fchmodSync(fd, mode);
  }),
  unixSocket: raising(native.unixSocket),
  unixBind: raising(naming(native.unixBind)),
  unixListen: raising(native.unixListen),
  unixConnect: raising(naming(native.unixConnect)),
  tryAccept: raising(native.tryAccept),
  endSending: raising(native.endSending),
  peerEnded: raising(native.peerEnded),
  socketKind: raising(native.socketKind),
  peerCredentials: raising(native.peerCredentials),
  peerPidfd: raising(native.peerPidfd),
  setCloseOnExec: raising(native.setCloseOnExec),
  tryLock: raising(native.tryLock),

  watch: raising((polled: NativePolledDescriptor, readable: boolean, writable: boolean) => {
    polled.watch(readable, writable);
  }),
  closePolled: raising((polled: NativePolledDescriptor) => {
    polled.close();
  }),

  muteTerminal: raising(native.muteTerminal),
  restoreTerminal: raising(native.restoreTerminal),
  readLine: rejecting(native.readLine),

  memlockLimit: raising(native.memlockLimit),

  installFilter: raising(native.installFilter),
} as const;
