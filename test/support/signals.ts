// SPDX-License-Identifier: MIT
// Builds signals.c, and runs signal-process.ts with it.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { programOfSupport, sourceOfSupport } from './paths.js';

/** What a process came to. */
export interface Fate {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export class SignalProgram implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), 'exmem-'));
  readonly #addon = join(this.#folder, 'signals.node');

  constructor() {
    const { include_dir: headers } = createRequire(import.meta.url)('node-api-headers') as {
      include_dir: string;
    };
    execFileSync('c++', [
      ...['-x', 'c', '-shared', '-fPIC', '-O1', '-Wall', '-Wextra', '-Werror', `-I${headers}`],
      ...[sourceOfSupport('signals.c'), '-o', this.#addon],
    ]);
  }

  /** Does the steps, each a line of signal-process.ts, in a new process. */
  run(...steps: string[]): Fate {
    const { status, signal, stdout, stderr } = spawnSync(
      process.execPath,
      [programOfSupport('signal-process'), this.#addon, ...steps],
      { encoding: 'utf8', timeout: 120_000, killSignal: 'SIGKILL' },
    );
    return { status, signal, stdout, stderr };
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true });
  }
}
