// SPDX-License-Identifier: MIT
import { resolve } from 'node:path';
import { misuse } from './errors.js';
import type { HandleChannel } from './handle-channel.js';
import { checkSignal, type TransferOptions } from './handle-channel-options.js';
import { Lifetime } from './lifetime.js';
import { notReady, PolledDescriptor } from './polled-descriptor.js';
import { system } from './system.js';
import { isAbstract } from './unix-address.js';
import { checkOptions } from './validate.js';

/**
 * A socket that accepts connections; {@link HandleChannel.listen} makes it.
 *
 * A loop over it ends when it is closed; leaving the loop does not close it.
 * It keeps the event loop going while somebody waits for a connection.
 */
export class HandleChannelListener implements Disposable, AsyncDisposable, AsyncIterable<HandleChannel> {
  readonly #lifetime = new Lifetime('HandleChannelListener');
  readonly #socket: PolledDescriptor;
  readonly #makeChannel: (fd: number) => HandleChannel;
  readonly #file: { readonly path: string; readonly dev: bigint; readonly ino: bigint } | undefined;
  /** As it was given to `listen()`. */
  readonly path: string;

  /** @internal Takes over `fd`, which listens at `path`. */
  constructor(fd: number, path: string, makeChannel: (fd: number) => HandleChannel) {
    this.#makeChannel = makeChannel;
    this.path = path;
    const found = isAbstract(path) ? undefined : system.lstat(path);
    // The working directory may be another when it is closed.
    if (found) this.#file = { path: resolve(path), dev: found.dev, ino: found.ino };
    this.#socket = new PolledDescriptor(fd);
  }

  /**
   * The next connection. Several may wait, and are served in turn.
   *
   * @throws ExclusiveMemoryError `EMFILE` or `ENFILE` if there is no descriptor
   *   left for it (the connection goes on waiting, and the next call may have
   *   it); `ERR_EXMEM_DISPOSED` when the listener is closed. The signal's
   *   reason when it is aborted; no connection is lost by that.
   */
  async accept(options: TransferOptions = {}): Promise<HandleChannel> {
    checkOptions(options, 'options');
    const signal = checkSignal(options.signal);
    this.#lifetime.check();
    const attempt = () => {
      const fd = system.tryAccept(this.#socket.fd);
      return fd < 0 ? notReady : this.#makeChannel(fd);
    };
    return this.#socket.whenReadable({ attempt }, signal);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<HandleChannel, undefined> {
    for (;;) {
      let channel;
      try {
        channel = await this.accept();
      } catch (error) {
        if (this.#lifetime.over) return undefined;
        throw error;
      }
      yield channel;
    }
  }

  /** A waiting `accept()` keeps the event loop going (the default), or does not. */
  ref(): this {
    this.#lifetime.check();
    this.#socket.ref();
    return this;
  }

  unref(): this {
    this.#lifetime.check();
    this.#socket.unref();
    return this;
  }

  /**
   * Ends it: the path is removed (unless something else is there meanwhile),
   * who waits in `accept()` is told, who waits to be accepted gets ECONNRESET.
   * Channels that were accepted live on. Idempotent.
   */
  close(): void {
    if (!this.#lifetime.end('closed')) return;
    try {
      this.#removeFile();
    } finally {
      this.#socket.close(() =>
        misuse('ERR_EXMEM_DISPOSED', 'This HandleChannelListener was closed and accepts no more'),
      );
    }
  }

  /** First of all: as long as the socket is open, no other process takes the path for a stale one. */
  #removeFile(): void {
    if (!this.#file) return;
    const { path, dev, ino } = this.#file;
    const found = system.lstat(path);
    if (found?.dev === dev && found.ino === ino) system.unlink(path);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.close();
    return Promise.resolve();
  }
}
