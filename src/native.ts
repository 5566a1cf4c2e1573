// SPDX-License-Identifier: MIT
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { misuse } from './errors.js';

/** The addon's exports: see addon/, one file per group. */
export interface Native {
  readonly constants: Readonly<Record<ConstantName, number>>;

  readonly Descriptor: new (fd: number) => NativeDescriptor;

  readonly getVersion: (deviceFd: number) => number;
  readonly create: (deviceFd: number, size: number, flags: number, name: string) => number;
  readonly setSize: (fd: number, bytes: number) => void;
  readonly getInfo: (fd: number) => NativeInfo;
  readonly waitIdle: (fd: number, timeoutMs: number) => Promise<boolean>;
  readonly destroy: (fd: number) => void;

  readonly Mapping: new (fd: number, byteLength: number) => NativeMapping;

  readonly fillRandom: (mapping: NativeMapping) => void;
  readonly wipe: (mapping: NativeMapping) => void;
  readonly equal: (a: NativeMapping, b: NativeMapping) => boolean;
  readonly copy: (from: NativeMapping, to: NativeMapping) => void;
  readonly read: (fd: number, to: NativeMapping, offset: number, timeoutMs: number) => Promise<number>;

  readonly memfdSecret: () => number;
  readonly isMemfdSecret: (fd: number) => boolean;

  readonly socketPair: () => [number, number];
  readonly send: (socketFd: number, payload: Uint8Array, fds: readonly number[]) => void;
  readonly receive: (socketFd: number, payload: Uint8Array, timeoutMs: number) => NativeMessage;

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
  | 'STATE_DIRECT_MAP_REMOVED';

/** Closes its file descriptor when it is collected, unless told to before. */
export interface NativeDescriptor {
  close(): void;
  release(): number;
}

/** One mapping of a whole object; unmapped when it is collected at the latest. */
export interface NativeMapping {
  /** A new ArrayBuffer over the object's bytes. */
  view(): ArrayBuffer;
  /** Detaches a view; false if it was detached already. */
  retire(view: ArrayBuffer): boolean;
  unmap(): void;
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
  readonly truncated: boolean;
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
  apt-get install cmake make g++
  npm run build:addon`;

export const native: Native = loadNative();
