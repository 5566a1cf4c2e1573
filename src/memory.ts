// SPDX-License-Identifier: MIT
import {
  type Backend,
  chooseBackend,
  memfdSecretBackend,
  moduleBackend,
  type Policy,
} from './backend.js';
import { Descriptor } from './descriptor.js';
import { accessLost, ExclusiveMemoryError, misuse } from './errors.js';
import { memoryInfo } from './memory-info.js';
import type { NativeMapping } from './native.js';
import { system } from './system.js';

/** The mapping of some memory, for as long as somebody here uses it. */
export interface Loan extends Disposable {
  readonly mapping: NativeMapping;
  /**
   * Once; disposing of it is the same.
   *
   * @param cause Of the error, if there is one: what the user threw.
   * @throws RevokedError if the memory was destroyed while it was used.
   */
  giveBack(cause?: unknown): void;
}

/** Exclusive memory of either backend, mapped here while it is used. What a secret is made of. */
export class Memory implements Disposable {
  readonly byteLength: number;
  readonly #backend: Backend;
  readonly #descriptor: Descriptor;
  /** One for all who use it: the kernel allows no second one. */
  #mapping: NativeMapping | undefined;
  #loans = 0;

  private constructor(backend: Backend, descriptor: Descriptor, byteLength: number) {
    this.#descriptor = descriptor;
    this.#backend = backend;
    this.byteLength = byteLength;
  }

  static allocate(byteLength: number, policy: Policy): Memory {
    const backend = chooseBackend(policy);
    return new Memory(backend, backend.create(byteLength, 'secret'), byteLength);
  }

  /** Takes over what another process sent. If this throws, it is still the caller's. */
  static adopt(handle: number | Descriptor): Memory {
    const fd = Descriptor.fdOf(handle, 'handle');
    const [backend, byteLength] = recognize(fd);
    // Whoever still has it mapped could read it: then it is not ours.
    system.unmap(system.map(fd, byteLength));
    return new Memory(backend, Descriptor.take(handle), byteLength);
  }

  get backend(): Backend['name'] {
    return this.#backend.name;
  }

  /** Maps it, or joins those who have it mapped; the last one to dispose of the loan unmaps it. */
  lend(): Loan {
    const mapping = (this.#mapping ??= system.map(this.#descriptor.fd, this.byteLength));
    checkPresent(mapping);
    this.#loans++;
    const giveBack = (cause?: unknown) => { this.#giveBack(mapping, cause); };
    return { mapping, giveBack, [Symbol.dispose]: giveBack };
  }

  #giveBack(mapping: NativeMapping, cause?: unknown): void {
    this.#loans--;
    try {
      checkPresent(mapping, cause);
    } finally {
      if (this.#loans === 0) this.#unmap();
    }
  }

  #unmap(): void {
    if (this.#mapping !== undefined) system.unmap(this.#mapping);
    this.#mapping = undefined;
  }

  /** The last close() frees and wipes it; whoever else has the descriptor could put that off. */
  #wipe(): void {
    using loan = this.lend();
    system.wipe(loan.mapping);
  }

  /** The first bytes, in memory of exactly that size. */
  copyOf(byteLength: number, policy: Policy): Memory {
    const copy = Memory.allocate(byteLength, policy);
    using from = this.lend();
    using to = copy.lend();
    system.copy(from.mapping, to.mapping);
    return copy;
  }

  /** Whoever has it can map the memory while nobody uses it. */
  get descriptor(): Descriptor {
    return this.#descriptor;
  }

  /** Wipes, unmaps, destroys and closes it, whoever uses it. To be called once. */
  [Symbol.dispose](): void {
    using descriptor = this.#descriptor;
    try {
      if (this.#backend !== moduleBackend) this.#wipe();
    } finally {
      this.#unmap();
      this.#backend.destroy(descriptor.fd);
    }
  }
}

function checkPresent(mapping: NativeMapping, cause?: unknown): void {
  const failure = mapping.firstFailure();
  if (failure !== undefined) throw accessLost('memory', failure, cause);
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
