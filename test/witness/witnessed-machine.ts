// SPDX-License-Identifier: MIT
// A virtual machine in which a keeper holds a secret, and through whose back its memory is read.

import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { setTimeout } from 'node:timers/promises';

import { findPieces } from './memory-image.js';
import { Qmp, QmpError } from './qmp.js';

const MEMORY_MIB = 512;
/** Where the kernel maps all of physical memory with nokaslr and no5lvl (Documentation/x86/x86_64/mm.rst). */
const DIRECT_MAP = 0xffff888000000000n;
const PAGE_SIZE = 4096;

export class WitnessedMachine implements AsyncDisposable {
  readonly #directory: string;
  readonly #process: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;
  #qmp: Qmp | undefined;

  /** @param keeper the program and its arguments */
  constructor(kernel: string, keeper: readonly string[]) {
    this.#directory = mkdtempSync(join(tmpdir(), 'exmem-witness-'));
    this.#process = spawn(
      process.execPath,
      [
        'test/vm/run.mjs',
        ...['--kernel', kernel, '--memory', String(MEMORY_MIB), '--qmp', this.#path('qmp')],
        // No block is kept, so that a page that is given up goes back to the system at once.
        ...['--append', 'nokaslr no5lvl', '--module-params', 'keep_blocks=0'],
        ...['--console', this.#path('console'), '--timeout', '240', '--', ...keeper],
      ],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    );
    this.#lines = createInterface({ input: this.#process.stdout })[Symbol.asyncIterator]();
  }

  #path(name: string): string {
    return join(this.#directory, name);
  }

  async qmp(): Promise<Qmp> {
    this.#qmp ??= await Qmp.connect(this.#path('qmp'));
    return this.#qmp;
  }

  /** What the keeper says next: the word that begins the line, and what follows. */
  async line(): Promise<[word: string, rest: string]> {
    const line = await this.#lines.next();
    if (line.done === true) {
      throw new Error('the keeper is gone');
    }
    const [word = '', rest = ''] = line.value.split(' ');
    return [word, rest];
  }

  /** The bytes that the keeper tells inverted. */
  async told(name: string): Promise<Buffer> {
    const [word, hex] = await this.line();
    if (word !== name) {
      throw new Error(`Expected the keeper to tell "${name}", received "${word}"`);
    }
    return Buffer.from(hex, 'hex').map((byte) => ~byte) as Buffer;
  }

  /** Lets the keeper go on. */
  proceed(): void {
    this.#process.stdin.write('\n');
  }

  /** Waits until the kernel's log has a text. */
  async logged(text: string): Promise<void> {
    while (!readFileSync(this.#path('console'), 'utf8').includes(text)) {
      await setTimeout(200);
    }
  }

  /** Which physical pages hold pieces of the secrets; the machine stands still meanwhile. */
  async find(...secrets: Buffer[]): Promise<Map<number, number>[]> {
    const qmp = await this.qmp();
    const image = this.#path('memory');
    const { running } = (await qmp.execute('query-status')) as { running: boolean };
    if (running) {
      await qmp.execute('stop');
    }
    await qmp.execute('pmemsave', { val: 0, size: MEMORY_MIB << 20, filename: image });
    if (running) {
      await qmp.execute('cont');
    }
    return secrets.map((secret) => findPieces(image, secret));
  }

  /** Reads a physical page at its address in the kernel's direct map, or tells why that cannot be read. */
  async readDirectMap(page: number): Promise<Buffer | string> {
    const qmp = await this.qmp();
    const file = this.#path('page');
    // JSON knows no integers of 64 bits: QEMU takes the address as a signed number that a double cannot hold exactly
    // in general, but can for a page's.
    const address = Number(BigInt.asIntN(64, DIRECT_MAP + BigInt(page)));
    try {
      await qmp.execute('memsave', { val: address, size: PAGE_SIZE, filename: file });
    } catch (error) {
      if (error instanceof QmpError) {
        return error.message;
      }
      throw error;
    }
    return readFileSync(file);
  }

  /** The machine's exit status. */
  async status(): Promise<number | null> {
    this.#process.stdin.end();
    if (this.#process.exitCode === null) {
      await once(this.#process, 'exit');
    }
    return this.#process.exitCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#qmp?.[Symbol.asyncDispose]();
    if (this.#process.exitCode === null && this.#process.kill()) {
      await once(this.#process, 'exit');
    }
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
