// SPDX-License-Identifier: MIT
// What the other end may do, and must not achieve.
import { expect } from 'chai';
import { type Descriptor, HandleChannel, socketPair } from 'exclusive-memory';
import { system } from '#internal/system.js';
import {
  closeEach,
  distinct,
  header,
  hostilePair,
  inode,
  leakNothing,
  next,
  settled,
  text,
} from '../support/channels.js';
import { expectErrno, expectMisuse, rejection, thrown } from '../support/failures.js';
import { openFiles } from '../support/process.js';

const manyOf = (one: Descriptor) => Array.from({ length: 253 }, () => one);

describe('a hostile peer of a length-prefixed HandleChannel', () => {
  let hostile: HandleChannel;
  let victim: HandleChannel;
  let one: Descriptor;
  leakNothing(() => {
    closeEach([hostile, victim, one]);
  });
  beforeEach(() => {
    [hostile, victim] = hostilePair();
    [one] = distinct(1) as [Descriptor];
  });

  async function expectBroken(receive: Promise<unknown>, message: RegExp, files = openFiles()): Promise<void> {
    expectMisuse(await rejection(receive), 'ERR_EXMEM_PROTOCOL', message);
    expectMisuse(thrown(() => victim.fd), 'ERR_EXMEM_DISPOSED', /other end broke the framing/);
    expect(openFiles(), 'everything that came was closed, and the channel').to.equal(files - 1);
  }

  const lies: readonly (readonly [name: string, bytes: Uint8Array, message: RegExp])[] = [
    ['a length beyond the limit', header(65_537, 0), /at most 65536 bytes .* a message of 65537/],
    ['the longest length there is', header(0xffff_ffff, 0), /a message of 4294967295/],
    ['254 descriptors', header(0, 254), /at most 253 descriptors .* with 254/],
    ['the most descriptors there are', header(0, 0xffff_ffff), /with 4294967295/],
    ['text', Buffer.from('GET / HTTP/1.1\r\n'), /at most 65536 bytes/],
    ['descriptors that do not come', header(0, 3), /3 descriptors with the message .* received 0/],
  ];
  for (const [name, bytes, message] of lies) {
    it(`announces ${name}`, async () => {
      const files = openFiles();
      await hostile.send(bytes);
      await expectBroken(victim.receive(), message, files);
    });
  }

  it('allocates nothing for what is only announced', async () => {
    const before = process.memoryUsage().arrayBuffers;
    await hostile.send(header(0x7fff_ffff, 0));
    await expectBroken(victim.receive(), /2147483647/);
    expect(process.memoryUsage().arrayBuffers - before).to.be.below(1 << 20);
  });

  it('sends more descriptors than it announced', async () => {
    const files = openFiles();
    await hostile.send(Buffer.concat([header(5, 1), Buffer.from('hello')]), [one, one]);
    await expectBroken(victim.receive(), /at most 1 descriptors with 5 bytes .* received 2/, files);
  });

  it('sends fewer descriptors than it announced', async () => {
    const files = openFiles();
    await hostile.send(Buffer.concat([header(5, 3), Buffer.from('hello')]), [one, one]);
    await expectBroken(victim.receive(), /3 descriptors .* received 2/, files);
  });

  it('sends 253 descriptors with each byte of a header', async () => {
    const files = openFiles();
    for (const byte of header(0, 0)) await hostile.send(Buffer.of(byte), manyOf(one));
    await expectBroken(victim.receive(), /at most 253 descriptors with 8 bytes .* received 506/, files);
  });

  it('sends 253 descriptors with each byte of a payload', async () => {
    const files = openFiles();
    await hostile.send(header(1000, 0));
    const receive = victim.receive();
    expect(await settled(receive)).to.equal(false);
    await hostile.send(Buffer.of(0), manyOf(one));
    await expectBroken(receive, /at most 0 descriptors with 1000 bytes .* received 253/, files);
  });

  it('sends 253 descriptors, and the end within the message', async () => {
    const files = openFiles();
    await hostile.send(Buffer.concat([header(1000, 253), Buffer.from('hello')]), manyOf(one));
    const receive = victim.receive();
    expect(await settled(receive)).to.equal(false);
    expect(openFiles(), 'held for the message').to.equal(files + 253);
    await hostile.end();
    await expectBroken(receive, /1000 bytes .* the end after 5/, files);
  });

  it('sends the end within a header', async () => {
    const files = openFiles();
    await hostile.send(header(0, 0).subarray(0, 7), [one]);
    await hostile.end();
    await expectBroken(victim.receive(), /the end within a header/, files);
  });

  it('lets 253 descriptors wait with a message that never ends, until the channel is closed', async () => {
    const files = openFiles();
    await hostile.send(Buffer.concat([header(1000, 253), Buffer.from('hello')]), manyOf(one));
    const receive = victim.receive();
    await settled(receive);
    expectMisuse(thrown(() => victim.release()), 'ERR_EXMEM_BUSY');
    expect(openFiles()).to.equal(files + 253);
    victim.close();
    expectMisuse(await rejection(receive), 'ERR_EXMEM_DISPOSED');
    expect(openFiles()).to.equal(files - 1);
  });

  it('fails everybody who waits, and none of them takes its middle for a message', async () => {
    const waiting = [victim.receive(), victim.receive(), victim.receive()];
    // To the second, the rest would look like a message with the payload "fooled".
    await hostile.send(Buffer.concat([header(65_537, 0), header(6, 0), Buffer.from('fooled')]));
    for (const receive of waiting) expectMisuse(await rejection(receive), 'ERR_EXMEM_PROTOCOL');
    expectMisuse(await rejection(victim.receive()), 'ERR_EXMEM_DISPOSED');
  });

  it('may send byte by byte: the descriptors stay with their message', async () => {
    const descriptors = distinct(4);
    const frames = Buffer.concat([
      ...[header(3, 1), Buffer.from('one')],
      ...[header(0, 0)],
      ...[header(5, 3), Buffer.from('three')],
    ]);
    const expected = [
      ['one', descriptors.slice(0, 1).map(inode)],
      ['', []],
      ['three', descriptors.slice(1).map(inode)],
    ];
    const received = (async () => {
      const messages: unknown[] = [];
      while (messages.length < 3) {
        using message = await next(victim);
        messages.push([text(message.payload), message.descriptors.map(inode)]);
      }
      return messages;
    })();
    // In the first message with the last byte; in the third with three different ones.
    const with_ = new Map([[10, 0], [19, 1], [27, 2], [31, 3]]);
    for (const [i, byte] of frames.entries()) {
      const which = with_.get(i);
      await hostile.send(Buffer.of(byte), which === undefined ? [] : descriptors.slice(which, which + 1));
      if (i % 3 === 0) await new Promise(setImmediate);
    }
    expect(await received).to.deep.equal(expected);
    closeEach(descriptors);
  });

  it('may send many messages at once: each is received on its own', async () => {
    const frames = Array.from({ length: 100 }, (_, i) => {
      const payload = Buffer.from(`${i}`);
      return [header(payload.length, 0), payload];
    });
    const payload = Buffer.from('with descriptors');
    await hostile.send(Buffer.concat(frames.flat()));
    await hostile.send(Buffer.concat([header(payload.length, 2), payload, header(0, 0)]), [one, one]);
    for (let i = 0; i < 100; i++) {
      const message = await next(victim);
      expect([text(message.payload), message.descriptors.length]).to.deep.equal([`${i}`, 0]);
    }
    using last = await next(victim);
    expect([text(last.payload), last.descriptors.map(inode)]).to.deep.equal(
      ['with descriptors', [one, one].map(inode)],
    );
    expect((await next(victim)).payload.byteLength).to.equal(0);
  });

  it('sends anything at all: messages or an error, and nothing is left open', async () => {
    let state = 12_345;
    const random = (below: number) => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
      return (state >>> 8) % below;
    };
    const outcomes = { messages: 0, broken: 0, ended: 0 };
    const files = openFiles();
    for (let round = 0; round < 300; round++) {
      const [from, to] = hostilePair({ framing: 'length-prefixed', maxPayloadBytes: 300 });
      for (let part = random(6); part >= 0; part--) {
        const length = random(12);
        const frame = Buffer.concat([header(length + random(2), random(4)), Buffer.alloc(length)]);
        const cut = frame.subarray(0, frame.length - random(3));
        await from.send(cut, Array.from({ length: random(4) }, () => one));
      }
      await from.end();
      try {
        for await (using message of to) outcomes.messages += message.payload.byteLength > 300 ? 1e9 : 1;
        outcomes.ended++;
      } catch (error) {
        expectMisuse(error as never, 'ERR_EXMEM_PROTOCOL');
        outcomes.broken++;
      }
      closeEach([from, to]);
      expect(openFiles(), `round ${round}`).to.equal(files);
    }
    expect(outcomes.messages).to.be.within(50, 10_000);
    expect(outcomes.broken).to.be.above(50);
    expect(outcomes.ended + outcomes.broken).to.equal(300);
  });
});

