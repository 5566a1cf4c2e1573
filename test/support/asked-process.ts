// SPDX-License-Identifier: MIT
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

/** A program that answers each line of its standard input with a line. */
export class AskedProcess implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  readonly #ended: Promise<unknown>;

  /**
   * @param command The program and its arguments.
   * @param fd Its descriptor 3.
   */
  constructor(command: readonly [string, ...string[]], fd: number) {
    const [program, ...args] = command;
    this.#child = spawn(program, args, { stdio: ['pipe', 'pipe', 'inherit', fd] });
    this.#ended = once(this.#child, 'exit');
    const { stdout } = this.#child;
    if (!stdout) throw new Error('Expected a pipe');
    this.#answers = createInterface({ input: stdout })[Symbol.asyncIterator]();
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  async ask(question: string): Promise<string> {
    this.#child.stdin?.write(`${question}\n`);
    const answer = await this.#answers.next();
    if (answer.done) throw new Error(`Expected an answer to "${question}", but the program ended`);
    return answer.value;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.stdin?.end();
    await this.#ended;
  }
}
