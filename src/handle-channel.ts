// SPDX-License-Identifier: MIT
import { setTimeout as sleep } from 'node:timers/promises';
import { Descriptor, type DescriptorLike, fdOf } from './descriptor.js';
import { maxDescriptors } from './descriptor-passing.js';
import { misuse } from './errors.js';
import { createFraming, type Framing, type FramingName, isProtocolError, StreamFraming } from './framing.js';
import { HandleChannelListener } from './handle-channel-listener.js';
import {
  checkSettings,
  checkSignal,
  checkSocket,
  type ConnectOptions,
  type HandleChannelOptions,
  inheritedFd,
  type ListenOptions,
  type Settings,
  socketTypeOf,
  type TransferOptions,
} from './handle-channel-options.js';
import { Lifetime } from './lifetime.js';
import { OutgoingMessage } from './outgoing-message.js';
import { type Operation, PolledDescriptor } from './polled-descriptor.js';
import type { ReceivedMessage } from './received-message.js';
import { system } from './system.js';
import { bindPath, checkAddress, isAbstract } from './unix-address.js';
import { checkArray, checkBuffer, checkInteger, checkOptions, unexpected } from './validate.js';

/** The process at the other end, as the kernel noted it when the connection was made. */
export interface PeerCredentials {
  /**
   * The process that called connect(2), listen(2) or, for a pair, socketpair(2):
   * not who has the socket now. The number may belong to another process by
   * now. 0 if the process is in a PID namespace that cannot be seen from here.
   */
  readonly pid: number;
  /** Effective, as its own user namespace's numbers are seen from this one. */
  readonly uid: number;
  readonly gid: number;
}

/** Milliseconds between two tries to connect while the listener's queue is full. */
const firstRetryMs = 1;
const lastRetryMs = 50;

/**
 * One end of a connection over which processes send each other messages with
 * file descriptors: an AF_UNIX socket and SCM_RIGHTS, as in unix(7).
 *
 * ```ts
 * using listener = HandleChannel.listen('/run/app.sock');
 * for await (const channel of listener) {
 *   for await (const { payload, descriptors } of channel) { ... }
 * }
 * ```
 *
 * Nothing blocks: neither the event loop nor a thread of the pool. A transfer
 * that waits keeps the process running, an idle channel does not. Whoever
 * receives descriptors has to close them or pass them on; they are
 * close-on-exec. A channel that was forgotten is closed when it is collected.
 *
 * Methods throw or reject with {@link ExclusiveMemoryError}: what the kernel
 * said, with its errno, or `ERR_EXMEM_DISPOSED` once the channel is closed.
 */
export class HandleChannel implements Disposable, AsyncDisposable, AsyncIterable<ReceivedMessage> {
  readonly #lifetime = new Lifetime('HandleChannel');
  readonly #socket: PolledDescriptor;
  readonly #framing: Framing;
  /** Why nothing more can be received. */
  #protocolError: string | undefined;
  readonly framing: FramingName;

  private constructor(fd: number, { framing, maxPayloadBytes }: Settings) {
    this.framing = framing;
    this.#framing = createFraming(framing, maxPayloadBytes);
    this.#socket = new PolledDescriptor(fd);
  }

  /**
   * Connects to a listener.
   *
   * While the listener's queue is full it is tried again and again, until the
   * signal is aborted.
   *
   * @param path 1 to 107 bytes; an abstract address begins with `'\0'`.
   * @throws ExclusiveMemoryError `ENOENT`; `ECONNREFUSED` if nobody listens
   *   there; `EPROTOTYPE` if the listener has the other type of socket; `EACCES`
   *   without write permission.
   */
  static async connect(path: string, options: ConnectOptions = {}): Promise<HandleChannel> {
    const address = checkAddress(path, 'path');
    const settings = checkSettings(options);
    const signal = checkSignal(options.signal);
    signal?.throwIfAborted();
    using socket = new Descriptor(system.unixSocket(socketTypeOf(settings.framing)));
    let retryMs = firstRetryMs;
    while (!system.unixConnect(socket.fd, address)) {
      // poll(2) does not tell when there is room.
      await sleep(retryMs, undefined, { ...(signal && { signal }) }).catch(() => undefined);
      signal?.throwIfAborted();
      retryMs = Math.min(2 * retryMs, lastRetryMs);
    }
    return new HandleChannel(socket.release(), settings);
  }

  /**
   * Listens at `path`, or at an abstract address. A socket that was left there
   * by somebody who is gone is removed, and nothing else: not one that is
   * alive, not a file of another kind.
   *
   * @param path 1 to 107 bytes; an abstract address begins with `'\0'`.
   * @throws ExclusiveMemoryError `EADDRINUSE`; `ENOENT` or `EACCES` for the directory.
   */
  static listen(path: string, options: ListenOptions = {}): HandleChannelListener {
    checkAddress(path, 'path');
    const settings = checkSettings(options);
    const mode = checkInteger(options.mode ?? 0o600, 'mode', 0, 0o777);
    const backlog = checkInteger(options.backlog ?? 511, 'backlog', 0, 0x7fff_ffff);
    using socket = new Descriptor(system.unixSocket(socketTypeOf(settings.framing)));
    bindPath(socket.fd, path, mode);
    try {
      system.unixListen(socket.fd, backlog);
    } catch (error) {
      if (!isAbstract(path)) system.unlink(path);
      throw error;
    }
    return new HandleChannelListener(socket.release(), path, (fd) => new HandleChannel(fd, settings));
  }

