// SPDX-License-Identifier: MIT
import { Lifetime } from './lifetime.js';
import type { NativeMapping } from './native.js';
import { system } from './system.js';
import { transferred, View } from './view.js';

/**
 * The mapping of a {@link RestrictedMemfd}: the only one on the machine while
 * it lasts. It outlives the descriptor it was made from (mmap(2)).
 *
 * If another process destroys the memory meanwhile, the next access raises
 * SIGBUS, which ends the process. Share a descriptor only with whom you trust
 * with that.
 */
export class Mapping implements Disposable {
  readonly #lifetime = new Lifetime('Mapping');
  readonly #mapping: NativeMapping;
  readonly #view: View;

  /** @internal Use {@link RestrictedMemfd.map}. */
  constructor(fd: number, byteLength: number) {
    this.#mapping = system.map(fd, byteLength);
    this.#view = new View(this.#mapping);
  }

  /** The memory itself, not a copy. Length 0 after {@link unmap}. */
  get bytes(): Uint8Array<ArrayBuffer> {
    this.#lifetime.check();
    return this.#view.bytes;
  }

  get buffer(): ArrayBuffer {
    return this.bytes.buffer;
  }

  /** Whether it is over. */
  get unmapped(): boolean {
    return this.#lifetime.over;
  }

  /**
   * Detaches the buffer and unmaps the memory, which keeps its content and can
   * be mapped again, here or by another holder of the descriptor. Idempotent.
   *
   * @throws ExclusiveMemoryError `ERR_EXMEM_TRANSFERRED` if the buffer was
   *   transferred away; the memory is unmapped all the same.
   */
  unmap(): void {
    if (!this.#lifetime.end('unmapped')) return;
    const ours = this.#view.close();
    system.unmap(this.#mapping);
    if (!ours) throw transferred('Mapping');
  }

  [Symbol.dispose](): void {
    this.unmap();
  }
}
