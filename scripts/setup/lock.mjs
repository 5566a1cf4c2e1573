// SPDX-License-Identifier: MIT
// Two commands started at once must not do the same set-up at once. The lock is flock(1)'s, so it
// goes away with its holder, however that ends.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import path from 'node:path';

const PATIENCE_MS = 2000;

/**
 * @template T
 * @param {string} file
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function withLock(file, work) {
  mkdirSync(path.dirname(file), { recursive: true });
  const holder = spawn('flock', [file, 'sh', '-c', 'echo locked && exec cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    // Ctrl-C is for the work; the holder follows when its input ends.
    detached: true,
  });
  const closed = once(holder, 'close');
  const patience = setTimeout(() => {
    process.stderr.write(`Waiting for another set-up, which holds ${file} ...\n`);
  }, PATIENCE_MS);
  await once(holder.stdout, 'data');
  clearTimeout(patience);
  try {
    return await work();
  } finally {
    holder.stdin.end();
    await closed;
  }
}
