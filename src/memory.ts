// SPDX-License-Identifier: MIT
import {
  type Backend,
  chooseBackend,
  memfdSecretBackend,
  moduleBackend,
  type Policy,
} from './backend.js';
import { Descriptor } from './descriptor.js';
import { ExclusiveMemoryError, misuse } from './errors.js';
import { memoryInfo } from './memory-info.js';
import type { NativeMapping } from './native.js';
import { system } from './system.js';

/** Exclusive memory of either backend, mapped here. What a secret is made of. */
export class Memory implements Disposable {
  readonly byteLength: number;
  readonly mapping: NativeMapping;
  readonly #backend: Backend;
  readonly #descriptor: Descriptor;

  private constructor(backend: Backend, descriptor: number | Descriptor, byteLength: number) {
    this.mapping = system.map(Descriptor.fdOf(descriptor, 'handle'), byteLength);
    this.#descriptor = Descriptor.take(descriptor);
    this.#backend = backend;
    this.byteLength = byteLength;
  }

  static allocate(byteLength: number, policy: Policy): Memory {
    const backend = chooseBackend(policy);
    using descriptor = backend.create(byteLength, 'secret');
    return new Memory(backend, descriptor, byteLength);
  }

  /** Takes over what another process sent. If this throws, it is still the caller's. */
  static adopt(handle: number | Descriptor): Memory {
    const fd = Descriptor.fdOf(handle, 'handle');
    const [backend, byteLength] = recognize(fd);
    return new Memory(backend, handle, byteLength);
  }

  get backend(): Backend['name'] {
    return this.#backend.name;
  }

  /** The first bytes, in memory of exactly that size. */
  copyOf(byteLength: number, policy: Policy): Memory {
    const copy = Memory.allocate(byteLength, policy);
    system.copy(this.mapping, copy.mapping);
    return copy;
  }

  /** Unmaps it, and gives the descriptor with the bytes away. */
  release(): Descriptor {
    system.unmap(this.mapping);
    return this.#descriptor;
  }

  /** Wipes, unmaps, destroys and closes it. To be called once. */
  [Symbol.dispose](): void {
    using descriptor = this.#descriptor;
    // The kernel zeroes pages when it frees them; whoever else holds the
    // descriptor could keep it from doing so.
    system.wipe(this.mapping);
    system.unmap(this.mapping);
    this.#backend.destroy(descriptor.fd);
  }
}

function recognize(fd: number): readonly [Backend, byteLength: number] {
  try {
    return [moduleBackend, checkFilled(fd, memoryInfo(fd).size)];
  } catch (error) {
    if (!(error instanceof ExclusiveMemoryError) || error.code !== 'ENOTTY') throw error;
  }
  if (system.isMemfdSecret(fd)) {
    return [memfdSecretBackend, checkFilled(fd, system.fstat(fd).size)];
  }
  throw misuse(
    'ERR_EXMEM_WRONG_DESCRIPTOR',
    `Expected a restricted memfd or a memfd_secret(2) but file descriptor ${fd} is something else`,
  );
}

function checkFilled(fd: number, size: number): number {
  if (size > 0) return size;
  throw misuse('ERR_EXMEM_SIZE', `Expected a size of at least 1 byte for handle ${fd} but received 0`);
}