  /**
   * Two ends that are connected to each other: one for this process, one for a
   * child, or for a worker thread.
   *
   * ```ts
   * const [here, there] = HandleChannel.pair();
   * spawn(program, { stdio: ['inherit', 'inherit', 'inherit', there.fd], env: { CHANNEL: '3' } });
   * there.close();
   * ```
   *
   * For a program that is no Node.js: the sockets are in blocking mode.
   */
  static pair(options: HandleChannelOptions = {}): readonly [HandleChannel, HandleChannel] {
    const settings = checkSettings(options);
    const [a, b] = system.socketPair(settings.framing === 'seqpacket');
    return [new HandleChannel(a, settings), new HandleChannel(b, settings)];
  }

  /**
   * Takes over a connected AF_UNIX socket. If this throws, it is still the caller's.
   *
   * @throws ExclusiveMemoryError `ERR_EXMEM_WRONG_DESCRIPTOR` if it is
   *   something else, or of a type that cannot have this framing; `EBADF`.
   */
  static fromFd(fd: number | Descriptor, options: HandleChannelOptions = {}): HandleChannel {
    const number = Descriptor.fdOf(fd, 'fd');
    const type = checkSocket(number);
    const settings = checkSettings(options, type);
    if (socketTypeOf(settings.framing) !== type) {
      throw misuse(
        'ERR_EXMEM_WRONG_DESCRIPTOR',
        `Expected a socket that fits framing '${settings.framing}' but file descriptor ${number} ` +
          `is of type '${type}'`,
      );
    }
    system.setCloseOnExec(number);
    return new HandleChannel(fd instanceof Descriptor ? fd.release() : number, settings);
  }

  /**
   * Takes over what this process was started with: see {@link pair}.
   *
   * @param source The number, or the name of the environment variable that has
   *   it. The variable is deleted: a child of this process does not have the descriptor.
   * @throws ExclusiveMemoryError `ERR_EXMEM_ARGUMENT` if there is no such
   *   variable; otherwise as {@link fromFd}.
   */
  static inherited(source: string | number, options: HandleChannelOptions = {}): HandleChannel {
    const channel = HandleChannel.fromFd(inheritedFd(source), options);
    if (typeof source === 'string') Reflect.deleteProperty(process.env, source);
    return channel;
  }

  /** The number, for calls that borrow it; this object stays its owner. */
  get fd(): number {
    this.#lifetime.check();
    return this.#socket.fd;
  }

  /** SO_PEERCRED. Also of a process that is gone. */
  get peer(): PeerCredentials {
    return system.peerCredentials(this.fd);
  }

  /**
   * SO_PEERPIDFD: a pidfd of the process that {@link peer} tells, which unlike
   * the number can never mean another one.
   *
   * @throws ExclusiveMemoryError `ENOPROTOOPT` before Linux 6.5; `ESRCH`,
   *   `EINVAL` or `ENODATA`, depending on the kernel, if the process is gone.
   */
  peerPidfd(): Descriptor {
    return new Descriptor(system.peerPidfd(this.fd));
  }

  /**
   * Sends a message, after all that were sent before. Fulfilled once the kernel
   * has all of it; until then the other end did not keep up, and whoever sends
   * more without waiting fills his own memory. When this method has returned,
   * the payload may be changed and the descriptors closed: what has to wait is
   * copied and duplicated.
   *
   * @param payload At most `maxPayloadBytes`; at least 1 but for
   *   `'length-prefixed'`. Never a secret: it is copied through the kernel.
   * @param descriptors At most 253. They stay open here.
   * @param options.signal An abort takes the message back and rejects with the
   *   signal's reason. If part of it is sent already, the rest is sent too.
   * @throws ExclusiveMemoryError `EPIPE` if the other end is closed or this one
   *   was ended; `ECONNRESET` if it was closed without reading everything;
   *   `EBADF`; `ETOOMANYREFS` if more descriptors are in flight than
   *   RLIMIT_NOFILE; `EMSGSIZE` (`'seqpacket'`) beyond the socket's buffer;
   *   `EMFILE` if it has to wait and a descriptor cannot be duplicated.
   */
  async send(
    payload: Uint8Array,
    descriptors: readonly DescriptorLike[] = [],
    options: TransferOptions = {},
  ): Promise<void> {
    checkBuffer(payload, 'payload');
    checkArray(descriptors, 'descriptors');
    checkInteger(descriptors.length, 'the number of descriptors', 0, maxDescriptors);
    const fds = descriptors.map((one, i) => fdOf(one, `descriptors[${i}]`));
    checkOptions(options, 'options');
    const signal = checkSignal(options.signal);
    const { minPayloadBytes, maxPayloadBytes } = this.#framing;
    checkInteger(payload.byteLength, 'the length of payload', minPayloadBytes, maxPayloadBytes);
    const bytes = this.#framing.encode(payload, fds.length);
    await this.#socket.whenWritable(new OutgoingMessage(this.fd, bytes, fds), signal);
  }

