// SPDX-License-Identifier: MIT
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { misuse } from './errors.js';
import type { NativeKvm } from './kvm/native.js';
import type { NativeFiltering } from './kvm/native-filter.js';

/** The addon's exports: see addon/, one file per group. */
export interface Native extends NativeFiltering, NativeKvm {
  readonly constants: Readonly<Record<ConstantName, number>>;

  readonly Descriptor: new (fd: number) => NativeDescriptor;
  readonly duplicate: (fd: number) => number;

  readonly getVersion: (deviceFd: number) => number;
  readonly create: (deviceFd: number, size: number, flags: number, name: string) => number;
  readonly setSize: (fd: number, bytes: number) => void;
  readonly getInfo: (fd: number) => NativeInfo;
  readonly waitIdle: (fd: number, timeoutMs: number) => Promise<boolean>;
  readonly destroy: (fd: number) => void;

  readonly populate: (
    fd: number,
    offset: number,
    room: number,
    sourceFd: number,
    sourceOffset: number,
    length: number,
    timeoutMs: number,
  ) => Promise<number>;
  readonly populateBytes: (
    fd: number,
    offset: number,
    bytes: Uint8Array,
    start: number,
    length: number,
  ) => void;
  readonly seal: (fd: number, what: number) => void;
  readonly setShared: (fd: number, offset: number, size: number, flags: number) => void;
  readonly bindVm: (fd: number, vmFd: number) => void;

  readonly viewSetSize: (controlFd: number, bytes: number) => void;
  readonly viewMapFd: (
    controlFd: number,
    sourceFd: number,
    sourceOffset: number,
    size: number,
    at: number,
    flags: number,
  ) => void;
  readonly viewMapMemory: (controlFd: number, bytes: Uint8Array, at: number, flags: number) => void;
  readonly offsetInPage: (bytes: Uint8Array) => number;
  readonly viewUnmap: (controlFd: number, at: number, size: number) => void;
  readonly viewProtect: (controlFd: number, at: number, size: number, flags: number) => void;
  readonly viewGetHandle: (controlFd: number, cap: number) => number;
  readonly viewGetRanges: (controlFd: number) => NativeRange[];
  readonly viewSync: (controlFd: number) => Promise<void>;

  /** Names of signals. */
  readonly displacedHandlers: () => string[];

  readonly Mapping: new (
    fd: number,
    byteLength: number,
    ...window: [offset: number, writable: boolean] | []
  ) => NativeMapping;

  readonly fillRandom: (mapping: NativeMapping) => void;
  readonly wipe: (mapping: NativeMapping) => void;
  readonly equal: (a: NativeMapping, b: NativeMapping) => boolean;
  readonly copy: (from: NativeMapping, to: NativeMapping) => void;
  readonly copyOut: (
    from: NativeMapping,
    offset: number,
    to: Uint8Array,
    start: number,
    length: number,
  ) => void;
  readonly copyIn: (
    to: NativeMapping,
    offset: number,
    from: Uint8Array,
    start: number,
    length: number,
  ) => void;
  readonly read: (fd: number, to: NativeMapping, offset: number, timeoutMs: number) => Promise<number>;

  readonly memfdSecret: () => number;
  readonly isMemfdSecret: (fd: number) => boolean;

  readonly socketPair: (seqpacket: boolean) => [number, number];
  readonly send: (socketFd: number, payload: Uint8Array, fds: readonly number[]) => void;
  readonly trySend: (socketFd: number, payload: Uint8Array, fds: readonly number[]) => number;
  readonly receive: (socketFd: number, payload: Uint8Array, timeoutMs: number) => NativeMessage;
  readonly tryReceive: (socketFd: number, payload: Uint8Array) => NativeMessage | undefined;

  readonly unixSocket: (type: 'seqpacket' | 'stream' | 'dgram') => number;
  readonly unixBind: (fd: number, address: Uint8Array) => void;
  readonly unixListen: (fd: number, backlog: number) => void;
  readonly unixConnect: (fd: number, address: Uint8Array) => boolean;
  readonly tryAccept: (fd: number) => number;
  readonly endSending: (fd: number) => void;
  readonly peerEnded: (fd: number) => boolean;
  readonly socketKind: (fd: number) => 'seqpacket' | 'stream' | 'other';
  readonly peerCredentials: (fd: number) => { pid: number; uid: number; gid: number };
  readonly peerPidfd: (fd: number) => number;
  readonly setCloseOnExec: (fd: number) => void;
  readonly tryLock: (fd: number) => boolean;

