// SPDX-License-Identifier: MIT
// Ten thousand messages each way, with descriptors, and memory stays where it was.
import { expect } from 'chai';
import { type Descriptor, HandleChannel } from 'exclusive-memory';
import { closeEach, distinct, framings, inode, leakNothing, next, settled } from '../support/channels.js';
import { openFiles } from '../support/process.js';

const messages = 10_000;
const payloadBytes = 4096;

/** Bytes, without what is only garbage: other tests leave some, and room for more. */
function memoryInUse(): number {
  globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

async function write(channel: HandleChannel, descriptor: Descriptor): Promise<void> {
  const payload = Buffer.alloc(payloadBytes);
  for (let i = 0; i < messages; i++) {
    payload.writeUInt32LE(i);
    await channel.send(payload, [descriptor]);
  }
}

interface Most {
  readonly files: number;
  readonly memory: number;
}

async function read(channel: HandleChannel, expected: number): Promise<Most> {
  let most = 0;
  let memory = 0;
  for (let i = 0; i < messages; i++) {
    using message = (await channel.receive()) ?? expect.fail();
    const number = Buffer.from(message.payload.buffer, message.payload.byteOffset).readUInt32LE();
    const [descriptor] = message.descriptors;
    if (number !== i || !descriptor || message.descriptors.length !== 1) expect.fail(`message ${i}: ${number}`);
    if (i % 500 === 0) {
      expect(inode(descriptor)).to.equal(expected);
      most = Math.max(most, openFiles());
      memory = Math.max(memory, memoryInUse());
    }
  }
  return { files: most, memory };
}

for (const framing of ['seqpacket', 'length-prefixed'] as const) {
  describe(`${messages} messages both ways at once (${framing})`, function () {
    this.timeout(120_000);
    leakNothing();

    it('arrive in order, each with its descriptor, in bounded memory', async () => {
      const [a, b] = HandleChannel.pair({ framing });
      const [one, two] = distinct(2) as [Descriptor, Descriptor];
      const files = openFiles();
      const before = memoryInUse();
      const [most] = await Promise.all([read(a, inode(two)), read(b, inode(one)), write(a, one), write(b, two)]);
      expect(most.files - files, 'messages in flight are not messages in memory').to.be.below(20);
      // 80 MiB went through.
      expect(most.memory - before).to.be.below(40 << 20);
      closeEach([a, b, one, two]);
    });
  });
}

describe('backpressure', () => {
  leakNothing();

  for (const framing of framings) {
    it(`${framing}: who waits for send() cannot run ahead of who receives`, async () => {
      const [a, b] = HandleChannel.pair({ framing });
      let sent = 0;
      const writing = (async () => {
        for (; sent < 2000; sent++) await a.send(new Uint8Array(payloadBytes));
      })();
      expect(await settled(writing, 50)).to.equal(false);
      const first = sent;
      expect(first * payloadBytes).to.be.within(10_000, 4 << 20);
      expect(await settled(writing, 50)).to.equal(false);
      expect(sent, 'as long as nobody reads').to.equal(first);
      for (let bytes = 0; bytes < 2000 * payloadBytes;) bytes += (await next(b)).payload.byteLength;
      await writing;
      closeEach([a, b]);
    });
  }
});