  /**
   * The next message; undefined once the other end has ended and everything it
   * sent was received. Several may wait, and are served in turn.
   *
   * @throws ExclusiveMemoryError `ERR_EXMEM_TRUNCATED` if the message has more
   *   descriptors than this process may open or (`'seqpacket'`) is too long: it
   *   is lost, its descriptors are closed, the next one can be received.
   *   `ERR_EXMEM_PROTOCOL` if the other end breaks the framing or ends within a
   *   message: the channel is closed. `ECONNRESET` if the other end was closed
   *   without reading everything: what it sent can still be received. The
   *   signal's reason when it is aborted; no message is lost by that.
   */
  async receive(options: TransferOptions = {}): Promise<ReceivedMessage | undefined> {
    checkOptions(options, 'options');
    const { fd } = this;
    return this.#receive({ attempt: () => this.#framing.read(fd) }, checkSignal(options.signal));
  }

  /**
   * For `'stream'`: exactly so many bytes, with the descriptors that come with
   * any of them; undefined if the other end has ended before the first. For
   * protocols that tell in a header how much follows. What an aborted call had
   * read is for the next one.
   *
   * @param byteLength 1 to `maxPayloadBytes`.
   * @throws ExclusiveMemoryError `ERR_EXMEM_PROTOCOL` if the other end ends
   *   after some of the bytes, or sends more than 253 descriptors with them:
   *   the channel is closed. Otherwise as {@link receive}.
   */
  async receiveExactly(
    byteLength: number,
    options: TransferOptions = {},
  ): Promise<ReceivedMessage | undefined> {
    const { fd } = this;
    const framing = this.#framing;
    if (!(framing instanceof StreamFraming)) {
      throw unexpected("a channel with framing 'stream'", 'receiveExactly()', this.framing);
    }
    checkInteger(byteLength, 'byteLength', 1, framing.maxPayloadBytes);
    checkOptions(options, 'options');
    return this.#receive(framing.readExactly(fd, byteLength), checkSignal(options.signal));
  }

  async #receive<T>(operation: Operation<T>, signal: AbortSignal | undefined): Promise<T> {
    const guarded: Operation<T> = {
      attempt: () => {
        // Others that wait must not take the middle of a message for its beginning.
        if (this.#protocolError) throw misuse('ERR_EXMEM_PROTOCOL', this.#protocolError);
        try {
          return operation.attempt();
        } catch (error) {
          if (isProtocolError(error)) this.#protocolError = error.message;
          throw error;
        }
      },
      withdraw: () => operation.withdraw?.(),
    };
    try {
      return await this.#socket.whenReadable(guarded, signal);
    } catch (error) {
      if (isProtocolError(error)) this.#close('closed, since the other end broke the framing,');
      throw error;
    }
  }

  /** Messages until the other end has ended. Leaving the loop does not close the channel. */
  async *[Symbol.asyncIterator](): AsyncGenerator<ReceivedMessage, undefined> {
    for (;;) {
      const message = await this.receive();
      if (!message) return undefined;
      yield message;
    }
  }

  /**
   * Ends one direction: shutdown(2), after all that were sent before. The other
   * end finds the end; what it sends can still be received.
   */
  async end(): Promise<void> {
    const { fd } = this;
    await this.#socket.whenWritable({
      attempt: () => {
        system.endSending(fd);
        return undefined;
      },
    });
  }

  /** A waiting transfer keeps the event loop going (the default), or does not. */
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
   * Gives the descriptor away; the caller has to close it.
   *
   * @throws ExclusiveMemoryError `ERR_EXMEM_BUSY` while a transfer waits, or
   *   part of a message was read.
   */
  release(): number {
    this.#lifetime.check();
    if (this.#socket.busy || this.#framing.midway) {
      throw misuse('ERR_EXMEM_BUSY', 'A message is on its way on this HandleChannel; await it first');
    }
    this.#lifetime.end('released');
    return this.#socket.release();
  }

  /**
   * close(2), at once: what was not yet given to the kernel is dropped, what
   * the kernel has still arrives, and every transfer that waits rejects with
   * `ERR_EXMEM_DISPOSED`. Idempotent.
   */
  close(): void {
    this.#close('closed');
  }

  #close(how: string): void {
    if (!this.#lifetime.end(how)) return;
    try {
      this.#socket.close(() =>
        misuse('ERR_EXMEM_DISPOSED', `This HandleChannel was ${how} before the transfer was complete`),
      );
    } finally {
      this.#framing[Symbol.dispose]();
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.close();
    return Promise.resolve();
  }
}
