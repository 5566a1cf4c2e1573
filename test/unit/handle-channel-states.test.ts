// SPDX-License-Identifier: MIT
// Every method of HandleChannel and its listener in every state: a value, or the exact error.
import { closeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { ExclusiveMemoryError, HandleChannel } from 'exclusive-memory';
import { closeEach, fillUp, framings, leakNothing, temporaryDirectory } from '../support/channels.js';

const states = [
  'open',
  'other end closed',
  'other end ended',
  'this end ended',
  'transferring',
  'closed',
] as const;
type State = (typeof states)[number];

const methods = {
  fd: (channel: HandleChannel) => channel.fd > 2,
  peer: (channel: HandleChannel) => channel.peer.pid === process.pid,
  send: (channel: HandleChannel) => channel.send(Buffer.from('x'), [0]).then(() => 'sent'),
  receive: (channel: HandleChannel) => channel.receive().then((message) => message ?? 'the end'),
  receiveExactly: (channel: HandleChannel) =>
    channel.receiveExactly(3).then((message) => message ?? 'the end'),
  next: (channel: HandleChannel) =>
    channel[Symbol.asyncIterator]().next().then(({ done }) => (done ? 'the end' : 'a message')),
  end: (channel: HandleChannel) => channel.end().then(() => 'ended'),
  ref: (channel: HandleChannel) => channel.ref() === channel,
  unref: (channel: HandleChannel) => channel.unref() === channel,
  release: (channel: HandleChannel) => {
    closeSync(channel.release());
    return 'released';
  },
  close: (channel: HandleChannel) => {
    channel.close();
    return 'closed';
  },
  dispose: (channel: HandleChannel) => {
    channel[Symbol.dispose]();
    return 'closed';
  },
  asyncDispose: async (channel: HandleChannel) => {
    await channel[Symbol.asyncDispose]();
    return 'closed';
  },
} as const;

const gone = 'ERR_EXMEM_DISPOSED';
const yes = [true, true, true, true, true, gone];
const incoming = ['waits', 'the end', 'the end', 'waits', 'waits', gone];
const closes = Array.from(states, () => 'closed');

/** In the order of `states`. */
const expected: Record<keyof typeof methods, readonly unknown[]> = {
  fd: yes,
  peer: yes,
  send: ['sent', 'EPIPE sendmsg', 'sent', 'EPIPE sendmsg', 'waits', gone],
  receive: incoming,
  receiveExactly: incoming,
  next: incoming,
  end: ['ended', 'ended', 'ended', 'ended', 'waits', gone],
  ref: yes,
  unref: yes,
  release: ['released', 'released', 'released', 'released', 'ERR_EXMEM_BUSY', gone],
  close: closes,
  dispose: closes,
  asyncDispose: closes,
};

async function outcome(action: () => unknown): Promise<unknown> {
  try {
    return await action();
  } catch (error) {
    if (!(error instanceof ExclusiveMemoryError)) throw error;
    return [error.code, error.syscall].join(' ').trim();
  }
}

const outcomeOrWait = (action: () => unknown) =>
  Promise.race([outcome(action), sleep(10, 'waits')]);

for (const framing of framings) {
  describe(`HandleChannel (${framing}), method by state`, () => {
    leakNothing();

    async function enter(state: State): Promise<readonly [HandleChannel, HandleChannel]> {
      const [here, there] = HandleChannel.pair({ framing });
      switch (state) {
        case 'open':
          break;
        case 'other end closed':
          there.close();
          break;
        case 'other end ended':
          await there.end();
          break;
        case 'this end ended':
          await here.end();
          break;
        case 'transferring':
          void outcome(() => here.receive());
          void fillUp(here);
          await sleep(60);
          break;
        case 'closed':
          here.close();
          break;
      }
      return [here, there];
    }

    for (const [name, results] of Object.entries(expected)) {
      const method = methods[name as keyof typeof methods];
      states.forEach((state, column) => {
        const streamOnly = name === 'receiveExactly' && framing !== 'stream' && state !== 'closed';
        const result = streamOnly ? 'ERR_EXMEM_ARGUMENT' : results[column];
        it(`${name}, ${state}: ${String(result)}`, async () => {
          const channels = await enter(state);
          try {
            expect(await outcomeOrWait(() => method(channels[0]))).to.equal(result);
          } finally {
            closeEach(channels);
          }
        });
      });
    }
  });
}

describe('HandleChannelListener, method by state', () => {
  leakNothing();
  const inDirectory = temporaryDirectory();

  const cases = {
    accept: [(listener) => listener.accept(), 'waits', 'waits', gone],
    next: [(listener) => listener[Symbol.asyncIterator]().next().then(({ done }) => done), 'waits', 'waits', true],
    path: [(listener) => listener.path.endsWith('matrix'), true, true, true],
    ref: [(listener) => listener.ref() === listener, true, true, gone],
    unref: [(listener) => listener.unref() === listener, true, true, gone],
    close: [(listener) => { listener.close(); }, undefined, undefined, undefined],
    dispose: [(listener) => { listener[Symbol.dispose](); }, undefined, undefined, undefined],
    asyncDispose: [(listener) => listener[Symbol.asyncDispose](), undefined, undefined, undefined],
  } satisfies Record<string, readonly [(listener: ReturnType<typeof HandleChannel.listen>) => unknown, ...unknown[]]>;

  for (const [name, [method, ...results]] of Object.entries(cases)) {
    (['open', 'accepting', 'closed'] as const).forEach((state, column) => {
      const result = results[column];
      it(`${name}, ${state}: ${String(result)}`, async () => {
        using listener = HandleChannel.listen(inDirectory('matrix'));
        if (state === 'accepting') void outcome(() => listener.accept());
        if (state === 'closed') listener.close();
        expect(await outcomeOrWait(() => method(listener))).to.equal(result);
      });
    });
  }
});
