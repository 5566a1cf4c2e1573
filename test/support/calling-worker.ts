// SPDX-License-Identifier: MIT
// A worker thread that makes system calls.
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import type { Hostile } from './hostile.js';

export class CallingWorker {
  readonly #worker: Worker;

  constructor(addon: string) {
    this.#worker = new Worker(fileURLToPath(import.meta.url), { workerData: addon });
  }

  async call(words: readonly bigint[]): Promise<number> {
    const answer = once(this.#worker, 'message') as Promise<[number]>;
    this.#worker.postMessage(words);
    return (await answer)[0];
  }
}

if (!isMainThread) {
  const hostile = createRequire(import.meta.url)(workerData as string) as Hostile;
  parentPort?.on('message', (words: bigint[]) => {
    parentPort?.postMessage(hostile.call(...words));
  });
}
