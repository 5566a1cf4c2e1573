// SPDX-License-Identifier: MIT

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:os';

import { root } from './setup/paths.mjs';

/**
 * Runs a command on our own streams and gives its status as a shell would.
 *
 * @param {string[]} command
 * @param {{ env?: NodeJS.ProcessEnv, stdin?: 'inherit' | 'ignore' }} [options] env: in addition to the present one
 * @returns {Promise<number>}
 */
export async function runChild([program = '', ...args], { env = {}, stdin = 'inherit' } = {}) {
  const child = spawn(program === 'node' ? process.execPath : program, args, {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: [stdin, 'inherit', 'inherit'],
  });
  // Keys reach the child too, and it decides; a signal to us alone has to be passed on.
  const ignore = () => undefined;
  /** @param {NodeJS.Signals} signal */
  const passOn = (signal) => { child.kill(signal); };
  process.on('SIGINT', ignore);
  process.on('SIGTERM', passOn);
  try {
    await once(child, 'close');
  } finally {
    process.off('SIGINT', ignore);
    process.off('SIGTERM', passOn);
  }
  if (child.signalCode === 'SIGINT') {
    // The user wants all of it to end, not only the child.
    process.kill(process.pid, 'SIGINT');
  }
  return child.signalCode === null ? (child.exitCode ?? 1) : 128 + constants.signals[child.signalCode];
}
