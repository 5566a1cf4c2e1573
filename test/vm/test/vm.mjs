// SPDX-License-Identifier: MIT
// Starts the runner, as a user does, and collects what comes of it.

import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

export const RUNNER = fileURLToPath(new URL('../run.mjs', import.meta.url));

/**
 * @param {string[]} args
 * @param {{ input?: Buffer | string, cwd?: string, env?: NodeJS.ProcessEnv }} [options] without input, standard input is at its end
 */
export function startVm(args, { input = '', cwd, env } = {}) {
  const child = spawn(process.execPath, [RUNNER, ...args], { cwd, env: { ...process.env, ...env } });
  /** @type {Buffer[]} */
  const stdout = [];
  /** @type {Buffer[]} */
  const stderr = [];
  child.stdout.on('data', (/** @type {Buffer} */ data) => stdout.push(data));
  child.stderr.on('data', (/** @type {Buffer} */ data) => stderr.push(data));
  // A machine that goes down has no use for the rest.
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  /** @type {Promise<{ status: number | null, signal: NodeJS.Signals | null, stdout: Buffer, stderr: string }>} */
  const result = new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (status, signal) => {
      resolve({ status, signal, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString() });
    });
  });
  return { child, result };
}

/** @param {Parameters<typeof startVm>} args */
export const vm = (...args) => startVm(...args).result;
