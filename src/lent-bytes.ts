// SPDX-License-Identifier: MIT
import { markAsUntransferable } from 'node:worker_threads';
import { type ExclusiveMemoryError, misuse } from './errors.js';
import type { NativeMapping } from './native.js';

/** Bytes of a mapping, lent to JavaScript until close(). */
export class LentBytes {
  readonly #mapping: NativeMapping;
  readonly #buffer: ArrayBuffer;
  readonly bytes: Uint8Array<ArrayBuffer>;

  constructor(mapping: NativeMapping) {
    this.#mapping = mapping;
    this.#buffer = mapping.view();
    // postMessage() and structuredClone() must not move it to where it could
    // not be detached. ArrayBuffer.prototype.transfer(), of Node.js 22, does
    // so all the same; close() notices.
    markAsUntransferable(this.#buffer);
    this.bytes = new Uint8Array(this.#buffer);
  }

  /** Detaches the buffer. False if it had been transferred away. */
  close(): boolean {
    return this.#mapping.retire(this.#buffer);
  }
}

export function transferred(what: string, cause?: unknown): ExclusiveMemoryError {
  return misuse(
    'ERR_EXMEM_TRANSFERRED',
    `The buffer of this ${what} was transferred away while it was lent. Its memory has been ` +
      'unmapped, and zeros took its place; copy what must outlive the loan instead',
    cause,
  );
}
