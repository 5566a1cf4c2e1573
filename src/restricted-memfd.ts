// SPDX-License-Identifier: MIT
import { checkName, createRestrictedMemfd } from './device.js';
import { Descriptor } from './descriptor.js';
import { ExclusiveMemoryError, misuse } from './errors.js';
import { Lifetime } from './lifetime.js';
import { Mapping } from './mapping.js';
import { type MemoryInfo, memoryInfo } from './memory-info.js';
import { system } from './system.js';
import {
  checkBoolean,
  checkOptions,
  checkSize,
  checkString,
  checkTimeout,
} from './validate.js';

export interface RestrictedMemfdOptions {
  /** Bytes, at least 1. Without it, the size is set later, once, with `setSize()`. */
  readonly size?: number;
  /** Shown in /proc/PID/fd; at most 31 bytes of UTF-8. */
  readonly name?: string;
  /** Whole 2 MiB blocks, or `ENOMEM`: never single pages instead. */
  readonly huge?: boolean;
}

export interface WaitOptions {
  /** Milliseconds; 0 only looks. Default: for ever. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** How long a thread of the pool is kept at a time; an abort is noticed after that. */
const waitSliceMs = 50;

/**
 * A restricted memfd: memory behind a file descriptor that one process at a
 * time can map, whole, and that nobody else can read. It needs the kernel
 * module; for a secret that may fall back, see {@link Secret}.
 *
 * Methods throw {@link ExclusiveMemoryError} with the kernel's errno, and
 * `ERR_EXMEM_DISPOSED` once closed.
 */
export class RestrictedMemfd implements Disposable {
  readonly #lifetime = new Lifetime('RestrictedMemfd');
  readonly #descriptor: Descriptor;
  #mapping: Mapping | undefined;

  private constructor(descriptor: Descriptor) {
    this.#descriptor = descriptor;
  }

  /**
   * @throws ExclusiveMemoryError `ENOENT` or `EACCES` (`open`) where the module
   *   is not loaded or not for this user; `ENOMEM` over a limit.
   */
  static create(options: RestrictedMemfdOptions = {}): RestrictedMemfd {
    checkOptions(options, 'options');
    const request = {
      size: options.size === undefined ? 0 : checkSize(options.size, 'size'),
      name: checkName(checkString(options.name ?? '', 'name')),
      huge: checkBoolean(options.huge ?? false, 'huge'),
    };
    return new RestrictedMemfd(createRestrictedMemfd(request));
  }

  /**
   * Takes over a descriptor, received from another process say. If this
   * throws, it is still the caller's.
   *
   * @throws ExclusiveMemoryError `ERR_EXMEM_WRONG_DESCRIPTOR` if it is no
   *   restricted memfd; `EBADF` if it is not open.
   */
  static fromFd(fd: number | Descriptor): RestrictedMemfd {
    const number = Descriptor.fdOf(fd, 'fd');
    try {
      memoryInfo(number);
    } catch (error) {
      if (error instanceof ExclusiveMemoryError && error.code === 'ENOTTY') {
        throw misuse(
          'ERR_EXMEM_WRONG_DESCRIPTOR',
          `Expected a restricted memfd but file descriptor ${number} is something else`,
          error,
        );
      }
      throw error;
    }
    return new RestrictedMemfd(Descriptor.take(fd));
  }

  /** The number, for calls that borrow it; this object stays its owner. */
  get fd(): number {
    this.#lifetime.check();
    return this.#descriptor.fd;
  }

  /** Bytes; 0 while it is not set. */
  get size(): number {
    return this.info().size;
  }

  /**
   * Sets the size, once: from 0, while it is unmapped.
   *
   * @param bytes At least 1. Whole pages are held, but this is what `size` says.
   * @throws ExclusiveMemoryError `EINVAL` if it was set already; `ENOMEM` over a limit.
   */
  setSize(bytes: number): void {
    system.setSize(this.fd, checkSize(bytes, 'bytes'));
  }

  /**
   * mmap(2) of the whole, for reading and writing.
   *
   * @throws ExclusiveMemoryError `EBUSY` while a mapping exists anywhere, here
   *   included, or a memory view shows it that does not yield; `EINVAL` while
   *   the size is not set; `ENXIO` once destroyed; `EAGAIN` over RLIMIT_MEMLOCK;
   *   `ENOMEM` over another limit.
   */
  map(): Mapping {
    this.#mapping = new Mapping(this.fd, this.size);
    return this.#mapping;
  }

  info(): MemoryInfo {
    return memoryInfo(this.fd);
  }

  /**
   * Resolves to true once there is neither a mapping nor an in-kernel
   * reference, and to false if the time is up first.
   *
   * An abort rejects with the signal's reason, at most 50 ms later.
   */
  async waitIdle({ timeoutMs = Infinity, signal }: WaitOptions = {}): Promise<boolean> {
    checkTimeout(timeoutMs, 'timeoutMs');
    const end = performance.now() + timeoutMs;
    for (;;) {
      signal?.throwIfAborted();
      const left = Math.max(0, end - performance.now());
      if (await system.waitIdle(this.fd, Math.ceil(Math.min(left, waitSliceMs)))) return true;
      if (left === 0) {
        signal?.throwIfAborted();
        return false;
      }
    }
  }

  /**
   * Ends the memory for everybody: it is unmapped here, the pages of whoever
   * else has it mapped are taken away (SIGBUS at the next access, which this
   * package makes a {@link RevokedError}), and it is wiped and freed. The
   * descriptor stays open; what remains possible is `info()` and `close()`.
   */
  destroy(): void {
    const { fd } = this;
    try {
      // First: a view of pages that are gone would be a crash.
      this.#mapping?.unmap();
    } finally {
      system.destroy(fd);
    }
  }

  /** Gives the descriptor away; the caller has to close it. */
  release(): number {
    this.#lifetime.check();
    this.#lifetime.end('released');
    return this.#descriptor.release();
  }

  /** close(2). A mapping lives on. Idempotent. */
  close(): void {
    if (this.#lifetime.end('closed')) this.#descriptor.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