describe('a hostile peer of a HandleChannel on a plain stream', () => {
  leakNothing();

  it('sends 253 descriptors with each byte of receiveExactly()', async () => {
    const [hostile, victim] = HandleChannel.pair({ framing: 'stream' });
    const [one] = distinct(1) as [Descriptor];
    const receive = victim.receiveExactly(100);
    for (let i = 0; i < 3; i++) await hostile.send(Buffer.of(i), manyOf(one));
    expectMisuse(await rejection(receive), 'ERR_EXMEM_PROTOCOL', /at most 253 descriptors with 100 bytes/);
    expectMisuse(thrown(() => victim.fd), 'ERR_EXMEM_DISPOSED');
    closeEach([hostile, one]);
  });

  it('ends within what was to be exactly so much', async () => {
    const [hostile, victim] = HandleChannel.pair({ framing: 'stream' });
    await hostile.send(Buffer.from('abc'), [0, 1]);
    const receive = victim.receiveExactly(4);
    hostile.close();
    expectMisuse(await rejection(receive), 'ERR_EXMEM_PROTOCOL', /4 bytes .* the end after 3/);
    expectMisuse(thrown(() => victim.fd), 'ERR_EXMEM_DISPOSED');
  });

  it('resets the connection within it: what came is not lost, nor left open', async () => {
    const [hostile, victim] = HandleChannel.pair({ framing: 'stream' });
    await victim.send(Buffer.from('never read'));
    await hostile.send(Buffer.from('abc'), [0, 1]);
    const receive = victim.receiveExactly(4);
    expect(await settled(receive)).to.equal(false);
    hostile.close();
    expectErrno(await rejection(receive), 'ECONNRESET', 'recvmsg');
    using message = await next(victim);
    expect([text(message.payload), message.descriptors.length]).to.deep.equal(['abc', 2]);
    expect(await victim.receive()).to.equal(undefined);
    victim.close();
  });
});