  readonly PolledDescriptor: new (fd: number) => NativePolledDescriptor;

  readonly muteTerminal: (fd: number) => Uint8Array;
  readonly restoreTerminal: (fd: number, state: Uint8Array) => void;
  readonly readLine: (
    fd: number,
    to: NativeMapping,
    length: number,
    timeoutMs: number,
  ) => Promise<{ state: 'open' | 'done' | 'cancelled' | 'too long'; length: number }>;

  readonly memlockLimit: () => { soft: number; hard: number };
}

type ConstantName =
  | 'API_VERSION'
  | 'NAME_SIZE'
  | 'CREATE_GUEST'
  | 'CREATE_HUGE'
  | 'CREATE_HOST_ACCESS'
  | 'STATE_MAPPED'
  | 'STATE_DESTROYED'
  | 'STATE_CONTENT_SEALED'
  | 'STATE_LAYOUT_SEALED'
  | 'STATE_BOUND'
  | 'STATE_DIRECT_MAP_REMOVED'
  | 'SHARE_SHARED'
  | 'SHARE_WIPE'
  | 'MEMVIEW_READ'
  | 'MEMVIEW_WRITE'
  | 'MEMVIEW_EXEC'
  | 'MEMVIEW_REPLACE'
  | 'MEMVIEW_YIELD'
  | 'MEMVIEW_KIND_FILE'
  | 'MEMVIEW_KIND_EXCLUSIVE'
  | 'MEMVIEW_KIND_PROCESS'
  | 'PAGE_SIZE';

/** Closes its file descriptor when it is collected, unless told to before. */
export interface NativeDescriptor {
  close(): void;
  release(): number;
}

/** One mapping, of a whole object or of a window; unmapped when it is collected at the latest. */
export interface NativeMapping {
  /** A new ArrayBuffer over its bytes. */
  view(): ArrayBuffer;
  /** What became of the first access, on any thread, that found no page. */
  firstFailure(): FailedAccess | undefined;
  /** Detaches a view; false if it was detached already. */
  retire(view: ArrayBuffer): boolean;
  unmap(): void;
}

export interface FailedAccess {
  /** Of the page, in bytes, in the object or view. */
  readonly offset: number;
  /** There is a page, but it does not allow this access. */
  readonly denied: boolean;
}

export interface NativeRange {
  readonly at: number;
  readonly size: number;
  readonly offset: number;
  readonly flags: number;
  readonly kind: number;
}

export interface NativeInfo {
  readonly size: number;
  readonly resident: number;
  readonly shared: number;
  readonly flags: number;
  readonly state: number;
  readonly references: number;
  readonly notifiers: number;
}

export interface NativeMessage {
  readonly length: number;
  readonly fds: number[];
  readonly payloadTruncated: boolean;
  readonly descriptorsTruncated: boolean;
}

/** As a NativeDescriptor; and it can be waited for. */
export interface NativePolledDescriptor extends NativeDescriptor {
  /** Called once for each `watch()` that wishes anything. */
  onReady: () => void;
  watch(readable: boolean, writable: boolean): void;
  /** Whether a `watch()` keeps the event loop going. It does by default. */
  ref(): void;
  unref(): void;
}

const addonFile = fileURLToPath(
  new URL('../build/Release/exclusive_memory.node', import.meta.url),
);

/** Loads the addon, or says what is missing and how to get it. */
export function loadNative(file: string = addonFile): Native {
  try {
    return createRequire(import.meta.url)(file) as Native;
  } catch (error) {
    throw misuse('ERR_EXMEM_ADDON', `${explain(file, error)}\n${remedy}`, error);
  }
}

function explain(file: string, error: unknown): string {
  const host = `${process.platform}-${process.arch}, Node.js ${process.version}`;
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    return `exclusive-memory needs linux-x64 but found ${host}.`;
  }
  if (!existsSync(file)) {
    return `The native addon of exclusive-memory is not built: ${file} does not exist (${host}).`;
  }
  const reason = error instanceof Error ? error.message : String(error);
  return `The native addon of exclusive-memory cannot be loaded (${host}): ${reason}`;
}

const remedy = `Build it in the folder of the package:
  apt-get install cmake make g++ libseccomp-dev
  npm run build:addon`;

export const native: Native = loadNative();
