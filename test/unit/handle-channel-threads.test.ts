// SPDX-License-Identifier: MIT
// The event loop, worker threads, collection, and the end of each.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { expect } from 'chai';
import { type Descriptor, HandleChannel, ReceivedMessage } from 'exclusive-memory';
import {
  closeEach,
  distinct,
  header,
  hostilePair,
  inode,
  leakNothing,
  next,
  text,
} from '../support/channels.js';
import { expectErrno } from '../support/failures.js';
import { openFiles, settle } from '../support/process.js';

const importing = (body: string) =>
  `import('exclusive-memory').then(async ({ HandleChannel }) => { ${body} })`;

function run(body: string): ChildProcess {
  const program = importing(`${body} process.stdout.write('it waits');`);
  return spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
}

async function exitCode(child: ChildProcess, withinMs: number): Promise<number | null | 'runs on'> {
  const exited = once(child, 'exit');
  if (child.stdout) await once(child.stdout, 'data');
  const first = await Promise.race([exited, sleep(withinMs)]);
  if (first !== undefined) return first[0] as number | null;
  child.kill('SIGKILL');
  await once(child, 'exit');
  return 'runs on';
}

describe('HandleChannel and the event loop', () => {
  const cases: readonly (readonly [name: string, body: string, result: 0 | 'runs on'])[] = [
    ['an idle channel', 'globalThis.kept = HandleChannel.pair();', 0],
    ['a receive', 'globalThis.kept = HandleChannel.pair(); void kept[0].receive();', 'runs on'],
    [
      'a receive on an unref()ed channel',
      'globalThis.kept = HandleChannel.pair(); void kept[0].unref().receive();',
      0,
    ],
    [
      'a receive on a channel that is unref()ed later',
      'globalThis.kept = HandleChannel.pair(); void kept[0].receive(); kept[0].unref();',
      0,
    ],
    [
      'a receive on a channel that is ref()ed again',
      'globalThis.kept = HandleChannel.pair(); void kept[0].unref().receive(); kept[0].ref();',
      'runs on',
    ],
    [
      'a receive that is over',
      `const [a, b] = HandleChannel.pair(); globalThis.kept = [a, b];
       void b.receive(); setTimeout(() => a.send(Buffer.of(1)), 20);`,
      0,
    ],
    [
      'a receive that was aborted',
      `const controller = new AbortController(); globalThis.kept = HandleChannel.pair();
       kept[0].receive({ signal: controller.signal }).catch(() => undefined);
       setTimeout(() => controller.abort(), 20);`,
      0,
    ],
    [
      'a send that has to wait',
      `globalThis.kept = HandleChannel.pair();
       for (let i = 0; i < 100; i++) void kept[0].send(new Uint8Array(10_000));`,
      'runs on',
    ],
    [
      'an accept',
      'globalThis.kept = HandleChannel.listen("\\0exmem-loop-" + process.pid); void kept.accept();',
      'runs on',
    ],
    ['a listener', 'globalThis.kept = HandleChannel.listen("\\0exmem-loop-" + process.pid);', 0],
    ['nothing that was closed', 'const [a] = HandleChannel.pair(); a.receive().catch(() => 0); a.close();', 0],
  ];
  for (const [name, body, result] of cases) {
    it(`${name}: the process ${result === 0 ? 'ends' : 'runs on'}`, async () => {
      expect(await exitCode(run(body), result === 0 ? 10_000 : 300)).to.equal(result);
    });
  }

  it('ends at once when it is told to, with everything waiting', async () => {
    const child = run(`globalThis.kept = Array.from({ length: 50 }, () => HandleChannel.pair());
      for (const [a] of kept) void a.receive();
      setTimeout(() => { for (const [, b] of kept) void b.send(Buffer.of(1)); process.exit(7); }, 20);`);
    expect(await exitCode(child, 10_000)).to.equal(7);
  });
});

/** How often the thread that waits was scheduled. */
function wakeups(): number {
  for (const task of readdirSync('/proc/self/task')) {
    const status = readFileSync(`/proc/self/task/${task}/status`, 'utf8');
    if (!status.includes('exmem-readiness')) continue;
    return Number(/^voluntary_ctxt_switches:\s+(\d+)$/m.exec(status)?.[1]);
  }
  return expect.fail('there is no such thread');
}

describe('the thread that waits', () => {
  leakNothing();

  it('is one, and sleeps while nothing that was asked for happens', async () => {
    const pair = () => HandleChannel.pair();
    // Readable, hung up, waiting: none of these is news to anybody.
    const [silent, listening] = pair();
    const [readable, sender] = pair();
    const [hungUp, gone] = pair();
    const waiting = silent.receive();
    await sender.send(Buffer.of(1));
    gone.close();
    expect(await hungUp.receive()).to.equal(undefined);
    await sleep(20);
    const before = wakeups();
    await sleep(300);
    expect(wakeups() - before).to.equal(0);
    expect(readable.fd).to.be.above(2);
    const names = readdirSync('/proc/self/task').map((task) =>
      readFileSync(`/proc/self/task/${task}/comm`, 'utf8').trim(),
    );
    expect(names.filter((name) => name === 'exmem-readiness')).to.have.length(1);
    silent.close();
    await waiting.catch(() => undefined);
    closeEach([listening, readable, sender, hungUp]);
  });
});

