// SPDX-License-Identifier: MIT
import { inspect } from 'node:util';
import { checkPolicy, type Policy } from './backend.js';
import { Descriptor } from './descriptor.js';
import { sendDescriptors } from './descriptor-passing.js';
import { misuse } from './errors.js';
import type { BackendName } from './guarantees.js';
import { LentBytes, transferred } from './lent-bytes.js';
import { Lifetime } from './lifetime.js';
import { type Loan, Memory } from './memory.js';
import { promptSecret } from './prompt.js';
import { readSecret } from './secret-reader.js';
import { system } from './system.js';
import { untilOver } from './until-over.js';
import {
  checkFunction,
  checkInteger,
  checkOptions,
  checkSize,
  checkString,
  unexpected,
} from './validate.js';

export interface SecretOptions {
  /**
   * `'require'`, the default: memory of the kernel module, or an error.
   * `'prefer'`: where there is no module, memory of memfd_secret(2), with one
   * process warning (`EXMEM_FALLBACK`). Never anything weaker.
   */
  readonly policy?: Policy;
}

export interface ReadOptions extends SecretOptions {
  /** The longest input that is accepted, in bytes. Default: 1 MiB. */
  readonly maxBytes?: number;
  /** Ends the waiting for input, at most 50 ms later. */
  readonly signal?: AbortSignal;
}

export interface PromptOptions extends SecretOptions {
  /** Written to the terminal first. */
  readonly message: string;
  /** A terminal. Default: the controlling terminal of the process, /dev/tty. */
  readonly fd?: number;
  /** Ends the prompt, at most 50 ms later. */
  readonly signal?: AbortSignal;
}

/** The descriptor behind a secret, which stays the secret's: what a memory view maps. */
export let descriptorOf: (secret: Secret) => Descriptor;

/**
 * Bytes that live in exclusive memory only: outside the kernel's direct map,
 * unreadable for every other process, and never on the JavaScript heap.
 *
 * It is mapped only while {@link use} lends it, and JavaScript reaches it there
 * alone.
 *
 * It cannot be cloned or posted. {@link sendTo} and {@link release} move it to
 * another process, or to another thread by the number of its descriptor.
 */
export class Secret implements Disposable {
  /** Its length in bytes; the memory behind it is whole pages. */
  readonly byteLength: number;
  /** Where its memory comes from: what it promises is in `capabilities()`. */
  readonly backend: BackendName;

  readonly #lifetime = new Lifetime('Secret');
  readonly #memory: Memory;
  #uses = 0;
  /** Its memory is gone although uses run: a buffer was transferred away. */
  #lost = false;

  static {
    descriptorOf = (secret) => {
      secret.#lifetime.check();
      return secret.#memory.descriptor;
    };
  }

  private constructor(memory: Memory) {
    this.#memory = memory;
    this.byteLength = memory.byteLength;
    this.backend = memory.backend;
  }

  /**
   * @param byteLength At least 1. getrandom(2) writes straight into the memory.
   * @throws ExclusiveMemoryError `ERR_EXMEM_UNAVAILABLE` if the policy allows
   *   nothing that this machine has; `ENOMEM` or `EAGAIN` over a limit. So do
   *   all functions that make a secret.
   */
  static random(byteLength: number, options: SecretOptions = {}): Secret {
    const memory = Memory.allocate(checkSize(byteLength, 'byteLength'), policyOf(options));
    using loan = memory.lend();
    system.fillRandom(loan.mapping);
    return new Secret(memory);
  }

  /**
   * Reads a descriptor (a file from its position on, a pipe, a socket) to its
   * end, on a worker thread, straight into exclusive memory. The descriptor
   * stays open and the caller's.
   *
   * The page cache of a file, and a pipe's buffer, are the kernel's: they are
   * not wiped. Delete or overwrite what should not stay there.
   *
   * @throws ExclusiveMemoryError `ERR_EXMEM_SIZE` if the input is empty or too
   *   long; the errno of read(2).
   */
  static async fromFd(fd: number | Descriptor, options: ReadOptions = {}): Promise<Secret> {
    const number = Descriptor.fdOf(fd, 'fd');
    checkOptions(options, 'options');
    const maxBytes = checkInteger(options.maxBytes ?? 0x10_0000, 'maxBytes', 1, 2 ** 40);
    const { signal } = options;
    return new Secret(await readSecret(number, { policy: policyOf(options), maxBytes, signal }));
  }

  /** As {@link fromFd}, for the file (or FIFO) at `path`. */
  static async fromFile(path: string | URL, options: ReadOptions = {}): Promise<Secret> {
    if (!(path instanceof URL)) checkString(path, 'path');
    policyOf(options);
    const file = await system.openFile(path);
    try {
      return await Secret.fromFd(file.fd, options);
    } finally {
      await file.close();
    }
  }

  /**
   * Takes over memory that another process sent, a {@link Descriptor} or its
   * number. If this throws, it is still the caller's.
   *
   * @throws ExclusiveMemoryError `ERR_EXMEM_WRONG_DESCRIPTOR` if it is neither a
   *   restricted memfd nor a memfd_secret(2); `EBUSY` while the sender, or
   *   anybody, has it mapped.
   */
  static fromHandle(handle: number | Descriptor): Secret {
    return new Secret(Memory.adopt(handle));
  }

