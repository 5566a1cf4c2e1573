// SPDX-License-Identifier: MIT
// Another process, which does what the test tells it with what the test sends it.
import { fork } from 'node:child_process';
import { once } from 'node:events';

import { type Descriptor, socketPair } from 'exclusive-memory';
import { programOfSupport } from './paths.js';
import type { Answer, Command } from './peer-process.js';

const program = programOfSupport('peer-process');

export class Peer implements AsyncDisposable {
  readonly #child;
  /** This end of a socket; the peer has the other. */
  readonly socket: Descriptor;

  constructor() {
    const [here, there] = socketPair();
    this.socket = here;
    this.#child = fork(program, { stdio: ['ignore', 'inherit', 'inherit', there.fd, 'ipc'] });
    there.close();
  }

  /** The answer, or the error's code and system call: "EBUSY mmap". */
  async do(command: Command): Promise<string> {
    const answered = once(this.#child, 'message');
    this.#child.send(command);
    const [answer] = (await answered) as [Answer];
    return answer;
  }

  /** The signal that ends the peer while it does `command`, which it must not survive. */
  async dieOf(command: Command): Promise<string | null> {
    const gone = once(this.#child, 'exit');
    this.#child.send(command);
    const [, signal] = (await gone) as [number | null, string | null];
    return signal;
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.close();
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, 'exit');
    this.kill();
    await gone;
  }
}
