// SPDX-License-Identifier: MIT
import { Descriptor } from './descriptor.js';
import { misuse } from './errors.js';
import { system } from './system.js';
import { checkArray, checkBuffer, checkInteger, checkTimeout } from './validate.js';

/** What fits in one message; more would not be sent at once over a stream socket. */
const maxPayloadBytes = 4096;

/** SCM_MAX_FD of the kernel: unix(7). */
export const maxDescriptors = 253;

export interface Message {
  readonly payload: Uint8Array;
  /** Owned by the receiver, which has to close or pass on each of them. */
  readonly descriptors: readonly Descriptor[];
}

/**
 * Two connected AF_UNIX sockets that keep message boundaries: socketpair(2)
 * with SOCK_SEQPACKET. Both are close-on-exec; give one to a child in the
 * `stdio` of `child_process.spawn()`.
 */
export function socketPair(): readonly [Descriptor, Descriptor] {
  const [a, b] = system.socketPair(true);
  return [new Descriptor(a), new Descriptor(b)];
}

/**
 * Sends duplicates of file descriptors to the process at the other end:
 * SCM_RIGHTS of unix(7). Blocks while the socket's buffer is full.
 *
 * @param socket A connected AF_UNIX socket.
 * @param descriptors At most 253. They stay open here.
 * @param payload 1 to 4096 bytes that go with them. Never a secret: they are
 *   copied through the kernel.
 * @throws ExclusiveMemoryError `EPIPE` if the other end is closed; `ENOTSOCK`.
 */
export function sendDescriptors(
  socket: number | Descriptor,
  descriptors: readonly (number | Descriptor)[],
  payload: Uint8Array = Uint8Array.of(0),
): void {
  const socketFd = Descriptor.fdOf(socket, 'socket');
  checkArray(descriptors, 'descriptors');
  checkInteger(descriptors.length, 'the number of descriptors', 0, maxDescriptors);
  const fds = descriptors.map((one, i) => Descriptor.fdOf(one, `descriptors[${i}]`));
  checkBuffer(payload, 'payload');
  checkInteger(payload.byteLength, 'the length of payload', 1, maxPayloadBytes);
  system.send(socketFd, payload, fds);
}

/**
 * Receives one message; undefined once the other end is closed. Blocks the
 * thread for at most `timeoutMs`.
 *
 * @param options.timeoutMs Milliseconds; 0 only looks. Default: `Infinity`.
 * @throws ExclusiveMemoryError `ETIMEDOUT` if nothing came;
 *   `ERR_EXMEM_TRUNCATED` if the message was longer than 4096 bytes or had
 *   more descriptors than this process may open; those it had are closed.
 */
export function receiveDescriptors(
  socket: number | Descriptor,
  { timeoutMs = Infinity }: { readonly timeoutMs?: number } = {},
): Message | undefined {
  const socketFd = Descriptor.fdOf(socket, 'socket');
  const wait = checkTimeout(timeoutMs, 'timeoutMs');
  const payload = new Uint8Array(maxPayloadBytes);
  const message = system.receive(socketFd, payload, wait === Infinity ? -1 : Math.ceil(wait));
  const descriptors = message.fds.map((fd) => new Descriptor(fd));
  if (message.payloadTruncated || message.descriptorsTruncated) {
    for (const descriptor of descriptors) descriptor.close();
    throw misuse(
      'ERR_EXMEM_TRUNCATED',
      `Expected at most ${maxPayloadBytes} bytes and as many descriptors as this process may open ` +
        'for a message but received more; its descriptors were closed',
    );
  }
  if (message.length === 0 && descriptors.length === 0) return undefined;
  return { payload: payload.slice(0, message.length), descriptors };
}