  /**
   * Asks for a line on a terminal, without echo, straight into exclusive
   * memory. Backspace erases a character, ^U the line; Enter and ^D end it.
   * The terminal is restored whatever happens. The kernel's own buffer of the
   * terminal, which the keys went through, cannot be wiped from user space.
   *
   * @throws ExclusiveMemoryError `ERR_EXMEM_CANCELLED` on ^C; `ERR_EXMEM_SIZE`
   *   for an empty line or one over 4095 bytes; `ENXIO` without a terminal.
   */
  static async prompt(options: PromptOptions): Promise<Secret> {
    const policy = policyOf(options);
    const message = checkString(options.message, 'message');
    const fd = options.fd === undefined ? undefined : Descriptor.fdOf(options.fd, 'fd');
    return new Secret(await promptSecret({ policy, message, fd, signal: options.signal }));
  }

  /** Whether it was disposed or given away. Uses that run still finish. */
  get disposed(): boolean {
    return this.#lifetime.over;
  }

  /**
   * Lends the bytes to `callback` and returns what it returns. The buffer is
   * the memory itself; when the callback has returned or thrown, or the promise
   * it returned is settled, the buffer is detached. Uses can nest and overlap.
   *
   * What the callback copies (`slice()`, `Buffer.from(bytes)`, `toString()`,
   * `structuredClone()`) is on the heap, and its own to answer for.
   *
   * @throws RevokedError if another holder of the descriptor destroyed the
   *   memory meanwhile: the callback has read zeros then. Later uses throw
   *   `ENXIO` (`mmap`).
   * @throws ExclusiveMemoryError `ERR_EXMEM_DISPOSED`; `EBUSY` (`mmap`) while a
   *   memory view shows it that does not yield; `ERR_EXMEM_TRANSFERRED`
   *   if the callback transferred the buffer away, which ends the secret: it is
   *   wiped, and every use that runs throws the same.
   */
  use<T>(callback: (bytes: Uint8Array<ArrayBuffer>) => T): T {
    this.#lifetime.check();
    checkFunction(callback, 'callback');
    const use = new Use(this.#memory);
    this.#uses++;
    return untilOver(
      () => callback(use.bytes),
      (cause) => { this.#endUse(use, cause); },
    );
  }

  /**
   * Whether the bytes are the same, in a time that depends on the lengths
   * alone. Secrets of different lengths are not equal.
   */
  equals(other: Secret): boolean {
    if (!(other instanceof Secret)) throw unexpected('a Secret', 'other', other);
    this.#lifetime.check();
    other.#lifetime.check();
    using mine = this.#memory.lend();
    using theirs = other.#memory.lend();
    return system.equal(mine.mapping, theirs.mapping);
  }

  /**
   * Gives its descriptor to the caller, for a worker thread
   * ({@link fromHandle}) or another process. This object is over then.
   *
   * @throws ExclusiveMemoryError `ERR_EXMEM_BUSY` while a use runs.
   */
  release(): Descriptor {
    this.#checkMovable();
    this.#lifetime.end('given away');
    return this.#memory.descriptor;
  }

  /**
   * Moves it to the process at the other end of an AF_UNIX socket, which alone
   * has it then: it is sent, and closed here. If the sending fails it is still
   * this process's, and unchanged.
   *
   * @param payload 1 to 4096 bytes that go with it; never secret ones.
   * @throws ExclusiveMemoryError `ERR_EXMEM_BUSY` while a use runs; the errno
   *   of sendmsg(2).
   */
  sendTo(socket: number | Descriptor, payload?: Uint8Array): void {
    this.#checkMovable();
    const { descriptor } = this.#memory;
    sendDescriptors(socket, [descriptor], payload);
    this.#lifetime.end('given away');
    descriptor.close();
  }

  /**
   * Wipes, unmaps, destroys and closes it. Idempotent. While uses run, no
   * further one can begin, and the end of the last one does the rest.
   */
  [Symbol.dispose](): void {
    if (this.#lifetime.end() && this.#uses === 0) this.#memory[Symbol.dispose]();
  }

  toString(): string {
    return `<Secret ${this.byteLength} bytes${this.disposed ? ', disposed' : ''}>`;
  }

  toJSON(): string {
    return this.toString();
  }

  [inspect.custom](): string {
    return this.toString();
  }

  #checkMovable(): void {
    this.#lifetime.check();
    if (this.#uses === 0) return;
    throw misuse('ERR_EXMEM_BUSY', 'This Secret cannot be given away while a use() of it runs');
  }

  #endUse(use: Use, cause?: unknown): void {
    this.#uses--;
    try {
      if (!use.close(cause) && !this.#lost) {
        // Whoever has the buffer now could go on reading: zeros at once, in place.
        this.#lost = true;
        this.#lifetime.end('lost to a transferred buffer');
        this.#memory[Symbol.dispose]();
      }
      if (this.#lost) throw transferred('Secret', cause);
    } finally {
      if (this.disposed && this.#uses === 0 && !this.#lost) this.#memory[Symbol.dispose]();
    }
  }
}

/** A use() that runs: the mapping, which it shares with others, and a buffer of its own. */
class Use {
  readonly #loan: Loan;
  readonly #lent: LentBytes;

  constructor(memory: Memory) {
    const loan = memory.lend();
    try {
      this.#lent = new LentBytes(loan.mapping);
    } catch (error) {
      loan[Symbol.dispose]();
      throw error;
    }
    this.#loan = loan;
  }

  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#lent.bytes;
  }

  /**
   * Detaches the buffer. False if it had been transferred away.
   *
   * @throws RevokedError if the memory was destroyed meanwhile.
   */
  close(cause?: unknown): boolean {
    const ours = this.#lent.close();
    this.#loan.giveBack(cause);
    return ours;
  }
}

function policyOf(options: SecretOptions): Policy {
  checkOptions(options, 'options');
  return checkPolicy(options.policy ?? 'require');
}
