// SPDX-License-Identifier: MIT
import type { Descriptor } from './descriptor.js';
import { maxDescriptors } from './descriptor-passing.js';
import { ExclusiveMemoryError, misuse } from './errors.js';
import { notReady, type Operation } from './polled-descriptor.js';
import { closeAll, ownAll, ReceivedMessage } from './received-message.js';
import { system } from './system.js';

/**
 * How messages are told apart.
 *
 * - `'seqpacket'`: the kernel does it; a socket of type SOCK_SEQPACKET. A
 *   message has 1 byte or more.
 * - `'stream'`: not at all; a plain SOCK_STREAM, for peers with a protocol of
 *   their own. What one end sends in two messages may arrive as one, and what
 *   it sends in one as two; descriptors come with the first byte that they were
 *   sent with.
 * - `'length-prefixed'`: a SOCK_STREAM on which each message is
 *
 *   | bytes | what |
 *   |---|---|
 *   | 4 | length of the payload, unsigned, little-endian |
 *   | 4 | number of descriptors, the same |
 *   | length | payload |
 *
 *   The descriptors travel with the first byte; with any other byte of the
 *   same message they are accepted too.
 */
export type FramingName = 'seqpacket' | 'stream' | 'length-prefixed';

export const framingNames = ['seqpacket', 'stream', 'length-prefixed'] as const;

/** One connection's way to write and to read messages. */
export interface Framing extends Disposable {
  /** Bytes that a message can have here. */
  readonly minPayloadBytes: number;
  readonly maxPayloadBytes: number;

  /** The bytes on the wire. */
  encode(payload: Uint8Array, descriptorCount: number): Uint8Array;

  /** The next message, or undefined once the other end has ended. */
  read(socketFd: number): ReceivedMessage | undefined | typeof notReady;

  /** Whether part of a message was read, so that nobody else could go on from here. */
  readonly midway: boolean;
}

export function createFraming(name: FramingName, maxPayloadBytes: number): Framing {
  switch (name) {
    case 'seqpacket':
      return new SeqpacketFraming(maxPayloadBytes);
    case 'stream':
      return new StreamFraming(maxPayloadBytes);
    case 'length-prefixed':
      return new LengthPrefixedFraming(maxPayloadBytes);
  }
}

/** recvmsg(2) needs the room before it is known how much comes. One serves a whole thread. */
let room = new Uint8Array(0);

function roomFor(byteLength: number): Uint8Array {
  if (room.byteLength < byteLength) room = new Uint8Array(byteLength);
  return room.subarray(0, byteLength);
}

/** One recvmsg(2), with descriptors that have an owner. */
function receive(socketFd: number, into: Uint8Array) {
  const part = system.tryReceive(socketFd, into);
  if (part === undefined) return notReady;
  const { length, payloadTruncated, descriptorsTruncated } = part;
  const descriptors = ownAll(part.fds);
  if (payloadTruncated || descriptorsTruncated) closeAll(descriptors);
  return { length, descriptors, payloadTruncated, descriptorsTruncated };
}

function descriptorsLost() {
  return misuse(
    'ERR_EXMEM_TRUNCATED',
    'Expected that the descriptors of a message can be opened but this process has as many open ' +
      'as it may; those that arrived were closed, the message is lost. Close some or raise "ulimit -n"',
  );
}

class SeqpacketFraming implements Framing {
  readonly minPayloadBytes = 1;
  readonly maxPayloadBytes: number;
  readonly midway = false;

  constructor(maxPayloadBytes: number) {
    this.maxPayloadBytes = maxPayloadBytes;
  }

  encode(payload: Uint8Array): Uint8Array {
    return payload;
  }

  read(socketFd: number): ReceivedMessage | undefined | typeof notReady {
    const into = roomFor(this.maxPayloadBytes);
    const part = receive(socketFd, into);
    if (part === notReady) return notReady;
    if (part.payloadTruncated) {
      throw misuse(
        'ERR_EXMEM_TRUNCATED',
        `Expected at most ${this.maxPayloadBytes} bytes for a message but received more; it is ` +
          'lost, and its descriptors were closed. Raise maxPayloadBytes if that is right',
      );
    }
    if (part.descriptorsTruncated) throw descriptorsLost();
    // recvmsg(2) says 0 both for an empty packet and at the end.
    const nothing = part.length === 0 && part.descriptors.length === 0;
    if (nothing && system.peerEnded(socketFd)) return undefined;
    return new ReceivedMessage(into.slice(0, part.length), part.descriptors);
  }

