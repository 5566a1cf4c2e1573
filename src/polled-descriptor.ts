// SPDX-License-Identifier: MIT
import { ExclusiveMemoryError, fromSystem } from './errors.js';
import { native, type NativePolledDescriptor } from './native.js';
import { system } from './system.js';

/** What an attempt returns when the kernel would have made it wait. */
export const notReady = Symbol('not ready');

/** Something that may have to wait, and is tried whenever it is its turn. */
export interface Operation<T> {
  /** Does it, without waiting. What it throws is the end of it. */
  attempt(): T | typeof notReady;

  /** It has to wait: makes its own whatever the caller may change meanwhile. */
  detach?(): void;

  /** Half done: it cannot be taken back, only its caller can stop waiting. */
  readonly begun?: boolean;

  /** It was taken back, or will never have its turn. */
  withdraw?(): void;
}

interface Waiting {
  over: boolean;
  /** Tries it; whether it is over. */
  attempt(): boolean;
  fail(error: unknown): void;
}

/** The other work of the event loop has its turn after so many that did not wait. */
const operationsPerTurn = 64;

/**
 * The owner of a descriptor, and who waits for it: readers and writers, each
 * first come, first served. No thread waits with them, and nothing is asked of
 * the kernel while nobody waits. Whoever waits keeps the event loop going,
 * unless `unref()` was called.
 */
export class PolledDescriptor {
  readonly fd: number;
  readonly #native: NativePolledDescriptor;
  readonly #readers: Waiting[] = [];
  readonly #writers: Waiting[] = [];
  #left = operationsPerTurn;
  #turning = false;

  /** Takes over `fd`. */
  constructor(fd: number) {
    this.fd = fd;
    this.#native = new native.PolledDescriptor(fd);
    this.#native.onReady = () => {
      this.#turn();
    };
  }

  /** Whether anybody waits. */
  get busy(): boolean {
    return this.#readers.length > 0 || this.#writers.length > 0;
  }

  /** What `operation` returns once the descriptor is readable and it is its turn. */
  whenReadable<T>(operation: Operation<T>, signal?: AbortSignal): Promise<T> {
    return this.#wait(this.#readers, operation, signal);
  }

  whenWritable<T>(operation: Operation<T>, signal?: AbortSignal): Promise<T> {
    return this.#wait(this.#writers, operation, signal);
  }

  ref(): void {
    this.#native.ref();
  }

  unref(): void {
    this.#native.unref();
  }

  /** Gives the number away. Nobody may be waiting. */
  release(): number {
    return this.#native.release();
  }

  /** Closes it, and fails everybody who waits. */
  close(errorForWaiting: () => ExclusiveMemoryError): void {
    this.#failAll(errorForWaiting);
    system.closePolled(this.#native);
  }

  #failAll(errorForWaiting: () => unknown): void {
    for (const waiting of [...this.#readers.splice(0), ...this.#writers.splice(0)]) {
      waiting.fail(errorForWaiting());
    }
  }

  async #wait<T>(line: Waiting[], operation: Operation<T>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    try {
      return await this.#join(line, operation, signal);
    } catch (failure) {
      // Thrown from the event loop: the stack of who waits is the one that helps.
      const error = fromSystem(failure);
      const own = error instanceof ExclusiveMemoryError && error !== signal?.reason;
      if (own) Error.captureStackTrace(error);
      throw error;
    }
  }

  #join<T>(line: Waiting[], operation: Operation<T>, signal?: AbortSignal): Promise<T> {
    const { promise, resolve, reject } = withResolvers<T>();
    const leave = () => {
      waiting.over = true;
      signal?.removeEventListener('abort', abort);
    };
    const waiting: Waiting = {
      over: false,
      attempt: () => {
        try {
          const result = operation.attempt();
          if (result === notReady) return false;
          resolve(result);
        } catch (error) {
          reject(error);
        }
        leave();
        return true;
      },
      fail: (error) => {
        leave();
        operation.withdraw?.();
        reject(error);
      },
    };
    const takeBack = (error: unknown) => {
      line.splice(line.indexOf(waiting), 1);
      waiting.fail(error);
      this.#run(line);
      this.#arm();
    };
    const abort = () => {
      if (operation.begun) reject(signal?.reason);
      else takeBack(signal?.reason);
    };

    line.push(waiting);
    signal?.addEventListener('abort', abort, { once: true });
    if (line.length === 1) {
      this.#run(line);
      this.#arm();
    }
    try {
      if (!waiting.over) operation.detach?.();
    } catch (error) {
      takeBack(error);
    }
    return promise;
  }

  #turn(): void {
    this.#left = operationsPerTurn;
    this.#run(this.#readers);
    this.#run(this.#writers);
    this.#arm();
  }

  #run(line: Waiting[]): void {
    while (this.#left > 0 && line[0]?.attempt()) {
      line.shift();
      this.#left--;
    }
  }

  #arm(): void {
    if (this.#turning) return;
    if (this.#left === 0 && this.busy) {
      this.#turning = true;
      setImmediate(() => {
        this.#turning = false;
        this.#turn();
      });
      return;
    }
    try {
      system.watch(this.#native, this.#readers.length > 0, this.#writers.length > 0);
    } catch (error) {
      this.#failAll(() => error);
    }
  }
}

/** Promise.withResolvers(), which Node.js 20 does not have. */
function withResolvers<T>() {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<T>((...both) => {
    [resolve, reject] = both;
  });
  return { promise, resolve, reject };
}
