// SPDX-License-Identifier: MIT
import { accessLost } from './errors.js';
import { LentBytes, transferred } from './lent-bytes.js';
import { Lifetime } from './lifetime.js';
import type { NativeMapping } from './native.js';
import { system } from './system.js';

/**
 * The mapping of a {@link RestrictedMemfd}: the only one on the machine while
 * it lasts. It outlives the descriptor it was made from (mmap(2)).
 *
 * If another holder destroys the memory meanwhile, the bytes read as zeros from
 * then on, and {@link check} and {@link unmap} throw {@link RevokedError}.
 */
export class Mapping implements Disposable {
  readonly #lifetime = new Lifetime('Mapping');
  readonly #mapping: NativeMapping;
  readonly #lent: LentBytes;

  /** @internal Use {@link RestrictedMemfd.map}. */
  constructor(fd: number, byteLength: number) {
    this.#mapping = system.map(fd, byteLength);
    this.#lent = new LentBytes(this.#mapping);
  }

  /** The memory itself, not a copy. Length 0 after {@link unmap}. */
  get bytes(): Uint8Array<ArrayBuffer> {
    this.#lifetime.check();
    return this.#lent.bytes;
  }

  get buffer(): ArrayBuffer {
    return this.bytes.buffer;
  }

  /** Whether it is over. */
  get unmapped(): boolean {
    return this.#lifetime.over;
  }

  /**
   * To be asked before results are trusted, where a mapping lasts for long.
   *
   * @throws RevokedError if an access so far met memory that was destroyed.
   */
  check(): void {
    this.#lifetime.check();
    const failure = this.#mapping.firstFailure();
    if (failure !== undefined) throw accessLost('Mapping', failure);
  }

  /**
   * Detaches the buffer and unmaps the memory, which keeps its content and can
   * be mapped again, here or by another holder of the descriptor. Idempotent.
   *
   * @throws RevokedError if an access met memory that was destroyed.
   * @throws ExclusiveMemoryError `ERR_EXMEM_TRANSFERRED` if the buffer was
   *   transferred away. The memory is unmapped all the same in both cases.
   */
  unmap(): void {
    if (!this.#lifetime.end('unmapped')) return;
    const failure = this.#mapping.firstFailure();
    const ours = this.#lent.close();
    system.unmap(this.#mapping);
    if (!ours) throw transferred('Mapping');
    if (failure !== undefined) throw accessLost('Mapping', failure);
  }

  [Symbol.dispose](): void {
    this.unmap();
  }
}
