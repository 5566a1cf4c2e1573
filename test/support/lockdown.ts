// SPDX-License-Identifier: MIT
// Runs lockdown-process.ts with hostile.c.
import { spawnSync } from 'node:child_process';
import { TestAddon } from './test-addon.js';
import type { Step } from './lockdown-steps.js';
import { programOfSupport } from './paths.js';

export interface LockedProcess {
  /** What came of each step, up to the last one that ended. */
  readonly results: readonly unknown[];
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class LockdownProgram implements Disposable {
  readonly #addon = new TestAddon('hostile');

  /** Does the steps in a new process. */
  run(...steps: readonly Step[]): LockedProcess {
    const { status, signal, stdout, stderr } = spawnSync(
      process.execPath,
      [programOfSupport('lockdown-process'), this.#addon.file, JSON.stringify(steps)],
      { encoding: 'utf8', timeout: 120_000, killSignal: 'SIGKILL', maxBuffer: 64 * 1024 * 1024 },
    );
    if (stderr !== '') console.error(stderr);
    const results = stdout.split('\n').filter(Boolean).map((line) => JSON.parse(line) as unknown);
    return { results, status, signal };
  }

  [Symbol.dispose](): void {
    this.#addon[Symbol.dispose]();
  }
}
