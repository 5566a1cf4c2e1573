// SPDX-License-Identifier: MIT
// Other programs at the other end: Node.js, Python, C. None shares code with the channel but the first.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync, readFileSync, readSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { Descriptor, HandleChannel } from 'exclusive-memory';
import { closeEach, framings, inode, leakNothing, next, temporaryDirectory, text } from '../support/channels.js';
import { programOfSupport } from '../support/paths.js';

const peerSource = (name: string) =>
  fileURLToPath(new URL(`../../../../test/peers/${name}`, import.meta.url));

async function expectExit(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  expect([child.exitCode, child.signalCode]).to.deep.equal([0, null]);
}

function start(channel: HandleChannel, command: string, ...args: string[]): ChildProcess {
  const child = spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit', channel.fd] });
  channel.close();
  return child;
}

describe('HandleChannel with another program', () => {
  leakNothing();
  const inDirectory = temporaryDirectory();
  let cPeer: string;
  before(function () {
    this.timeout(60_000);
    cPeer = inDirectory('channel_peer');
    execFileSync('gcc', ['-O2', '-Wall', '-Wextra', '-Werror', '-o', cPeer, peerSource('channel_peer.c')]);
  });

  /** New files, to be written by the peer. */
  function files(count: number): Descriptor[] {
    return Array.from({ length: count }, (_, i) => new Descriptor(openSync(inDirectory(`file${i}`), 'w+')));
  }

  function content(file: Descriptor): string {
    const buffer = Buffer.alloc(1000);
    return buffer.toString('utf8', 0, readSync(file.fd, buffer, 0, buffer.length, 0));
  }

  /** Sends messages of all sizes and gets them back, reversed, with their descriptors. */
  async function converse(channel: HandleChannel, name: string): Promise<void> {
    for (const [length, count] of [[1, 0], [5, 1], [60_000, 3], [1000, 253], [65_536, 2]] as const) {
      const sent = files(Math.min(count, 3));
      const many = Array.from({ length: count }, (_, i) => sent[i % 3] ?? expect.fail());
      const payload = Buffer.from(Array.from({ length }, (_, i) => i % 251));
      await channel.send(payload, many);

      const parts: Uint8Array[] = [];
      const received: Descriptor[] = [];
      do {
        const message = await next(channel);
        parts.push(message.payload);
        received.push(...message.descriptors);
        // What came as a plain stream may come back in parts.
      } while (channel.framing === 'stream' && Buffer.concat(parts).length < length);
      const expected = channel.framing === 'stream' ? payload : payload.reverse();
      expect(Buffer.concat(parts).equals(expected)).to.equal(true);
      expect(received.map(inode)).to.deep.equal(many.map(inode));
      for (const file of sent) {
        expect(content(file)).to.equal(name.repeat(many.filter((one) => one === file).length));
      }
      closeEach([...received, ...sent]);
    }
  }

  for (const framing of framings) {
    it(`Python, ${framing}, on an inherited socket`, async () => {
      const [here, there] = HandleChannel.pair({ framing });
      const child = start(there, 'python3', peerSource('channel_peer.py'), framing);
      await converse(here, 'python');
      here.close();
      await expectExit(child);
    });
  }

  it('Python connects to a listener', async () => {
    using listener = HandleChannel.listen(inDirectory('python'), { framing: 'length-prefixed' });
    const child = spawn('python3', [peerSource('channel_peer.py'), 'length-prefixed', listener.path], {
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    const channel = await listener.accept();
    expect(text((await next(channel)).payload)).to.equal('hello from python');
    expect(channel.peer).to.deep.equal({
      pid: child.pid,
      uid: process.getuid?.(),
      gid: process.getgid?.(),
    });
    await converse(channel, 'python');
    channel.close();
    await expectExit(child);
  });

  for (const framing of ['seqpacket', 'length-prefixed'] as const) {
    it(`C, ${framing}`, async () => {
      const [here, there] = HandleChannel.pair({ framing });
      const child = start(there, cPeer, framing);
      await converse(here, 'C');
      here.close();
      await expectExit(child);
    });
  }

  it('C, with messages as vhost-user has them', async () => {
    const [here, there] = HandleChannel.pair({ framing: 'stream' });
    const child = start(there, cPeer, 'vhost-user');
    for (const [length, count] of [[0, 0], [8, 1], [5000, 8], [30_000, 0]] as const) {
      const header = Buffer.alloc(12);
      header.writeUInt32LE(5, 0);
      header.writeUInt32LE(1, 4);
      header.writeUInt32LE(length, 8);
      const payload = Buffer.from(Array.from({ length }, (_, i) => i % 251));
      const sent = files(count);
      await here.send(Buffer.concat([header, payload]), sent);

      using reply = (await here.receiveExactly(12)) ?? expect.fail();
      const view = Buffer.from(reply.payload);
      expect([view.readUInt32LE(0), view.readUInt32LE(4), view.readUInt32LE(8)]).to.deep.equal([5, 5, length]);
      expect(reply.descriptors.map(inode)).to.deep.equal(sent.map(inode));
      if (length > 0) {
        using body = (await here.receiveExactly(length)) ?? expect.fail();
        expect(Buffer.from(body.payload).equals(payload.reverse())).to.equal(true);
        expect(body.descriptors).to.deep.equal([]);
      }
      expect(sent.map(content)).to.deep.equal(sent.map(() => 'C'));
      closeEach(sent);
    }
    here.close();
    await expectExit(child);
  });

  for (const framing of framings) {
    it(`Node.js, ${framing}, inherits its end, and its child does not`, async () => {
      const [here, there] = HandleChannel.pair({ framing });
      const child = spawn(process.execPath, [programOfSupport('inherited-process')], {
        stdio: ['ignore', 'inherit', 'inherit', 'ignore', there.fd],
        env: { ...process.env, CHANNEL: '4', FRAMING: framing },
      });
      there.close();
      const [file] = files(1) as [Descriptor];
      await here.send(Buffer.from('written'), [file]);
      using answer = await next(here);
      expect(text(answer.payload)).to.equal('written true');
      expect(answer.descriptors.map(inode)).to.deep.equal([inode(file)]);
      expect(content(file)).to.equal('written');
      await here.send(Buffer.from('child'));
      expect(text((await next(here)).payload)).to.equal('false undefined');
      here.close();
      await expectExit(child);
      file.close();
    });
  }

  it('Python, as the documentation shows it', async () => {
    const guide = readFileSync(peerSource('../../docs/handle-channel.md'), 'utf8');
    const [, python] = /```python\n([\s\S]*?)```/.exec(guide) ?? expect.fail('no Python in the guide');
    const [here, there] = HandleChannel.pair({ framing: 'length-prefixed' });
    const program = `${python}\ns = socket.socket(fileno=3)\ndata, fds = receive(s)\nsend(s, data + b" and back", fds)`;
    const child = start(there, 'python3', '-c', program);
    const [file] = files(1) as [Descriptor];
    await here.send(Buffer.from('there'), [file]);
    using answer = await next(here);
    expect(text(answer.payload)).to.equal('there and back');
    expect(answer.descriptors.map(inode)).to.deep.equal([inode(file)]);
    closeEach([here, file]);
    await expectExit(child);
  });
});
