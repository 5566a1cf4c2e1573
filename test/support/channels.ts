// SPDX-License-Identifier: MIT
// What the tests of HandleChannel share.
import { fstatSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import {
  type Descriptor,
  HandleChannel,
  type HandleChannelOptions,
  type ReceivedMessage,
  socketPair,
} from 'exclusive-memory';
import { openFiles } from './process.js';

export const framings = ['seqpacket', 'stream', 'length-prefixed'] as const;

export const text = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString();

export const inode = (one: number | Descriptor): number =>
  fstatSync(typeof one === 'number' ? one : one.fd).ino;

/** Each test of this suite, once `cleanUp` ran, leaves as many descriptors open as it found. */
export function leakNothing(cleanUp?: () => void): void {
  let files: number;
  before(async () => {
    // The thread that waits, and its descriptor, come with the first wait and stay.
    const [a, b] = HandleChannel.pair();
    const received = a.receive();
    await b.send(Buffer.of(1));
    await received;
    a.close();
    b.close();
  });
  beforeEach(() => {
    files = openFiles();
  });
  afterEach(() => {
    cleanUp?.();
    expect(openFiles(), 'no descriptor leaked').to.equal(files);
  });
}

/** `count` descriptors that can be told apart by their inode. */
export function distinct(count: number): Descriptor[] {
  const made = Array.from({ length: Math.ceil(count / 2) }, socketPair).flat();
  for (const surplus of made.splice(count)) surplus.close();
  return made;
}

export function closeEach(closable: Iterable<{ close(): void }>): void {
  for (const one of closable) one.close();
}

/** The next message; a test that gets none fails. */
export async function next(channel: HandleChannel): Promise<ReceivedMessage> {
  const message = await channel.receive();
  return message ?? expect.fail('the other end is closed');
}

/** A plain stream, to write anything, and what another framing makes of it. */
export function hostilePair(
  options: HandleChannelOptions = { framing: 'length-prefixed' },
): readonly [hostile: HandleChannel, victim: HandleChannel] {
  const [hostile, other] = HandleChannel.pair({ framing: 'stream', maxPayloadBytes: 1 << 24 });
  return [hostile, HandleChannel.fromFd(other.release(), options)];
}

export function header(byteLength: number, descriptorCount: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE(byteLength, 0);
  bytes.writeUInt32LE(descriptorCount, 4);
  return bytes;
}

/** Whether the promise is settled, without waiting for it. */
export async function settled(promise: Promise<unknown>, afterMs = 20): Promise<boolean> {
  const pending = Symbol('pending');
  const first = await Promise.race([promise.catch(() => undefined), sleep(afterMs, pending)]);
  return first !== pending;
}

/**
 * Sends until one has to wait, and the socket takes no more. The promises may
 * reject unnoticed.
 */
export async function fillUp(
  channel: HandleChannel,
  descriptors: readonly Descriptor[] = [],
): Promise<readonly Promise<void>[]> {
  const sends: Promise<void>[] = [];
  for (;;) {
    const send = channel.send(new Uint8Array(10_000), descriptors);
    sends.push(send);
    if (!(await settled(send, 5))) return sends;
  }
}

/** A new directory, for as long as the suite runs. */
export function temporaryDirectory(): (name: string) => string {
  let directory: string;
  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'exmem-'));
  });
  after(() => {
    rmSync(directory, { recursive: true });
  });
  return (name) => join(directory, name);
}