describe('a hostile peer of a HandleChannel on packets', () => {
  leakNothing();

  it('sends a packet that is too long: it is lost, the next is not', async () => {
    const [here, there] = socketPair();
    using victim = HandleChannel.fromFd(here, { maxPayloadBytes: 100 });
    using hostile = HandleChannel.fromFd(there);
    await hostile.send(new Uint8Array(101), [0, 1, 2]);
    await hostile.send(new Uint8Array(100), [0]);
    expectMisuse(await rejection(victim.receive()), 'ERR_EXMEM_TRUNCATED', /at most 100 bytes .* closed/);
    using message = await next(victim);
    expect([message.payload.byteLength, message.descriptors.length]).to.deep.equal([100, 1]);
  });

  it('sends empty packets: they are no end', async () => {
    const [here, there] = socketPair();
    using victim = HandleChannel.fromFd(here);
    using hostile = there;
    const empty = new Uint8Array(0);
    system.send(hostile.fd, empty, []);
    system.send(hostile.fd, empty, [0, 1]);
    system.send(hostile.fd, Buffer.from('x'), []);
    const seen: unknown[] = [];
    for (let i = 0; i < 3; i++) {
      using message = await next(victim);
      seen.push([message.payload.byteLength, message.descriptors.length]);
    }
    expect(seen).to.deep.equal([[0, 0], [0, 2], [1, 0]]);
  });
});
