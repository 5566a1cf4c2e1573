// SPDX-License-Identifier: MIT
// Holds the secret that comes on descriptor 3, uses it in every way there is,
// says "ready", and waits. The tests look into its memory meanwhile.
import { writeHeapSnapshot } from 'node:v8';
import { format, inspect } from 'node:util';
import { Secret } from 'exclusive-memory';
import { policy } from './policy.js';

/** `careless` makes the copies that the tests must be able to find. */
const [mode, snapshotFile] = process.argv.slice(2);
const kept: unknown[] = [];

const secret = await Secret.fromFd(3, { policy });
const other = Secret.random(secret.byteLength, { policy });

let sum = 0;
secret.use((bytes) => {
  for (const byte of bytes) sum += byte;
});
await secret.use(async (bytes) => {
  await Promise.resolve();
  sum += bytes.indexOf(0);
});
other.use((to) => {
  secret.use((from) => {
    to.set(from);
  });
});
sum += Number(secret.equals(other));
kept.push(`${String(secret)} ${inspect(secret)} ${format('%s %o %j', secret, secret, secret)}`);
kept.push(JSON.stringify(secret), structuredClone(secret), sum, secret, other);
if (mode === 'careless') kept.push(secret.use((bytes) => Buffer.from(bytes).toString('latin1')));

// In use, so that they are mapped when somebody looks.
const untilTheEnd = () => new Promise<never>(() => undefined);
void secret.use(untilTheEnd);
void other.use(untilTheEnd);
if (snapshotFile !== undefined) writeHeapSnapshot(snapshotFile);
process.send?.('ready');
setInterval(() => kept.length, 1000);
