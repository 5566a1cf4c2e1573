// SPDX-License-Identifier: MIT
// Native code for a test, built when it is needed.
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sourceOfSupport } from './paths.js';

/** A Node-API addon made of one C file of test/support/. */
export class TestAddon implements Disposable {
  readonly #folder = mkdtempSync(join(tmpdir(), 'exmem-'));
  readonly file: string;

  constructor(name: string) {
    // Also for a process that becomes another user.
    chmodSync(this.#folder, 0o755);
    this.file = join(this.#folder, `${name}.node`);
    const { include_dir: headers } = createRequire(import.meta.url)('node-api-headers') as {
      include_dir: string;
    };
    execFileSync('c++', [
      ...['-x', 'c', '-shared', '-fPIC', '-O1', '-Wall', '-Wextra', '-Werror', `-I${headers}`],
      ...[sourceOfSupport(`${name}.c`), '-o', this.file],
    ]);
  }

  [Symbol.dispose](): void {
    rmSync(this.#folder, { recursive: true });
  }
}
