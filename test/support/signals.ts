// SPDX-License-Identifier: MIT
// Runs signal-process.ts with signals.c.
import { spawnSync } from 'node:child_process';
import { programOfSupport } from './paths.js';
import { TestAddon } from './test-addon.js';

/** What a process came to. */
export interface Fate {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export class SignalProgram implements Disposable {
  readonly #addon = new TestAddon('signals');

  /** Does the steps, each a line of signal-process.ts, in a new process. */
  run(...steps: string[]): Fate {
    const { status, signal, stdout, stderr } = spawnSync(
      process.execPath,
      [programOfSupport('signal-process'), this.#addon.file, ...steps],
      { encoding: 'utf8', timeout: 120_000, killSignal: 'SIGKILL' },
    );
    return { status, signal, stdout, stderr };
  }

  [Symbol.dispose](): void {
    this.#addon[Symbol.dispose]();
  }
}
