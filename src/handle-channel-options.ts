// SPDX-License-Identifier: MIT
import { ExclusiveMemoryError, misuse } from './errors.js';
import { type FramingName, framingNames } from './framing.js';
import { system } from './system.js';
import { checkFd, checkInteger, checkOneOf, checkOptions, unexpected } from './validate.js';

export interface HandleChannelOptions {
  /**
   * How messages are told apart; both ends have to choose the same. Default:
   * `'seqpacket'`, or for a descriptor that exists already what fits its socket:
   * `'seqpacket'` or `'stream'`.
   */
  readonly framing?: FramingName;
  /**
   * Bytes of the longest payload, sent or received; for `'stream'`, the most
   * that one `receive()` gives. 1 to 2147483647. Default: 65536.
   */
  readonly maxPayloadBytes?: number;
}

export interface ConnectOptions extends HandleChannelOptions {
  readonly signal?: AbortSignal;
}

export interface ListenOptions extends HandleChannelOptions {
  /**
   * Who may connect: the permissions of the socket's file, less the umask as
   * for open(2); it needs write permission. Default: 0o600. An abstract name
   * has none: whoever is in the same network namespace may connect.
   */
  readonly mode?: number;
  /** How many connections may wait to be accepted; at most net.core.somaxconn. Default: 511. */
  readonly backlog?: number;
}

export interface TransferOptions {
  readonly signal?: AbortSignal;
}

export interface Settings {
  readonly framing: FramingName;
  readonly maxPayloadBytes: number;
}

const defaultMaxPayloadBytes = 64 * 1024;

export function checkSettings(
  options: HandleChannelOptions,
  defaultFraming: FramingName = 'seqpacket',
): Settings {
  checkOptions(options, 'options');
  const { framing = defaultFraming, maxPayloadBytes = defaultMaxPayloadBytes } = options;
  return {
    framing: checkOneOf(framing, 'framing', framingNames),
    maxPayloadBytes: checkInteger(maxPayloadBytes, 'maxPayloadBytes', 1, 0x7fff_ffff),
  };
}

export type SocketType = 'seqpacket' | 'stream';

export const socketTypeOf = (framing: FramingName): SocketType =>
  framing === 'seqpacket' ? 'seqpacket' : 'stream';

/** What a descriptor can be used for; it must be a connected or connectable AF_UNIX socket. */
export function checkSocket(fd: number): SocketType {
  const kind = kindOf(fd);
  if (kind !== 'other') return kind;
  throw misuse(
    'ERR_EXMEM_WRONG_DESCRIPTOR',
    `Expected a connected AF_UNIX socket but file descriptor ${fd} is something else`,
  );
}

function kindOf(fd: number): SocketType | 'other' {
  try {
    return system.socketKind(fd);
  } catch (error) {
    if (error instanceof ExclusiveMemoryError && error.code === 'ENOTSOCK') return 'other';
    throw error;
  }
}

export function checkSignal(signal: unknown): AbortSignal | undefined {
  if (signal === undefined || signal instanceof AbortSignal) return signal;
  throw unexpected('an AbortSignal', 'signal', signal);
}

/** The number of a descriptor that this process was started with. */
export function inheritedFd(source: unknown): number {
  if (typeof source !== 'string') return checkFd(source, 'source');
  const value = process.env[source];
  if (value === undefined || !/^\d{1,9}$/.test(value)) {
    throw unexpected(`the number of a file descriptor`, `the environment variable ${source}`, value);
  }
  return Number(value);
}
