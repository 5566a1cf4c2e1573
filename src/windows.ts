// SPDX-License-Identifier: MIT
import type { Descriptor } from './descriptor.js';
import type { NativeMapping } from './native.js';
import { system } from './system.js';

/** Small beside an address space, large beside what one page fault brings in. */
const windowBytes = 64 << 20;

/** Mappings that are kept, of the last windows used. */
const maxWindows = 8;

export interface Window {
  readonly key: number;
  readonly mapping: NativeMapping;
  readonly byteLength: number;
  /** Of the byte that was asked for, in the window. */
  readonly offset: number;
}

/**
 * The parts of a view that are mapped, since all of it at once (16 TiB, say)
 * may be more than a process can have. No address leaves it.
 */
export class Windows implements Disposable {
  readonly #descriptor: Descriptor;
  /** The last used one is the last. */
  readonly #kept = new Map<number, Omit<Window, 'offset'>>();

  constructor(descriptor: Descriptor) {
    this.#descriptor = descriptor;
  }

  /** The window that holds a byte of a view of `size` bytes. */
  take(position: number, size: number, writable: boolean): Window {
    const index = Math.floor(position / windowBytes);
    const start = index * windowBytes;
    const byteLength = Math.min(windowBytes, size - start);
    const key = 2 * index + Number(writable);
    let window = this.#kept.get(key);
    this.#kept.delete(key);
    // A file can change its size meanwhile, a view cannot.
    if (window?.byteLength !== byteLength) {
      if (window !== undefined) system.unmap(window.mapping);
      const mapping = system.mapWindow(this.#descriptor.fd, byteLength, start, writable);
      window = { key, mapping, byteLength };
    }
    this.#kept.set(key, window);
    this.#shrinkTo(maxWindows);
    return { ...window, offset: position - start };
  }

  drop({ key, mapping }: Window): void {
    this.#kept.delete(key);
    system.unmap(mapping);
  }

  [Symbol.dispose](): void {
    this.#shrinkTo(0);
  }

  #shrinkTo(count: number): void {
    for (const [key, { mapping }] of this.#kept) {
      if (this.#kept.size <= count) return;
      this.#kept.delete(key);
      system.unmap(mapping);
    }
  }
}
