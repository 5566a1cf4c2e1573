// SPDX-License-Identifier: MIT
// A little of everything that a monitor does with Node.js.
import { pbkdf2, randomBytes } from 'node:crypto';
import { lookup } from 'node:dns/promises';
import { once } from 'node:events';
import { watch } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, request } from 'node:http';
import { connect, createServer as createUnixServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import { gunzip, gzip } from 'node:zlib';

export async function nodeWorks(): Promise<string[]> {
  const done: string[] = [];
  for (const [name, use] of Object.entries(uses)) {
    await use();
    done.push(name);
  }
  return done;
}

const uses = {
  async timers() {
    await setTimeout(5);
  },

  async files() {
    const folder = await mkdtemp(join(tmpdir(), 'works-'));
    const file = join(folder, 'file');
    const watcher = watch(folder);
    const change = once(watcher, 'change');
    await writeFile(file, 'text');
    if ((await readFile(file, 'utf8')) !== 'text') throw new Error('Expected what was written');
    await change;
    watcher.close();
    await rm(folder, { recursive: true });
  },

  async 'a connection over TCP'() {
    const server = createServer((_, response) => response.end('answer')).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const client = request({ port: (server.address() as AddressInfo).port, host: '127.0.0.1' }).end();
    const [response] = (await once(client, 'response')) as [AsyncIterable<Buffer>];
    let text = '';
    for await (const chunk of response) text += chunk.toString();
    if (text !== 'answer') throw new Error(`Expected the answer, received "${text}"`);
    server.close();
    server.closeAllConnections();
  },

  async 'a connection over a Unix socket'() {
    const path = `\0works-${process.pid}`;
    const server = createUnixServer((socket) => socket.end('hello')).listen(path);
    await once(server, 'listening');
    const client = connect(path);
    const [chunk] = (await once(client, 'data')) as [Buffer];
    if (chunk.toString() !== 'hello') throw new Error('Expected "hello"');
    server.close();
    client.destroy();
  },

  async 'the thread pool'() {
    await promisify(pbkdf2)('password', randomBytes(16), 10, 32, 'sha256');
    const packed = await promisify(gzip)('text');
    if (String(await promisify(gunzip)(packed)) !== 'text') throw new Error('Expected "text"');
    await lookup('localhost');
  },

  async 'worker threads'() {
    const worker = new Worker('', { eval: true });
    await once(worker, 'exit');
  },
};
