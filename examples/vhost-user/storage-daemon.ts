// SPDX-License-Identifier: MIT
// QEMU's own device emulation process, as Debian packages it.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';

/** How a process ended: its status, or the signal. */
export type Ending = number | NodeJS.Signals;

export class StorageDaemon implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly ended: Promise<Ending>;
  readonly socket: string;

  private constructor(child: ChildProcess, socket: string) {
    this.#child = child;
    this.socket = socket;
    this.ended = once(child, 'exit').then(([status, signal]: unknown[]) => (signal ?? status) as Ending);
  }

  /** Exports `disk`, a raw file, at a socket in `folder`. */
  static async start(disk: string, folder: string): Promise<StorageDaemon> {
    const socket = `${folder}/vhost-user-${process.hrtime.bigint()}.sock`;
    const child = spawn(
      'qemu-storage-daemon',
      [
        '--blockdev', `driver=file,node-name=disk,filename=${disk}`,
        '--export', `type=vhost-user-blk,id=export,node-name=disk,writable=on,addr.type=unix,addr.path=${socket}`,
      ],
      { stdio: ['ignore', 'inherit', 'inherit'] },
    );
    const daemon = new StorageDaemon(child, socket);
    await once(child, 'spawn');
    while (!existsSync(socket)) {
      if (child.exitCode !== null) throw new Error(`qemu-storage-daemon ended with status ${child.exitCode}`);
      await sleep(10);
    }
    return daemon;
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill();
    await this.ended;
  }
}
