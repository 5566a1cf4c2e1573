// SPDX-License-Identifier: MIT
// QEMU's machine protocol, as much of it as a witness needs.

import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { createInterface } from 'node:readline';

interface Reply {
  return?: unknown;
  error?: { class: string; desc: string };
  event?: string;
}

/** QEMU refused a command. */
export class QmpError extends Error {}

export class Qmp implements AsyncDisposable {
  readonly #socket: Socket;
  readonly #lines: AsyncIterator<string>;
  readonly #events = new Set<string>();

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  }

  static async connect(path: string): Promise<Qmp> {
    const socket = connect(path);
    await once(socket, 'connect');
    const qmp = new Qmp(socket);
    await qmp.#next(); // the greeting
    await qmp.execute('qmp_capabilities');
    return qmp;
  }

  async #next(): Promise<Reply> {
    const line = await this.#lines.next();
    if (line.done === true) {
      throw new QmpError('the machine is gone');
    }
    const reply = JSON.parse(line.value) as Reply;
    if (reply.event !== undefined) {
      this.#events.add(reply.event);
    }
    return reply;
  }

  async execute(command: string, args: Record<string, unknown> = {}): Promise<unknown> {
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    for (;;) {
      const reply = await this.#next();
      if (reply.error !== undefined) {
        throw new QmpError(reply.error.desc);
      }
      if ('return' in reply) {
        return reply.return;
      }
    }
  }

  async event(name: string): Promise<void> {
    while (!this.#events.delete(name)) {
      await this.#next();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#socket.closed) {
      this.#socket.destroy();
      await once(this.#socket, 'close');
    }
  }
}
