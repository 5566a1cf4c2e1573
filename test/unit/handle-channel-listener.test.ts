// SPDX-License-Identifier: MIT
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname } from 'node:path';
import { Worker } from 'node:worker_threads';
import { expect } from 'chai';
import { Descriptor, HandleChannel, type HandleChannelListener } from 'exclusive-memory';
import { system } from '#internal/system.js';
import { bindPath } from '#internal/unix-address.js';
import {
  closeEach,
  distinct,
  framings,
  inode,
  leakNothing,
  next,
  settled,
  temporaryDirectory,
  text,
} from '../support/channels.js';
import { expectErrno, expectMisuse, rejection, thrown } from '../support/failures.js';

const address = (path: string) => new TextEncoder().encode(path);

/** A socket file that nobody has any more, as a killed process leaves it. */
function leaveBehind(path: string): void {
  using socket = new Descriptor(system.unixSocket('stream'));
  system.unixBind(socket.fd, address(path));
}

describe('HandleChannelListener', () => {
  leakNothing();
  const inDirectory = temporaryDirectory();
  let path: string;
  beforeEach(() => {
    path = inDirectory('socket');
  });
  afterEach(() => {
    rmSync(path, { force: true });
  });

  for (const framing of framings) {
    it(`${framing}: connects those who come with the one who accepts`, async () => {
      using listener = HandleChannel.listen(path, { framing });
      const accepted = listener.accept();
      expect(await settled(accepted)).to.equal(false);
      using client = await HandleChannel.connect(path, { framing });
      using server = await accepted;
      const sent = distinct(2);
      await client.send(Buffer.from('to the server'), sent);
      using message = await next(server);
      await server.send(message.payload, message.descriptors);
      using back = await next(client);
      expect(text(back.payload)).to.equal('to the server');
      expect(back.descriptors.map(inode)).to.deep.equal(sent.map(inode));
      expect([client.peer.pid, server.peer.pid]).to.deep.equal([process.pid, process.pid]);
      expect([client.framing, server.framing]).to.deep.equal([framing, framing]);
      closeEach(sent);
    });
  }

  it('can be looped over, until it is closed', async () => {
    const listener = HandleChannel.listen(path);
    const clients = await Promise.all(Array.from({ length: 5 }, () => HandleChannel.connect(path)));
    let count = 0;
    for await (using channel of listener) {
      await channel.send(Buffer.from('x'));
      if (++count === 5) setTimeout(() => { listener.close(); }, 5);
    }
    expect(count).to.equal(5);
    closeEach(clients);
  });

  it('goes on after a loop was left', async () => {
    using listener = HandleChannel.listen(path);
    for (let i = 0; i < 3; i++) {
      using client = await HandleChannel.connect(path);
      for await (using channel of listener) {
        expect(client.fd).not.to.equal(channel.fd);
        break;
      }
    }
  });

  it('tells who waits when it is closed, on either side', async () => {
    const listener = HandleChannel.listen(path);
    const accepting = [listener.accept(), listener.accept()];
    listener.close();
    for (const one of accepting) expectMisuse(await rejection(one), 'ERR_EXMEM_DISPOSED', /accepts no more/);

    const other = HandleChannel.listen(path);
    using client = await HandleChannel.connect(path);
    other.close();
    expectErrno(await rejection(client.receive()), 'ECONNRESET', 'recvmsg');
    expect(await client.receive()).to.equal(undefined);
  });

  it('loses no connection when an accept is aborted', async () => {
    using listener = HandleChannel.listen(path);
    const controller = new AbortController();
    const aborted = listener.accept({ signal: controller.signal });
    controller.abort();
    expect(await aborted.catch((error: unknown) => error)).to.equal(controller.signal.reason);
    using client = await HandleChannel.connect(path);
    using server = await listener.accept();
    expect(server.fd).not.to.equal(client.fd);
  });

  it('says why it cannot be connected to', async () => {
    const missing = await rejection(HandleChannel.connect(path));
    expectErrno(missing, 'ENOENT', 'connect');
    expect(missing.message).to.contain(path);
    leaveBehind(path);
    expectErrno(await rejection(HandleChannel.connect(path)), 'ECONNREFUSED', 'connect');
    using listener = HandleChannel.listen(path, { framing: 'stream' });
    const mismatch = await rejection(HandleChannel.connect(path));
    expectErrno(mismatch, 'EPROTOTYPE', 'connect');
    expect(mismatch.message).to.match(/other type of socket/);
    expect(listener.path).to.equal(path);
    expectErrno(thrown(() => HandleChannel.listen(inDirectory('a/b'))), 'ENOENT', 'bind');
  });

  it('has its mode from its first moment, whatever the umask', () => {
    const before = process.umask(0);
    try {
      using socket = new Descriptor(system.unixSocket('stream'));
      bindPath(socket.fd, path, 0o600);
      expect(lstatSync(path).mode & 0o777, 'before it listens').to.equal(0o600);
    } finally {
      process.umask(before);
    }
    unlinkSync(path);
    HandleChannel.listen(path)[Symbol.dispose]();
    using listener = HandleChannel.listen(path);
    expect(lstatSync(listener.path).mode & 0o777).to.equal(0o600);
  });

  it('has another mode on request, less the umask', () => {
    const before = process.umask(0o022);
    try {
      using listener = HandleChannel.listen(path, { mode: 0o666 });
      expect(lstatSync(listener.path).mode & 0o777).to.equal(0o644);
    } finally {
      process.umask(before);
    }
  });

  it('removes its path when it is closed', () => {
    const listener = HandleChannel.listen(path);
    expect(lstatSync(path).isSocket()).to.equal(true);
    listener.close();
    listener.close();
    expect(existsSync(path)).to.equal(false);
  });

  it('removes a relative path, from wherever', () => {
    const before = process.cwd();
    process.chdir(dirname(path));
    let listener;
    try {
      listener = HandleChannel.listen(basename(path));
    } finally {
      process.chdir(before);
    }
    expect(existsSync(path)).to.equal(true);
    listener.close();
    expect(existsSync(path)).to.equal(false);
  });

  it('removes nothing but its own', () => {
    const listener = HandleChannel.listen(path);
    renameSync(path, `${path}.moved`);
    writeFileSync(path, 'precious');
    listener.close();
    expect(readFileSync(path, 'utf8')).to.equal('precious');
    unlinkSync(`${path}.moved`);
  });

  it('takes the place of a socket that was left behind', async () => {
    for (const framing of framings) {
      leaveBehind(path);
      using listener = HandleChannel.listen(path, { framing });
      using client = await HandleChannel.connect(path, { framing });
      using server = await listener.accept();
      expect(client.fd).not.to.equal(server.fd);
    }
  });

  it('never takes the place of one that is alive', async () => {
    for (const framing of framings) {
      using listener = HandleChannel.listen(path);
      const error = thrown(() => HandleChannel.listen(path, { framing }));
      expectErrno(error, 'EADDRINUSE', 'bind');
      expect(error.message).to.contain(path);
      using client = await HandleChannel.connect(path);
      using server = await listener.accept();
      expect(client.fd).not.to.equal(server.fd);
    }
  });

  it('nor of one that is bound and does not listen yet, or of another type', () => {
    for (const type of ['stream', 'seqpacket', 'dgram'] as const) {
      using socket = new Descriptor(system.unixSocket(type));
      system.unixBind(socket.fd, address(path));
      expectErrno(thrown(() => HandleChannel.listen(path)), 'EADDRINUSE', 'bind');
      expect(lstatSync(path).isSocket()).to.equal(true);
      unlinkSync(path);
    }
  });

  it('nor of one whose queue is full', async () => {
    using listener = HandleChannel.listen(path, { backlog: 0 });
    const clients = [await HandleChannel.connect(path)];
    const waiting = HandleChannel.connect(path);
    expect(await settled(waiting)).to.equal(false);
    expectErrno(thrown(() => HandleChannel.listen(path)), 'EADDRINUSE', 'bind');
    clients.push(await listener.accept(), await waiting, await listener.accept());
    closeEach(clients);
  });

  it('nor of what is no socket', () => {
    const target = inDirectory('target');
    leaveBehind(target);
    const things: Record<string, () => void> = {
      file: () => { writeFileSync(path, 'precious'); },
      directory: () => { mkdirSync(path); },
      'link to a stale socket': () => { symlinkSync(target, path); },
    };
    for (const [name, make] of Object.entries(things)) {
      make();
      const before = lstatSync(path).ino;
      expectErrno(thrown(() => HandleChannel.listen(path)), 'EADDRINUSE', 'bind');
      expect(lstatSync(path).ino, name).to.equal(before);
      rmSync(path, { recursive: true });
    }
    unlinkSync(target);
  });

  it('replaces nothing while a stranger holds the lock, but takes what is free', () => {
    leaveBehind(path);
    const directory = system.openDirectory(dirname(path));
    expect(system.tryLock(directory)).to.equal(true);
    const start = performance.now();
    expectErrno(thrown(() => HandleChannel.listen(path)), 'EADDRINUSE', 'bind');
    expect(performance.now() - start).to.be.within(50, 20_000);
    unlinkSync(path);
    HandleChannel.listen(path).close();
    leaveBehind(path);
    system.close(directory);
    using listener = HandleChannel.listen(path);
    expect(listener.path).to.equal(path);
  });

  it('is one only, of many who want to replace a stale socket at once', async () => {
    const program = `
      const { parentPort } = require('node:worker_threads');
      import('exclusive-memory').then(({ HandleChannel }) => {
        let listener;
        parentPort.on('message', ({ path, startAt }) => {
          listener?.close();
          listener = undefined;
          if (path === undefined) return parentPort.postMessage('closed');
          while (Date.now() < startAt);
          try {
            listener = HandleChannel.listen(path);
            parentPort.postMessage('listens');
          } catch (error) {
            parentPort.postMessage(error.code);
          }
        });
        parentPort.postMessage('ready');
      });`;
    const workers = Array.from({ length: 4 }, () => new Worker(program, { eval: true }));
    const answers = () => Promise.all(workers.map(async (one) => ((await once(one, 'message')) as [string])[0]));
    const tell = async (message: unknown) => {
      const answered = answers();
      for (const worker of workers) worker.postMessage(message);
      return (await answered).sort();
    };
    try {
      await answers();
      for (let round = 0; round < 30; round++) {
        leaveBehind(path);
        const results = await tell({ path, startAt: Date.now() + 2 });
        expect(results).to.deep.equal([...Array.from({ length: 3 }, () => 'EADDRINUSE'), 'listens']);
        (await HandleChannel.connect(path)).close();
        await tell({});
        expect(existsSync(path)).to.equal(false);
      }
    } finally {
      await Promise.all(workers.map((worker) => worker.terminate()));
    }
  });

  it('lets those who connect wait while its queue is full, for as long as they like', async () => {
    using listener = HandleChannel.listen(path, { backlog: 0 });
    const controller = new AbortController();
    const clients = Array.from({ length: 6 }, () => HandleChannel.connect(path));
    const impatient = HandleChannel.connect(path, { signal: controller.signal });
    expect(await settled(impatient, 30)).to.equal(false);
    controller.abort();
    expect(await impatient.catch((error: unknown) => error)).to.equal(controller.signal.reason);
    const servers: HandleChannel[] = [];
    while (servers.length < 6) servers.push(await listener.accept());
    closeEach([...servers, ...(await Promise.all(clients))]);
  });

  it('listens at an abstract address, which is in no directory', async () => {
    const abstract = `\0exmem-test-${process.pid}`;
    const listener = HandleChannel.listen(abstract);
    expectErrno(thrown(() => HandleChannel.listen(abstract)), 'EADDRINUSE', 'bind');
    using client = await HandleChannel.connect(abstract);
    using server = await listener.accept();
    expect(client.fd).not.to.equal(server.fd);
    listener.close();
    const error = await rejection(HandleChannel.connect(abstract));
    expectErrno(error, 'ECONNREFUSED', 'connect');
    expect(error.message).to.contain(`'@exmem-test-${process.pid}'`);
  });

  it('takes a path of 107 bytes', async () => {
    const long = `/tmp/${'x'.repeat(102)}`;
    using listener: HandleChannelListener = HandleChannel.listen(long);
    using client = await HandleChannel.connect(listener.path);
    (await listener.accept()).close();
    expect(client.peer.pid).to.equal(process.pid);
  });

  it('is for those who may write its file', function () {
    if (process.getuid?.() !== 0) this.skip();
    chmodSync(dirname(path), 0o755);
    using listener = HandleChannel.listen(path);
    const program = `
      import('exclusive-memory').then(async ({ HandleChannel }) => {
        process.setgroups([]); process.setgid(65534); process.setuid(65534);
        await HandleChannel.connect(${JSON.stringify(listener.path)}).catch(({ code, syscall }) => {
          process.stdout.write(code + ' ' + syscall);
        });
      });`;
    expect(execFileSync(process.execPath, ['-e', program], { encoding: 'utf8' })).to.equal('EACCES connect');
  });
});