  [Symbol.dispose](): void {
    // What was not received is the kernel's.
  }
}

/** Somebody who sends byte by byte does not get the event loop for himself. */
const partsPerTurn = 64;

/** A fixed number of bytes of a stream, and the descriptors that come with them. */
class Collector implements Disposable {
  readonly bytes: Uint8Array;
  readonly #maxDescriptors: number;
  filled = 0;
  descriptors: Descriptor[] = [];
  /** Descriptors could not be opened. The bytes are read on, to stay in step. */
  lost = false;

  constructor(byteLength: number, maxDescriptors: number) {
    this.bytes = new Uint8Array(byteLength);
    this.#maxDescriptors = maxDescriptors;
  }

  /** Reads no byte too many. */
  fill(socketFd: number): 'full' | 'end' | typeof notReady {
    for (let parts = 0; this.filled < this.bytes.byteLength; parts++) {
      if (parts === partsPerTurn) return notReady;
      const part = receive(socketFd, this.bytes.subarray(this.filled));
      if (part === notReady) return notReady;
      this.filled += part.length;
      this.descriptors.push(...part.descriptors);
      if (part.descriptorsTruncated) this.lost = true;
      if (this.lost) this[Symbol.dispose]();
      this.check();
      if (part.length === 0) return 'end';
    }
    return 'full';
  }

  /** However slowly they come: nobody can make this process hold more. */
  check(): void {
    const count = this.descriptors.length;
    if (count <= this.#maxDescriptors) return;
    this[Symbol.dispose]();
    throw protocol(`at most ${this.#maxDescriptors} descriptors with ${this.bytes.byteLength} bytes`, `${count}`);
  }

  [Symbol.dispose](): void {
    closeAll(this.descriptors);
    this.descriptors = [];
  }
}

function protocol(expected: string, received: string) {
  return misuse(
    'ERR_EXMEM_PROTOCOL',
    `Expected ${expected} from the other end but received ${received}; all descriptors that came were closed`,
  );
}

export class StreamFraming implements Framing {
  readonly minPayloadBytes = 1;
  readonly maxPayloadBytes: number;
  /** What a receiveExactly() had read that did not come to its end. */
  #unread: { bytes: Uint8Array; descriptors: Descriptor[]; lost: boolean } | undefined;

  constructor(maxPayloadBytes: number) {
    this.maxPayloadBytes = maxPayloadBytes;
  }

  get midway(): boolean {
    return this.#unread !== undefined;
  }

  encode(payload: Uint8Array): Uint8Array {
    return payload;
  }

  read(socketFd: number): ReceivedMessage | undefined | typeof notReady {
    const unread = this.#unread;
    if (unread) {
      this.#unread = undefined;
      if (unread.lost) throw descriptorsLost();
      return new ReceivedMessage(unread.bytes, unread.descriptors);
    }
    const into = roomFor(this.maxPayloadBytes);
    const part = receive(socketFd, into);
    if (part === notReady) return notReady;
    if (part.descriptorsTruncated) throw descriptorsLost();
    if (part.length === 0) return undefined;
    return new ReceivedMessage(into.slice(0, part.length), part.descriptors);
  }

  /** Exactly so many bytes, and the descriptors that came with any of them. */
  readExactly(socketFd: number, byteLength: number): Operation<ReceivedMessage | undefined> {
    const collector = new Collector(byteLength, maxDescriptors);
    const keep = () => {
      const { filled, descriptors, lost } = collector;
      if (filled > 0) this.#unread = { bytes: collector.bytes.slice(0, filled), descriptors, lost };
    };
    return {
      attempt: () => {
        this.#giveBack(collector);
        let state;
        try {
          state = collector.fill(socketFd);
        } catch (error) {
          if (!isProtocolError(error)) keep();
          throw error;
        }
        if (state === notReady) return notReady;
        if (state === 'end') {
          collector[Symbol.dispose]();
          if (collector.filled === 0) return undefined;
          throw protocol(`${byteLength} bytes`, `the end after ${collector.filled}`);
        }
        if (collector.lost) throw descriptorsLost();
        return new ReceivedMessage(collector.bytes, collector.descriptors);
      },
      withdraw: keep,
    };
  }

