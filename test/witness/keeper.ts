// SPDX-License-Identifier: MIT
// What keeper.c does, by the public API: a random page in exclusive memory and one in ordinary memory, told inverted.

import { randomFillSync } from 'node:crypto';
import { createInterface } from 'node:readline';

import { Secret } from 'exclusive-memory';

const SIZE = 4096;

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Byte by byte, through numbers: there is never a copy. */
function printInverted(name: string, bytes: Uint8Array): void {
  const inverted = new Uint8Array(SIZE);
  for (let i = 0; i < SIZE; i++) {
    inverted[i] = ~(bytes[i] ?? 0);
  }
  process.stdout.write(`${name} ${Buffer.from(inverted).toString('hex')}\n`);
}

const control = randomFillSync(Buffer.alloc(SIZE));
printInverted('control', control);

const secret = Secret.random(SIZE);
await secret.use(async (bytes) => {
  printInverted('secret', bytes);
  await lines.next();
});
secret[Symbol.dispose]();
process.stdout.write('destroyed\n');
await lines.next();
process.exit(control.length === SIZE ? 0 : 1);