describe('HandleChannel in a worker thread', () => {
  leakNothing();

  const echo = importing(`
    const { workerData, parentPort } = require('node:worker_threads');
    globalThis.channel = HandleChannel.fromFd(workerData, { framing: 'length-prefixed' });
    parentPort.postMessage('ready');
    for await (const message of channel) {
      await channel.send(message.payload, message.descriptors);
      message[Symbol.dispose]();
    }
    channel.close();`);

  async function startEcho(fd: number): Promise<Worker> {
    const worker = new Worker(echo, { eval: true, workerData: fd });
    await once(worker, 'message');
    return worker;
  }

  it('sends and receives there', async () => {
    const [here, there] = HandleChannel.pair({ framing: 'length-prefixed' });
    const worker = await startEcho(there.release());
    const sent = distinct(3);
    for (let i = 0; i < 200; i++) {
      await here.send(Buffer.from(`${i}`), sent);
      using message = await next(here);
      expect([text(message.payload), ...message.descriptors.map(inode)]).to.deep.equal([`${i}`, ...sent.map(inode)]);
    }
    here.close();
    await once(worker, 'exit');
    closeEach(sent);
  });

  it('is closed when the worker is terminated, waiting or not', async () => {
    for (let round = 0; round < 10; round++) {
      const [here, there] = HandleChannel.pair({ framing: 'length-prefixed' });
      const worker = await startEcho(there.release());
      const waiting = here.receive().catch((error: unknown) => error);
      if (round % 2) await here.send(Buffer.from('x'), [0]);
      await worker.terminate();
      // Its answer, its end, or that it ended before it had read everything.
      const outcome = await waiting;
      if (outcome instanceof ReceivedMessage) outcome[Symbol.dispose]();
      else if (outcome !== undefined) expectErrno(outcome as never, 'ECONNRESET', 'recvmsg');
      if (round % 2 === 0) expect(outcome).to.equal(undefined);
      here.close();
    }
  });

  it('survives that a worker is terminated while reports come', async () => {
    const [one] = distinct(1) as [Descriptor];
    const many = Array.from({ length: 50 }, () => one);
    for (let round = 0; round < 10; round++) {
      const [here, there] = HandleChannel.pair({ framing: 'length-prefixed' });
      const worker = await startEcho(there.release());
      const flood = (async () => {
        for (;;) {
          await here.send(Buffer.from('x'), many);
          (await here.receive())?.[Symbol.dispose]();
        }
      })().catch((error: unknown) => error);
      await sleep(round);
      await worker.terminate();
      expect(await flood).to.have.property('code').that.is.oneOf(['EPIPE', 'ECONNRESET']);
      here.close();
    }
    one.close();
  });

  it('needs the addon in no other thread', () => {
    const program = `
      const { Worker } = require('node:worker_threads');
      const { once } = require('node:events');
      const body = ${JSON.stringify(importing(`
        globalThis.kept = HandleChannel.pair();
        void kept[0].receive();
        require('node:worker_threads').parentPort.postMessage('waits');`))};
      (async () => {
        for (let i = 0; i < 5; i++) {
          const worker = new Worker(body, { eval: true });
          await once(worker, 'message');
          await worker.terminate();
        }
        process.stdout.write('alive');
      })();`;
    expect(execFileSync(process.execPath, ['-e', program], { encoding: 'utf8' })).to.equal('alive');
  });
});

describe('a forgotten HandleChannel', () => {
  leakNothing();

  it('is closed when it is collected, with what it had received', async () => {
    const files = openFiles();
    const [one] = distinct(1) as [Descriptor];
    await (async () => {
      for (let i = 0; i < 20; i++) {
        const [hostile, victim] = hostilePair();
        await hostile.send(header(100, 2), [one, one]);
        // In the middle of a message, and nobody waits any more.
        const controller = new AbortController();
        const receive = victim.receive({ signal: controller.signal });
        controller.abort();
        await receive.catch(() => undefined);
      }
    })();
    one.close();
    expect(openFiles()).to.equal(files + 20 * 4);
    for (let i = 0; i < 10 && openFiles() > files; i++) await settle();
    expect(openFiles()).to.equal(files);
  });

  it('is not collected while somebody waits for it', async () => {
    const [here, there] = HandleChannel.pair();
    const number = there.release();
    const received = (async () => {
      const channel = HandleChannel.fromFd(number);
      const message = await channel.receive();
      channel.close();
      return message;
    })();
    await settle();
    await here.send(Buffer.from('still there'));
    expect(text((await received)?.payload)).to.equal('still there');
    here.close();
  });
});
