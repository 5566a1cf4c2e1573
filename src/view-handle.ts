// SPDX-License-Identifier: MIT
import { constants } from 'node:buffer';
import { Descriptor } from './descriptor.js';
import { accessLost, misuse } from './errors.js';
import { LentBytes, transferred } from './lent-bytes.js';
import { Lifetime } from './lifetime.js';
import type { NativeMapping } from './native.js';
import { system } from './system.js';
import { untilOver } from './until-over.js';
import {
  type Bytes,
  checkBoolean,
  checkBuffer,
  checkBytes,
  checkFunction,
  checkOptions,
} from './validate.js';
import { Windows } from './windows.js';

export interface AccessOptions {
  /** Byte offset in the view. */
  readonly offset: Bytes;
  /** Bytes. */
  readonly size: Bytes;
  /** For writing too. Default: false. */
  readonly write?: boolean;
}

/**
 * What a {@link MemoryView} shows, on the side of whoever uses it. Its owner can
 * take any page back at any time: that ends no call and no process. From there
 * on a call finds zeros, and throws {@link RevokedError} at its end. So it does
 * where nothing was shown at all; a page that is there, but refuses the access,
 * is a {@link NoAccessError}. A later call sees what the view shows then.
 *
 * It works in the same way for any file that can be mapped, such as a memfd,
 * which whoever has it could truncate.
 */
export class ViewHandle implements Disposable {
  readonly #lifetime = new Lifetime('ViewHandle');
  readonly #descriptor: Descriptor;
  readonly #windows: Windows;

  private constructor(descriptor: Descriptor) {
    this.#descriptor = descriptor;
    this.#windows = new Windows(descriptor);
  }

  /**
   * Takes over a descriptor, received from another process say. If this
   * throws, it is still the caller's.
   *
   * @throws ExclusiveMemoryError `ERR_EXMEM_WRONG_DESCRIPTOR` if it is neither a
   *   view nor a file; `EBADF` if it is not open.
   */
  static fromFd(fd: number | Descriptor): ViewHandle {
    const number = Descriptor.fdOf(fd, 'fd');
    if (!system.fstat(number).isFile()) {
      throw misuse(
        'ERR_EXMEM_WRONG_DESCRIPTOR',
        `Expected the descriptor of a view but file descriptor ${number} is something else`,
      );
    }
    return new ViewHandle(Descriptor.take(fd));
  }

  /** The number, to send it on: SCM_RIGHTS. This object stays its owner. */
  get fd(): number {
    this.#lifetime.check();
    return this.#descriptor.fd;
  }

  /** Bytes. */
  get size(): number {
    return system.fstat(this.fd).size;
  }

  /**
   * Copies what is at the offset, as much as `into` takes.
   *
   * @param offset Up to `size`, in bytes.
   * @returns How many bytes there were before the end of the view.
   * @throws RevokedError, NoAccessError What `into` holds then is worth nothing.
   */
  read(offset: Bytes, into: Uint8Array): number {
    return this.#copy(system.copyOut, offset, checkBuffer(into, 'into'), false);
  }

  /**
   * Copies `from` to the offset.
   *
   * @param offset Up to `size`, in bytes.
   * @returns How many bytes there was room for before the end of the view.
   * @throws RevokedError, NoAccessError Some of the rest may have been written.
   * @throws ExclusiveMemoryError `EACCES` (`mmap`) if the descriptor itself
   *   is not for writing.
   */
  write(offset: Bytes, from: Uint8Array): number {
    return this.#copy(system.copyIn, offset, checkBuffer(from, 'from'), true);
  }

  /**
   * Lends a range to `callback` and returns what it returns. The bytes are the
   * memory itself, not a copy; others may change them at any moment. When the
   * callback has returned or thrown, or the promise it returned is settled, the
   * buffer is detached.
   *
   * A system call that is given the bytes (`fs.writeSync(fd, bytes)`) fails with
   * `EFAULT` where they are gone.
   *
   * @throws RevokedError, NoAccessError With what the callback threw as `cause`.
   * @throws ExclusiveMemoryError `EACCES` (`mmap`) if the descriptor itself is
   *   not for writing; `ERR_EXMEM_TRANSFERRED` if the callback transferred the
   *   buffer away: zeros took the place of what it showed.
   */
  access<T>(range: AccessOptions, callback: (bytes: Uint8Array<ArrayBuffer>) => T): T {
    checkOptions(range, 'range');
    checkFunction(callback, 'callback');
    const { fd, size: end } = this;
    const offset = checkBytes(range.offset, 'offset', 0, end - 1);
    const most = Math.min(end - offset, constants.MAX_LENGTH);
    const size = checkBytes(range.size, `size (at ${offset} of ${end} bytes)`, 1, most);
    const write = checkBoolean(range.write ?? false, 'write');
    // Not one of the windows: whoever was lent the bytes may keep the address.
    const loan = new WindowLoan(system.mapWindow(fd, size, offset, write));
    return untilOver(
      () => callback(loan.bytes),
      (cause) => { loan.end(cause); },
    );
  }

  /** Gives the descriptor to the caller, who has to close it. */
  release(): number {
    this.#lifetime.check();
    this.#lifetime.end('released');
    this.#windows[Symbol.dispose]();
    return this.#descriptor.release();
  }

  /** close(2). An access that runs still finishes. Idempotent. */
  close(): void {
    if (!this.#lifetime.end('closed')) return;
    this.#windows[Symbol.dispose]();
    this.#descriptor.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #copy(copy: typeof system.copyOut, offset: Bytes, bytes: Uint8Array, write: boolean): number {
    const { size } = this;
    const start = checkBytes(offset, 'offset', 0, size);
    const count = Math.min(bytes.byteLength, size - start);
    for (let done = 0; done < count; ) {
      const window = this.#windows.take(start + done, size, write);
      const length = Math.min(count - done, window.byteLength - window.offset);
      copy(window.mapping, window.offset, bytes, done, length);
      const failure = window.mapping.firstFailure();
      if (failure !== undefined) {
        // It has zeros where pages are missing now; the next call maps it anew.
        this.#windows.drop(window);
        throw accessLost('view', failure);
      }
      done += length;
    }
    return count;
  }
}

/** A range that is lent once. */
class WindowLoan {
  readonly #mapping: NativeMapping;
  readonly #lent: LentBytes;

  constructor(mapping: NativeMapping) {
    this.#mapping = mapping;
    this.#lent = new LentBytes(mapping);
  }

  get bytes(): Uint8Array<ArrayBuffer> {
    return this.#lent.bytes;
  }

  end(cause?: unknown): void {
    const failure = this.#mapping.firstFailure();
    const ours = this.#lent.close();
    system.unmap(this.#mapping);
    if (!ours) throw transferred('access', cause);
    if (failure !== undefined) throw accessLost('view', failure, cause);
  }
}
