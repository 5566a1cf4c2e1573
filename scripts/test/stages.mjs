// SPDX-License-Identifier: MIT
// Runs commands one after the other, all of them whatever becomes of one, and sums up.

import { runChild } from '../run-child.mjs';
import { elapsed } from '../setup/progress.mjs';

/**
 * @typedef {object} Again when to run a command once more
 * @property {number} status after this one only
 * @property {number} times at most
 */

export class Stages {
  /** @type {{ passed: boolean, line: string }[]} */
  #results = [];

  /**
   * @param {string} name
   * @param {string[]} command
   * @param {NodeJS.ProcessEnv} [env]
   * @param {Again} [again]
   * @returns {Promise<boolean>} whether it passed
   */
  async run(name, command, env = {}, again = { status: 0, times: 0 }) {
    process.stderr.write(`\n=== ${name}\n`);
    const started = performance.now();
    let status = await runChild(command, { env, stdin: 'ignore' });
    for (let times = again.times; times > 0 && status === again.status; times--) {
      process.stderr.write(`\n=== ${name}, again after status ${status}\n`);
      status = await runChild(command, { env, stdin: 'ignore' });
    }
    const passed = status === 0;
    const outcome = passed ? 'passed' : `FAILED with status ${status}`;
    this.#results.push({ passed, line: `${passed ? '✓' : '✗'} ${name}: ${outcome} (${elapsed(started)})` });
    return passed;
  }

  /**
   * Prints one line for each stage.
   *
   * @param {string} title
   * @returns {number} an exit status
   */
  finish(title) {
    process.stderr.write(`\n=== ${title}\n${this.#results.map(({ line }) => `${line}\n`).join('')}`);
    return this.#results.every(({ passed }) => passed) ? 0 : 1;
  }
}

/**
 * The command that runs mocha on some files.
 *
 * @param {string[]} files or patterns
 */
export const mocha = (...files) => ['node', 'node_modules/mocha/bin/mocha.js', ...files];