  /** What was read before comes first, its descriptors with its first byte. */
  #giveBack(collector: Collector): void {
    if (!this.#unread) return;
    const { bytes, descriptors, lost } = this.#unread;
    const now = bytes.subarray(0, collector.bytes.byteLength);
    const later = bytes.subarray(now.byteLength);
    collector.bytes.set(now);
    collector.filled = now.byteLength;
    collector.descriptors = descriptors;
    collector.lost = lost;
    this.#unread = later.byteLength > 0 ? { bytes: later, descriptors: [], lost: false } : undefined;
  }

  [Symbol.dispose](): void {
    if (this.#unread) closeAll(this.#unread.descriptors);
    this.#unread = undefined;
  }
}

const headerBytes = 8;

class LengthPrefixedFraming implements Framing {
  readonly minPayloadBytes = 0;
  readonly maxPayloadBytes: number;
  /** The header, before its message is begun. */
  #header = new Collector(headerBytes, maxDescriptors);
  #body: { readonly payload: Collector; readonly descriptorCount: number } | undefined;

  constructor(maxPayloadBytes: number) {
    this.maxPayloadBytes = maxPayloadBytes;
  }

  get midway(): boolean {
    return this.#header.filled > 0;
  }

  encode(payload: Uint8Array, descriptorCount: number): Uint8Array {
    const frame = new Uint8Array(headerBytes + payload.byteLength);
    const header = new DataView(frame.buffer);
    header.setUint32(0, payload.byteLength, true);
    header.setUint32(4, descriptorCount, true);
    frame.set(payload, headerBytes);
    return frame;
  }

  read(socketFd: number): ReceivedMessage | undefined | typeof notReady {
    if (this.#body === undefined) {
      const state = this.#header.fill(socketFd);
      if (state === notReady) return notReady;
      if (state === 'end') {
        if (!this.midway) return undefined;
        throw protocol('a whole message', 'the end within a header');
      }
      this.#body = this.#begin();
    }
    const { payload, descriptorCount } = this.#body;
    const state = payload.fill(socketFd);
    if (state === notReady) return notReady;
    if (state === 'end') {
      throw protocol(`${payload.bytes.byteLength} bytes`, `the end after ${payload.filled}`);
    }
    this.#header = new Collector(headerBytes, maxDescriptors);
    this.#body = undefined;
    if (payload.lost) throw descriptorsLost();
    if (payload.descriptors.length < descriptorCount) {
      const count = payload.descriptors.length;
      payload[Symbol.dispose]();
      throw protocol(`${descriptorCount} descriptors with the message`, `${count}`);
    }
    return new ReceivedMessage(payload.bytes, payload.descriptors);
  }

  /** From the header to the body, with the descriptors that came with the header. */
  #begin() {
    const header = new DataView(this.#header.bytes.buffer);
    const byteLength = header.getUint32(0, true);
    const descriptorCount = header.getUint32(4, true);
    if (byteLength > this.maxPayloadBytes) {
      throw protocol(`at most ${this.maxPayloadBytes} bytes`, `a message of ${byteLength}`);
    }
    if (descriptorCount > maxDescriptors) {
      throw protocol(`at most ${maxDescriptors} descriptors`, `a message with ${descriptorCount}`);
    }
    const payload = new Collector(byteLength, descriptorCount);
    payload.lost = this.#header.lost;
    payload.descriptors = this.#header.descriptors;
    payload.check();
    return { payload, descriptorCount };
  }

  [Symbol.dispose](): void {
    this.#header[Symbol.dispose]();
    this.#body?.payload[Symbol.dispose]();
  }
}

export function isProtocolError(error: unknown): error is ExclusiveMemoryError {
  return error instanceof ExclusiveMemoryError && error.code === 'ERR_EXMEM_PROTOCOL';
}
