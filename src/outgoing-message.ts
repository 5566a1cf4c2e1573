// SPDX-License-Identifier: MIT
import type { Descriptor } from './descriptor.js';
import { notReady, type Operation } from './polled-descriptor.js';
import { closeAll, ownAll } from './received-message.js';
import { system } from './system.js';

/** A message on its way into the kernel, in as many steps as the kernel wants. */
export class OutgoingMessage implements Operation<undefined> {
  readonly #socketFd: number;
  #left: Uint8Array;
  #fds: readonly number[];
  #duplicates: readonly Descriptor[] = [];
  #begun = false;

  constructor(socketFd: number, bytes: Uint8Array, fds: readonly number[]) {
    this.#socketFd = socketFd;
    this.#left = bytes;
    this.#fds = fds;
  }

  /** The other end gets the rest too: half a message would end all sense after it. */
  get begun(): boolean {
    return this.#begun;
  }

  attempt(): undefined | typeof notReady {
    try {
      do {
        const sent = system.trySend(this.#socketFd, this.#left, this.#fds);
        if (sent < 0) return notReady;
        this.#begun = true;
        this.#left = this.#left.subarray(sent);
        // They went with the first byte; a second time would be a second set.
        this.#drop();
      } while (this.#left.byteLength > 0);
      return undefined;
    } catch (error) {
      this.#drop();
      if (this.#begun) this.#breakOff();
      throw error;
    }
  }

  /** The caller may close the descriptors (and their numbers be used again), or change the bytes. */
  detach(): void {
    // Not slice(): that of a Buffer does not copy.
    this.#left = new Uint8Array(this.#left);
    const duplicates: Descriptor[] = [];
    try {
      for (const fd of this.#fds) duplicates.push(...ownAll([system.duplicate(fd)]));
    } catch (error) {
      closeAll(duplicates);
      throw error;
    }
    this.#duplicates = duplicates;
    this.#fds = duplicates.map(({ fd }) => fd);
  }

  withdraw(): void {
    this.#drop();
  }

  #drop(): void {
    closeAll(this.#duplicates);
    this.#duplicates = [];
    this.#fds = [];
  }

  /** Nothing can follow a part of a message: the next send says EPIPE, the other end sees the end. */
  #breakOff(): void {
    try {
      system.endSending(this.#socketFd);
    } catch {
      // It is broken off already: that is the error that the caller is told.
    }
  }
}
