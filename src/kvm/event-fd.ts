// SPDX-License-Identifier: MIT
import { readSync, writeSync } from 'node:fs';
import { ExclusiveMemoryError, fromSystem, misuse } from '../errors.js';
import { Lifetime } from '../lifetime.js';
import { notReady, PolledDescriptor } from '../polled-descriptor.js';
import { checkOptions } from '../validate.js';
import { kvmSystem } from './system.js';

export interface EventWaitOptions {
  readonly signal?: AbortSignal;
}

/**
 * eventfd(2): what {@link Vm.irqfd} and {@link Vm.ioeventfd} are told by, and
 * tell by. A forgotten one is closed when it is collected.
 */
export class EventFd implements Disposable {
  readonly #lifetime = new Lifetime('EventFd');
  readonly #polled: PolledDescriptor;

  private constructor(polled: PolledDescriptor) {
    this.#polled = polled;
  }

  static create(): EventFd {
    return new EventFd(new PolledDescriptor(kvmSystem.eventFd()));
  }

  /** The number, for calls that borrow it; this object stays its owner. */
  get fd(): number {
    this.#lifetime.check();
    return this.#polled.fd;
  }

  /** Adds 1 to the counter. */
  signal(): void {
    const { fd } = this;
    try {
      writeSync(fd, one);
    } catch (error) {
      throw fromSystem(error);
    }
  }

  /**
   * Resolves to the counter once it is not 0, and sets it to 0: how often it was
   * signalled since. Without a thread; keeps the event loop going.
   */
  async wait(options: EventWaitOptions = {}): Promise<bigint> {
    this.#lifetime.check();
    checkOptions(options, 'options');
    const { fd } = this.#polled;
    return await this.#polled.whenReadable({ attempt: () => take(fd) }, options.signal);
  }

  /** close(2); a wait fails with `ERR_EXMEM_DISPOSED`. Idempotent. */
  close(): void {
    if (!this.#lifetime.end('closed')) return;
    this.#polled.close(() =>
      misuse('ERR_EXMEM_DISPOSED', 'This EventFd was closed while somebody waited for it'),
    );
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

const one = new Uint8Array(new BigUint64Array([1n]).buffer);

function take(fd: number): bigint | typeof notReady {
  const counter = new BigUint64Array(1);
  try {
    readSync(fd, counter);
  } catch (failure) {
    const error = fromSystem(failure);
    if (error instanceof ExclusiveMemoryError && error.code === 'EAGAIN') return notReady;
    throw error;
  }
  return counter[0] ?? 0n;
}
