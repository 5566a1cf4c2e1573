// SPDX-License-Identifier: MIT
// Runs under "ulimit -n 64", does what the argument says, and writes what it
// saw as JSON. The test knows what it should have been.
import { openSync } from 'node:fs';
import { Descriptor, ExclusiveMemoryError, HandleChannel } from 'exclusive-memory';
import { openFiles } from './process.js';

async function outcome(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return 'fulfilled';
  } catch (error) {
    if (!(error instanceof ExclusiveMemoryError)) throw error;
    return `${error.code} ${error.syscall ?? ''} ${error.errno ?? ''}`.trim();
  }
}

/** Opens files until only `free` more can be opened. */
function useUp(free: number): Descriptor[] {
  const files: Descriptor[] = [];
  try {
    for (;;) files.push(new Descriptor(openSync('/dev/null', 'r')));
  } catch {
    for (let i = 0; i < free; i++) files.pop()?.close();
  }
  return files;
}

function free(files: Descriptor[]): void {
  for (const file of files) file.close();
}

const cases = {
  /** EMFILE: the connection waits, and is accepted as soon as that is possible. */
  async accept() {
    const listener = HandleChannel.listen(`\0exmem-limits-${process.pid}`);
    const client = await HandleChannel.connect(listener.path);
    const warm = await listener.accept();
    const second = await HandleChannel.connect(listener.path);
    const files = useUp(0);
    const results = [await outcome(listener.accept()), await outcome(listener.accept())];
    free(files);
    const third = listener.accept();
    results.push(await outcome(third));
    for (const one of [client, warm, second, await third]) one.close();
    results.push(await outcome(HandleChannel.connect(listener.path)));
    return results;
  },

  async receive(framing: 'seqpacket' | 'stream' | 'length-prefixed') {
    const [a, b] = HandleChannel.pair({ framing });
    const warm = b.receive();
    await a.send(Buffer.from('x'));
    await warm;
    await a.send(Buffer.from('many'), Array.from({ length: 100 }, () => 0));
    await a.send(Buffer.from('few'), [0, 1]);
    const files = useUp(10);
    const before = openFiles();
    const results: unknown[] = [];
    const exactly = () => (framing === 'stream' ? b.receiveExactly(4) : b.receive());
    results.push(await outcome(exactly()));
    results.push(openFiles() - before);
    const next = await b.receive();
    results.push(Buffer.from(next?.payload ?? []).toString(), next?.descriptors.length);
    next?.[Symbol.dispose]();
    free(files);
    return results;
  },

  /** A send that has to wait duplicates its descriptors. */
  async duplicate() {
    const [a, b] = HandleChannel.pair();
    const sends: Promise<void>[] = [];
    for (let i = 0; i < 50; i++) sends.push(a.send(new Uint8Array(10_000)));
    const files = useUp(2);
    const before = openFiles();
    const results: unknown[] = [await outcome(a.send(Buffer.from('x'), [0, 1, 2])), openFiles() - before];
    const last = a.send(Buffer.from('last'), [0, 1]);
    free(files);
    let count = 0;
    for (; count < 51; count++) (await b.receive())?.[Symbol.dispose]();
    await Promise.all([...sends, last]);
    return [...results, count];
  },

  /** More descriptors in flight than RLIMIT_NOFILE, for one who has no privileges. */
  async inFlight() {
    if (process.getuid?.() === 0) {
      process.setgroups?.([]);
      process.setgid?.(65534);
      process.setuid?.(65534);
    }
    const [a, b] = HandleChannel.pair();
    const results: string[] = [];
    for (let i = 0; i < 20 && results.at(-1) !== 'ETOOMANYREFS sendmsg -109'; i++) {
      results.push(await outcome(a.send(Buffer.from('x'), Array.from({ length: 20 }, () => 0))));
    }
    const sent = results.length - 1;
    // The channel still works, and so does this as soon as some were received.
    await a.send(Buffer.from('y'));
    for (let i = 0; i < sent; i++) (await b.receive())?.[Symbol.dispose]();
    const text = Buffer.from((await b.receive())?.payload ?? []).toString();
    return [sent > 1, results.at(-1), text, await outcome(a.send(Buffer.from('z'), [0]))];
  },
};

const [name, argument] = process.argv.slice(2) as [keyof typeof cases, never];
const before = openFiles();
const result = await cases[name](argument);
process.stdout.write(JSON.stringify({ result, left: openFiles() >= before }));
