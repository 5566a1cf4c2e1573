// SPDX-License-Identifier: MIT
import { ExclusiveMemoryError } from './errors.js';
import { system } from './system.js';

const fatalSignals = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT'] as const;

/**
 * A terminal without echo until it is disposed, and not a moment longer, even
 * if the process exits or a signal ends it meanwhile. (Against SIGKILL nothing
 * helps but "stty sane".)
 */
export class MutedTerminal implements Disposable {
  readonly #fd: number;
  readonly #before: Uint8Array;

  constructor(fd: number) {
    this.#fd = fd;
    this.#before = system.muteTerminal(fd);
    process.on('exit', this.#restore);
    for (const signal of fatalSignals) process.on(signal, this.#die);
  }

  readonly #restore = (): void => {
    try {
      // The Enter key had no echo either.
      system.write(this.#fd, '\n');
      system.restoreTerminal(this.#fd, this.#before);
    } catch (error) {
      // A terminal that hung up needs no restoring.
      if (!(error instanceof ExclusiveMemoryError) || error.code !== 'EIO') throw error;
    }
  };

  readonly #die = (signal: NodeJS.Signals): void => {
    this[Symbol.dispose]();
    // A listener of the program's own decides; otherwise the signal does what
    // it does by default.
    if (process.listenerCount(signal) === 0) process.kill(process.pid, signal);
  };

  [Symbol.dispose](): void {
    process.off('exit', this.#restore);
    for (const signal of fatalSignals) process.off(signal, this.#die);
    this.#restore();
  }
}
