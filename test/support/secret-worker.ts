// SPDX-License-Identifier: MIT
// A worker thread. With a descriptor: adopts it and posts the sum of the bytes.
// With `wait`: makes a secret, uses it without end, and waits for termination.
import { parentPort, workerData } from 'node:worker_threads';
import { Secret } from 'exclusive-memory';
import { policy } from './policy.js';

const { fd } = workerData as { fd?: number };

if (fd !== undefined) {
  using secret = Secret.fromHandle(fd);
  parentPort?.postMessage(secret.use((bytes) => bytes.reduce((sum, byte) => sum + byte, 0)));
} else {
  const secret = Secret.random(32, { policy });
  // What nothing refers to is collected, and closed, even in the middle of a use.
  Object.assign(globalThis, { secret });
  void secret.use(async (bytes) => {
    parentPort?.postMessage(bytes.byteLength);
    await new Promise(() => undefined);
  });
  setInterval(() => undefined, 1000);
}
