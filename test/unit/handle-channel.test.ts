// SPDX-License-Identifier: MIT
import { openSync, readFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { Descriptor, HandleChannel, ReceivedMessage, socketPair } from 'exclusive-memory';
import {
  closeEach,
  distinct,
  fillUp,
  framings,
  inode,
  leakNothing,
  next,
  settled,
  text,
} from '../support/channels.js';
import { expectErrno, expectMisuse, rejection, thrown } from '../support/failures.js';
import { openFiles } from '../support/process.js';

const closeOnExec = (fd: number) =>
  /^flags:\s+0?2\d{6}/m.test(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'));

for (const framing of framings) {
  describe(`HandleChannel, ${framing}`, () => {
    let a: HandleChannel;
    let b: HandleChannel;
    leakNothing(() => {
      closeEach([a, b]);
    });
    beforeEach(() => {
      [a, b] = HandleChannel.pair({ framing });
    });

    it('is close-on-exec, and so is what arrives', async () => {
      const sent = distinct(2);
      await a.send(Buffer.from('x'), sent);
      using message = await next(b);
      const all = [a.fd, b.fd, ...message.descriptors.map(({ fd }) => fd)];
      expect(all.map(closeOnExec)).to.deep.equal([true, true, true, true]);
      closeEach(sent);
    });

    it('moves payload and descriptors, in order, both ways', async () => {
      const sent = distinct(5);
      for (const [from, to] of [[a, b], [b, a]] as const) {
        await from.send(Buffer.from('hello'), sent);
        using message = await next(to);
        expect(message).to.be.instanceOf(ReceivedMessage);
        expect(text(message.payload)).to.equal('hello');
        expect(message.descriptors.map(inode)).to.deep.equal(sent.map(inode));
        expect(message.descriptors.map(({ fd }) => fd)).not.to.include(sent[0]?.fd);
      }
      closeEach(sent);
    });

    it('takes a number, a Descriptor, and whatever has one', async () => {
      const [one] = distinct(1) as [Descriptor];
      const file = await open('/dev/null');
      await a.send(Buffer.from('x'), [one, one.fd, file, { fd: one.fd }]);
      using message = await next(b);
      expect(message.descriptors.map(inode)).to.deep.equal([one, one, file.fd, one].map(inode));
      await file.close();
      one.close();
    });

    it('moves 253 descriptors, and refuses 254', async () => {
      const [one] = distinct(1) as [Descriptor];
      const many = Array.from({ length: 253 }, () => one);
      await a.send(Buffer.from('x'), many);
      using message = await next(b);
      expect(message.descriptors.map(inode)).to.deep.equal(many.map(inode));
      expectMisuse(await rejection(a.send(Buffer.from('x'), [...many, one])), 'ERR_EXMEM_ARGUMENT', /253/);
      one.close();
    });

    it('closes what nobody took from a message', async () => {
      const [one] = distinct(1) as [Descriptor];
      await a.send(Buffer.from('x'), [one, one]);
      const message = await next(b);
      const [taken, left] = message.descriptors as [Descriptor, Descriptor];
      using mine = new Descriptor(taken.release());
      message[Symbol.dispose]();
      message[Symbol.dispose]();
      expectMisuse(thrown(() => left.fd), 'ERR_EXMEM_DISPOSED');
      expect(inode(mine)).to.equal(inode(one));
      one.close();
    });

    it('receives what came before it was asked for, and after', async () => {
      await a.send(Buffer.from('before'));
      expect(text((await next(b)).payload)).to.equal('before');
      const later = b.receive();
      expect(await settled(later)).to.equal(false);
      await a.send(Buffer.from('after'));
      expect(text((await later)?.payload)).to.equal('after');
    });

    it('serves those who wait in turn', async () => {
      const waiting = Array.from({ length: 100 }, () => b.receive());
      for (let i = 0; i < 100; i++) {
        await a.send(Buffer.of(i));
        // A stream would run together what nobody has read yet.
        expect((await waiting[i])?.payload).to.deep.equal(Buffer.from([i]).subarray(0));
      }
    });

    it('needs no waiting between sends', async () => {
      const sends = Array.from({ length: 300 }, (_, i) => a.send(Buffer.from(`${i % 10}`)));
      const end = a.end();
      let all = '';
      for await (const { payload } of b) all += text(payload);
      await Promise.all([...sends, end]);
      expect(all).to.equal('0123456789'.repeat(30));
    });

    it('may change and close what it sent as soon as send() has returned', async () => {
      const filling = await fillUp(a);

      const sent = distinct(3);
      const inodes = sent.map(inode);
      const payload = Buffer.from('as it was');
      const late = a.send(payload, sent);
      payload.fill(0);
      closeEach(sent);
      // Their numbers belong to others now.
      const others = distinct(4);

      let all = '';
      const arrived: number[] = [];
      while (!all.endsWith('as it was')) {
        using message = await next(b);
        arrived.push(...message.descriptors.map(inode));
        all += text(message.payload);
      }
      expect(arrived).to.deep.equal(inodes);
      await Promise.all([...filling, late]);
      closeEach(others);
    });

    it('ends when the other end is closed, after what it had sent', async () => {
      await a.send(Buffer.from('last'));
      const descriptors = distinct(1);
      await a.send(Buffer.from('one'), descriptors);
      closeEach([a, ...descriptors]);
      let all = '';
      for await (using message of b) all += text(message.payload);
      expect(all).to.equal('lastone');
      expect(await b.receive()).to.equal(undefined);
      expect(await b.receive()).to.equal(undefined);
    });

    it('says who cannot be sent to', async () => {
      a.close();
      const error = await rejection(b.send(Buffer.from('x'), [0]));
      expectErrno(error, 'EPIPE', 'sendmsg');
      expect(error.message).to.match(/the other end of the socket is closed/);
      expect(error.stack).to.match(/handle-channel\.test/);
    });

    it('says that the other end was closed without reading everything', async () => {
      await a.send(Buffer.from('from a'));
      await b.send(Buffer.from('never read'));
      a.close();
      const seen: string[] = [];
      for (let i = 0; i < 3; i++) {
        try {
          seen.push(text((await b.receive())?.payload) || 'end');
        } catch (error) {
          expectErrno(error as never, 'ECONNRESET', 'recvmsg');
          seen.push('reset');
        }
      }
      // The kernel says it before or after what is there, and once.
      const inOrder = framing === 'seqpacket' ? ['reset', 'from a', 'end'] : ['from a', 'reset', 'end'];
      expect(seen).to.deep.equal(inOrder);
    });

    it('ends one direction', async () => {
      const queued = a.send(Buffer.from('x'));
      await a.end();
      await queued;
      expect(text((await next(b)).payload)).to.equal('x');
      expect(await b.receive()).to.equal(undefined);
      await b.send(Buffer.from('still'));
      expect(text((await next(a)).payload)).to.equal('still');
      expectErrno(await rejection(a.send(Buffer.from('x'))), 'EPIPE', 'sendmsg');
    });

    it('ends only after what has to wait', async () => {
      const sends = Array.from({ length: 100 }, () => a.send(new Uint8Array(10_000)));
      const end = a.end();
      expect(await settled(end)).to.equal(false);
      let count = 0;
      for await (const { payload } of b) count += payload.byteLength;
      expect(count).to.equal(1_000_000);
      await Promise.all([...sends, end]);
    });

    it('can be looped over, left, and looped over again', async () => {
      const descriptors = distinct(1);
      for (let i = 0; i < 4; i++) {
        await a.send(Buffer.from(`${i}`), descriptors);
        for await (using message of b) {
          expect(text(message.payload)).to.equal(`${i}`);
          break;
        }
      }
      closeEach(descriptors);
    });

    it('leaves unread messages to the kernel, which closes what is in them', async () => {
      const descriptors = distinct(10);
      for (let i = 0; i < 10; i++) await a.send(Buffer.from('x'), descriptors);
      closeEach([b, a, ...descriptors]);
    });

    it('takes back a receive that is aborted, and loses nothing', async () => {
      const controller = new AbortController();
      const reason = new Error('enough');
      const waiting = b.receive({ signal: controller.signal });
      const patient = b.receive();
      controller.abort(reason);
      expect(await waiting.catch((error: unknown) => error)).to.equal(reason);
      await a.send(Buffer.from('x'));
      expect(text((await patient)?.payload)).to.equal('x');
      await a.send(Buffer.from('y'));
      const again = b.receive({ signal: controller.signal });
      expect(await again.catch((error: unknown) => error)).to.equal(reason);
      expect(text((await next(b)).payload)).to.equal('y');
    });

    it('takes back a send that is aborted, and its descriptors', async () => {
      const files = openFiles();
      const sends = await fillUp(a);
      const controller = new AbortController();
      const descriptors = distinct(4);
      const withdrawn = a.send(Buffer.from('withdrawn'), descriptors, { signal: controller.signal });
      expect(openFiles(), 'duplicates wait with the message').to.equal(files + 8);
      const last = a.send(Buffer.from('last'));
      controller.abort();
      expect(openFiles()).to.equal(files + 4);
      closeEach(descriptors);
      const error: unknown = await withdrawn.catch((reason: unknown) => reason);
      expect(error).to.equal(controller.signal.reason);

      let all = '';
      while (!all.endsWith('last')) {
        const message = await next(b);
        expect(message.descriptors).to.deep.equal([]);
        all += text(message.payload);
      }
      expect(all).not.to.contain('withdrawn');
      await Promise.all([...sends, last]);
    });

    it('lets the rest of the event loop run while messages flow', async () => {
      const timer = new AbortController();
      setTimeout(() => { timer.abort(); }, 20);
      let count = 0;
      for (; !timer.signal.aborted; count++) {
        await a.send(Buffer.from('x'));
        await next(b);
        if (count > 5_000_000) expect.fail('the timer never had its turn');
      }
      expect(count).to.be.above(10);
    });

    it('rejects what waits when it is closed', async () => {
      const descriptors = distinct(1);
      const sends = await fillUp(a, descriptors);
      closeEach(descriptors);
      const waiting = [sends.at(-1), a.send(Buffer.from('x')), a.receive(), a.receive(), a.end()];
      a.close();
      for (const promise of waiting) {
        const error = await rejection(promise ?? expect.fail());
        expectMisuse(error, 'ERR_EXMEM_DISPOSED', /closed before the transfer was complete/);
      }
      await Promise.allSettled(sends);
    });

    it('knows the process at the other end', () => {
      const { pid, getuid, getgid } = process;
      expect(a.peer).to.deep.equal({ pid, uid: getuid?.(), gid: getgid?.() });
      b.close();
      expect(a.peer.pid).to.equal(pid);
    });

    it('gives its descriptor away, and takes it over', async () => {
      expectMisuse(
        await (async () => {
          const waiting = a.receive();
          const error = thrown(() => a.release());
          await b.send(Buffer.from('x'));
          await waiting;
          return error;
        })(),
        'ERR_EXMEM_BUSY',
        /on its way/,
      );
      const fd = a.release();
      expectMisuse(thrown(() => a.fd), 'ERR_EXMEM_DISPOSED', /HandleChannel was released/);
      using again = HandleChannel.fromFd(new Descriptor(fd), { framing });
      await again.send(Buffer.from('y'));
      expect(text((await next(b)).payload)).to.equal('y');
    });

    it('refuses a payload that is too long or too short', async () => {
      const min = framing === 'length-prefixed' ? 0 : 1;
      const refused = await rejection(a.send(new Uint8Array(65_537)));
      expectMisuse(refused, 'ERR_EXMEM_ARGUMENT', new RegExp(`from ${min} to 65536 for the length .* 65537`));
      if (min === 1) expectMisuse(await rejection(a.send(new Uint8Array(0))), 'ERR_EXMEM_ARGUMENT', /received 0/);
    });

    it('sends nothing if a descriptor is not open, and goes on', async () => {
      expectErrno(await rejection(a.send(Buffer.from('bad'), [0, 1_000_000])), 'EBADF', 'sendmsg');
      await a.send(Buffer.from('good'));
      expect(text((await next(b)).payload)).to.equal('good');
    });
  });
}

describe('HandleChannel', () => {
  leakNothing();

  for (const framing of ['stream', 'length-prefixed'] as const) {
    it(`${framing}: sends what does not fit at once in parts, its descriptors once`, async () => {
      const [a, b] = HandleChannel.pair({ framing, maxPayloadBytes: 1 << 24 });
      const payload = new Uint8Array(8 << 20).map((_, i) => i % 251);
      const sent = distinct(3);
      const send = a.send(payload, sent);
      expect(await settled(send)).to.equal(false);
      closeEach(sent);
      const parts: Uint8Array[] = [];
      let descriptors = 0;
      for (let length = 0; length < payload.byteLength;) {
        using message = await next(b);
        parts.push(message.payload);
        length += message.payload.byteLength;
        descriptors += message.descriptors.length;
      }
      await send;
      expect(descriptors).to.equal(3);
      expect(parts.length).to.be[framing === 'stream' ? 'above' : 'equal'](1);
      expect(Buffer.concat(parts).equals(payload)).to.equal(true);
      closeEach([a, b]);
    });

    it(`${framing}: completes a message whose sender gave up when it was half sent`, async () => {
      const [a, b] = HandleChannel.pair({ framing, maxPayloadBytes: 1 << 24 });
      const controller = new AbortController();
      const send = a.send(new Uint8Array(4 << 20), [0], { signal: controller.signal });
      const after = a.send(Buffer.from('after'));
      await sleep(5);
      controller.abort();
      expect(await send.catch((error: unknown) => error)).to.equal(controller.signal.reason);
      let length = 0;
      while (length < (4 << 20) + 5) {
        using message = await next(b);
        length += message.payload.byteLength;
      }
      await after;
      closeEach([a, b]);
    });
  }

  it('length-prefixed: moves an empty payload, with descriptors and without', async () => {
    const [a, b] = HandleChannel.pair({ framing: 'length-prefixed' });
    await a.send(new Uint8Array(0));
    await a.send(new Uint8Array(0), [0]);
    const first = await next(b);
    const second = await next(b);
    expect([first.payload.length, first.descriptors.length]).to.deep.equal([0, 0]);
    expect([second.payload.length, second.descriptors.length]).to.deep.equal([0, 1]);
    closeEach([a, b, ...second.descriptors]);
  });

  it('seqpacket: what is longer than the socket takes is refused', async () => {
    const [a, b] = HandleChannel.pair({ maxPayloadBytes: 1 << 24 });
    expectErrno(await rejection(a.send(new Uint8Array(1 << 24))), 'EMSGSIZE', 'sendmsg');
    await a.send(Buffer.from('x'));
    expect(text((await next(b)).payload)).to.equal('x');
    closeEach([a, b]);
  });

  it('stream: reads exactly so many bytes, with the descriptors that came with them', async () => {
    const [a, b] = HandleChannel.pair({ framing: 'stream' });
    const sent = distinct(3);
    await a.send(Buffer.from('0123'), sent.slice(0, 1));
    await a.send(Buffer.from('4567'));
    await a.send(Buffer.from('89'), sent.slice(1));
    const got: unknown[] = [];
    for (const count of [2, 2, 5, 1]) {
      using message = (await b.receiveExactly(count)) ?? expect.fail();
      got.push([text(message.payload), message.descriptors.map(inode)]);
    }
    const [first, ...rest] = sent.map(inode);
    expect(got).to.deep.equal([['01', [first]], ['23', []], ['45678', rest], ['9', []]]);

    const waiting = b.receiveExactly(6);
    await a.send(Buffer.from('abc'));
    expect(await settled(waiting)).to.equal(false);
    await a.send(Buffer.from('def'));
    expect(text((await waiting)?.payload)).to.equal('abcdef');
    a.close();
    expect(await b.receiveExactly(1)).to.equal(undefined);
    closeEach([b, ...sent]);
  });

  it('stream: what an aborted receiveExactly() had read is for the next', async () => {
    const [a, b] = HandleChannel.pair({ framing: 'stream' });
    const sent = distinct(1);
    const controller = new AbortController();
    const aborted = b.receiveExactly(100, { signal: controller.signal });
    const waiting = b.receiveExactly(2);
    await a.send(Buffer.from('abcdef'), sent);
    expect(await settled(waiting)).to.equal(false);
    expectMisuse(thrown(() => b.release()), 'ERR_EXMEM_BUSY');
    controller.abort();
    expect(await aborted.catch((error: unknown) => error)).to.equal(controller.signal.reason);
    const message = (await waiting) ?? expect.fail();
    expect(text(message.payload)).to.equal('ab');
    expect(message.descriptors.map(inode)).to.deep.equal(sent.map(inode));
    expectMisuse(thrown(() => b.release()), 'ERR_EXMEM_BUSY');
    expect(text((await b.receive())?.payload)).to.equal('cdef');
    closeEach([a, b, ...message.descriptors, ...sent]);
  });

  it('stream: closes the descriptors that an aborted receiveExactly() had', async () => {
    const [a, b] = HandleChannel.pair({ framing: 'stream' });
    const controller = new AbortController();
    const aborted = b.receiveExactly(100, { signal: controller.signal });
    await a.send(Buffer.from('abcdef'), [0, 1, 2]);
    await sleep(5);
    controller.abort();
    await aborted.catch(() => undefined);
    closeEach([a, b]);
  });

  it('receiveExactly() is for streams', async () => {
    for (const framing of ['seqpacket', 'length-prefixed'] as const) {
      const [a, b] = HandleChannel.pair({ framing });
      expectMisuse(await rejection(a.receiveExactly(1)), 'ERR_EXMEM_ARGUMENT', /framing 'stream'/);
      closeEach([a, b]);
    }
  });

  it('fromFd() chooses what fits the socket, and refuses what does not', () => {
    const [a, b] = socketPair();
    expectMisuse(
      thrown(() => HandleChannel.fromFd(a, { framing: 'stream' })),
      'ERR_EXMEM_WRONG_DESCRIPTOR',
      /fits framing 'stream' .* type 'seqpacket'/,
    );
    using channel = HandleChannel.fromFd(a);
    expect(channel.framing).to.equal('seqpacket');
    expectMisuse(thrown(() => a.fd), 'ERR_EXMEM_DISPOSED');
    b.close();

    using file = new Descriptor(openSync('/dev/null', 'r'));
    const error = thrown(() => HandleChannel.fromFd(file));
    expectMisuse(error, 'ERR_EXMEM_WRONG_DESCRIPTOR', /something else/);
    expect(file.fd).to.be.above(2);
    expectErrno(thrown(() => HandleChannel.fromFd(1_000_000)), 'EBADF', 'getsockopt');
  });

  it('peerPidfd() is a pidfd, or says what is missing', () => {
    const [a, b] = HandleChannel.pair();
    try {
      using pidfd = a.peerPidfd();
      expect(readFileSync(`/proc/self/fdinfo/${pidfd.fd}`, 'utf8')).to.match(new RegExp(`^Pid:\\s+${process.pid}$`, 'm'));
      expect(closeOnExec(pidfd.fd)).to.equal(true);
    } catch (error) {
      expectErrno(error as never, 'ENOPROTOOPT', 'getsockopt SO_PEERPIDFD');
    } finally {
      closeEach([a, b]);
    }
  });

  it('refuses wrong arguments', async () => {
    const wrong = (value: unknown) => value as never;
    const [a, b] = HandleChannel.pair();
    const refusals: readonly (readonly [action: () => unknown, message: RegExp])[] = [
      [() => a.send(wrong('text')), /a Uint8Array for payload but received a string/],
      [() => a.send(Buffer.of(1), wrong(1)), /an array for descriptors/],
      [() => a.send(Buffer.of(1), wrong(['x'])), /for descriptors\[0\]/],
      [() => a.send(Buffer.of(1), [{ fd: -1 }]), /for descriptors\[0\]\.fd but received -1/],
      [() => a.send(Buffer.of(1), [], wrong(null)), /an object for options/],
      [() => a.send(Buffer.of(1), [], { signal: wrong(1) }), /an AbortSignal for signal/],
      [() => a.receive({ signal: wrong('x') }), /an AbortSignal for signal/],
      [() => a.receive(wrong(1)), /an object for options/],
      [() => HandleChannel.pair({ framing: wrong('x') }), /one of 'seqpacket', .* for framing/],
      [() => HandleChannel.pair({ maxPayloadBytes: 0 }), /for maxPayloadBytes but received 0/],
      [() => HandleChannel.fromFd(wrong('x')), /a file descriptor for fd/],
      [() => HandleChannel.connect(''), /1 to 107 bytes .* for path/],
      [() => HandleChannel.connect('a\0b'), /without NUL/],
      [() => HandleChannel.connect('x'.repeat(108)), /1 to 107 bytes/],
      [() => HandleChannel.connect('\0'), /1 to 107 bytes/],
      [() => HandleChannel.connect(wrong(1)), /a string for path/],
      [() => HandleChannel.listen('x', { mode: 0o1000 }), /for mode/],
      [() => HandleChannel.listen('x', { backlog: -1 }), /for backlog/],
      [() => HandleChannel.inherited('EXMEM_NOT_SET'), /environment variable EXMEM_NOT_SET .* undefined/],
      [() => HandleChannel.inherited(wrong(null)), /for source/],
    ];
    for (const [action, message] of refusals) {
      const error = await rejection((async () => { await action(); })());
      expectMisuse(error, 'ERR_EXMEM_ARGUMENT', message);
    }
    closeEach([a, b]);
  });
});
