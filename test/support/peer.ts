// SPDX-License-Identifier: MIT
// Another process, which does what the test tells it with what the test sends it.
import { fork, type Serializable } from 'node:child_process';
import { once } from 'node:events';

import { type Descriptor, socketPair } from 'exclusive-memory';
import { programOfSupport } from './paths.js';
import type { Answer, Command } from './peer-process.js';

/** One that understands `Request`. */
export class Peer<Request extends Serializable = Command> implements AsyncDisposable {
  readonly #child;
  /** This end of a socket; the peer has the other. */
  readonly socket: Descriptor;

  constructor(program = 'peer-process') {
    const [here, there] = socketPair();
    this.socket = here;
    this.#child = fork(programOfSupport(program), { stdio: ['ignore', 'inherit', 'inherit', there.fd, 'ipc'] });
    there.close();
  }

  /** The answer, or the error's code and system call: "EBUSY mmap". */
  async do(command: Request): Promise<string> {
    const answer = this.next();
    this.#child.send(command);
    return await answer;
  }

  /** What it says next, without being told. */
  async next(): Promise<string> {
    const [answer] = (await once(this.#child, 'message')) as [Answer];
    return answer;
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }

  /** Resolves when it is gone. */
  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, 'exit');
    this.kill();
    await gone;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.close();
    await this.end();
  }
}
