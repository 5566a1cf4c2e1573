// SPDX-License-Identifier: MIT
// Does what its arguments say, one after the other, and prints what came of it.
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import { programOfSupport } from './paths.js';

interface Signals {
  install(signal: string, kind: string): void;
  fault(signal: string): void;
  jump(bytes: Uint8Array): void;
}

/** What the types of Node.js 20 leave out. */
const { WebAssembly } = globalThis as unknown as {
  WebAssembly: {
    Module: new (bytes: Uint8Array) => object;
    Instance: new (module: object) => { exports: Record<string, () => number> };
    RuntimeError: new () => Error;
  };
};

const [addon = '', ...steps] = process.argv.slice(2);
const signals = createRequire(import.meta.url)(addon) as Signals;

/** `load()` reads a byte at 64 MiB, where one page of memory ends long before. */
const outOfBounds = Uint8Array.of(
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00], // magic, version
  ...[0x01, 0x05, 0x01, 0x60, 0x00, 0x01, 0x7f], // type: () => i32
  ...[0x03, 0x02, 0x01, 0x00], // one function
  ...[0x05, 0x03, 0x01, 0x00, 0x01], // memory: one page
  ...[0x07, 0x08, 0x01, 0x04, 0x6c, 0x6f, 0x61, 0x64, 0x00, 0x00], // export it as "load"
  ...[0x0a, 0x0c, 0x01, 0x0a, 0x00, 0x41, 0x80, 0x80, 0x80, 0x20, 0x2d, 0x00, 0x00, 0x0b],
);

function trap(): string {
  const { load } = new WebAssembly.Instance(new WebAssembly.Module(outOfBounds)).exports;
  try {
    return String(load?.());
  } catch (error) {
    return error instanceof WebAssembly.RuntimeError ? error.message : String(error);
  }
}

// Not before it is wanted: then a worker can be the first thread to load the addon.
const lossyFile = () => import('./lossy-file.js');

async function jump(): Promise<void> {
  const { LossyFile } = await lossyFile();
  using file = new LossyFile(4096);
  using handle = file.handle();
  handle.access({ offset: 0, size: 4096 }, (bytes) => {
    signals.jump(bytes);
  });
}

/** Reads what nobody takes away. */
async function use(): Promise<void> {
  const { LossyFile } = await lossyFile();
  using file = new LossyFile(4096);
  using handle = file.handle();
  handle.access({ offset: 0, size: 4096 }, (bytes) => bytes[0]);
}

for (const step of steps) {
  const [verb = '', signal = '', kind = ''] = step.split(':');
  let result: string | undefined = 'done';
  switch (verb) {
    case 'install':
      signals.install(signal, kind);
      break;
    case 'fault':
      signals.fault(signal);
      break;
    case 'send':
      process.kill(process.pid, signal);
      break;
    case 'listen':
      process.on(signal, () => undefined);
      break;
    case 'use':
      await use();
      break;
    case 'lose':
      result = (await lossyFile()).losePage();
      break;
    case 'lose in worker': {
      const worker = new Worker(programOfSupport('losing-worker'), { workerData: {} });
      [result] = (await once(worker, 'message')) as [string];
      await once(worker, 'exit');
      break;
    }
    case 'trap':
      result = trap();
      break;
    case 'jump':
      await jump();
      break;
    default:
      throw new Error(`no such step: ${step}`);
  }
  process.stdout.write(`${result}\n`);
}
// Warnings are printed on a later turn of the event loop.
setImmediate(() => process.exit(0));
