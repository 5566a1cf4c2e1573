// SPDX-License-Identifier: MIT
import { Lifetime } from './lifetime.js';
import { native, type NativeDescriptor } from './native.js';
import { checkFd, unexpected } from './validate.js';

/**
 * A file descriptor and the duty to close it. A forgotten one is closed when
 * it is collected or when its worker thread ends.
 */
export class Descriptor implements Disposable {
  readonly #lifetime = new Lifetime('Descriptor');
  readonly #owner: NativeDescriptor;
  readonly #fd: number;

  /**
   * Takes over `fd`: from now on, nobody else may close it. In a worker thread
   * it must not come from `node:fs`, which closes what it opened when the
   * thread ends (option `trackUnmanagedFds` of Worker).
   */
  constructor(fd: number) {
    this.#fd = checkFd(fd, 'fd');
    this.#owner = new native.Descriptor(fd);
  }

  /** The number, for calls that borrow it. */
  get fd(): number {
    this.#lifetime.check();
    return this.#fd;
  }

  /** Gives the number to the caller, who has to close it. */
  release(): number {
    this.#lifetime.check();
    this.#lifetime.end('released');
    return this.#owner.release();
  }

  /** close(2). Idempotent. */
  close(): void {
    if (this.#lifetime.end('closed')) this.#owner.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** What a parameter `number | Descriptor` means by number. */
  static fdOf(value: number | Descriptor, name: string): number {
    if (value instanceof Descriptor) return value.fd;
    if (typeof value === 'number') return checkFd(value, name);
    throw unexpected('a file descriptor', name, value);
  }

  /** Makes a `number | Descriptor` one's own, after everything that can fail. */
  static take(value: number | Descriptor): Descriptor {
    return new Descriptor(value instanceof Descriptor ? value.release() : value);
  }
}

/** Anything with a descriptor: a number, a {@link Descriptor}, a RestrictedMemfd, a FileHandle. */
export type DescriptorLike = number | { readonly fd: number };

/** What a parameter {@link DescriptorLike} means by number. */
export function fdOf(
  value: unknown,
  name: string,
  expected = 'a file descriptor, or an object with one as fd,',
): number {
  if (typeof value === 'number') return checkFd(value, name);
  if (typeof value === 'object' && value !== null && 'fd' in value) return checkFd(value.fd, `${name}.fd`);
  throw unexpected(expected, name, value);
}
