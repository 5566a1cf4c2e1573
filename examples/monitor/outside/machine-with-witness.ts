// SPDX-License-Identifier: MIT
// A virtual machine in which the monitor runs, and through whose back its memory
// is read.
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { encodeMessage, MessageFilter } from '../side-channel.js';
import { isWitnessRequest, type Sight } from '../sight.js';
import { Witness } from './witness.js';

const memoryMib = 768;
const timeoutSeconds = 900;
const monitor = 'build/ts/examples/monitor/main.js';

/**
 * QEMU's emulated SVM now and then kills or hangs a guest, on ordinary memory
 * too (75, of ../main.ts), or stops for good itself (124, of test/vm/run.mjs).
 * That, and nothing else, is worth another try.
 */
export const isEmulatorFailure = (status: number) => status === 75 || status === 124;

export interface MachineEvents {
  /** What the monitor and its guest show. */
  readonly onOutput: (bytes: Uint8Array) => void;
  readonly onSight?: (sight: Sight) => void;
}

export class MachineWithWitness implements AsyncDisposable {
  readonly #folder = mkdtempSync(join(tmpdir(), 'exmem-monitor-'));
  readonly #witness = new Witness({ folder: this.#folder, memoryBytes: memoryMib << 20 });
  readonly #token = randomBytes(16).toString('hex');
  readonly #events: MachineEvents;
  readonly #process: ChildProcessByStdio<Writable, Readable, null>;
  readonly #closed: Promise<unknown>;
  /** A look that runs. */
  #looking: Promise<void> = Promise.resolve();

  /** @param args of the monitor */
  constructor(args: readonly string[], events: MachineEvents) {
    this.#events = events;
    this.#process = spawn(
      process.execPath,
      [
        'test/vm/run.mjs',
        ...['--one-thread', '--memory', String(memoryMib), '--timeout', String(timeoutSeconds)],
        ...['--qmp', join(this.#folder, 'qmp'), '--append', 'nokaslr no5lvl'],
        ...['--', 'node', monitor, ...args],
      ],
      { stdio: ['pipe', 'pipe', 'inherit'], env: { ...process.env, EXMEM_WITNESS: this.#token } },
    );
    this.#closed = once(this.#process, 'close');
    const filter = new MessageFilter((message) => {
      if (isWitnessRequest(message, this.#token)) this.#looking = this.#look(message);
    });
    this.#process.stdout.on('data', (chunk: Buffer) => { events.onOutput(filter.push(chunk)); });
    this.#process.stdin.on('error', () => undefined); // it is gone: status() says so
  }

  /** For whoever is at the monitor's terminal. */
  type(bytes: Uint8Array): void {
    this.#process.stdin.write(bytes);
  }

  kill(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  /** The monitor's, or what test/vm/run.mjs has instead. */
  async status(): Promise<number> {
    await this.#closed;
    await this.#looking;
    return this.#process.exitCode ?? 1;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill();
    await this.#closed;
    await this.#witness[Symbol.asyncDispose]();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  async #look(request: Parameters<Witness['look']>[0]): Promise<void> {
    const sight = await this.#witness.look(request);
    this.#events.onSight?.(sight);
    this.#process.stdin.write(encodeMessage(sight));
  }
}
