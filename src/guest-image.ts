// SPDX-License-Identifier: MIT
import { addAbortSignal, Readable } from 'node:stream';
import { setImmediate } from 'node:timers/promises';
import { Descriptor, type DescriptorLike, fdOf } from './descriptor.js';
import { type ExclusiveMemoryError, misuse } from './errors.js';
import { system } from './system.js';
import { type Bytes, checkBytes, checkFunction, checkOptions, unexpected } from './validate.js';

/**
 * Where an initial image comes from: a file, by its path or an open descriptor
 * (of a pipe or a socket, too), bytes, or a stream of them. What comes from a
 * file or a descriptor never is on the JavaScript heap; bytes and the chunks of
 * a stream are there by nature. An image is no secret: whoever made it had it.
 */
export type ImageSource = string | URL | DescriptorLike | Uint8Array | AsyncIterable<Uint8Array>;

export interface PopulateOptions {
  /** Byte offset in the memory. Default: 0. */
  readonly at?: Bytes;
  /**
   * Byte offset in a file or in bytes; a stream has none. Default: the start,
   * but of a descriptor where it stands, which then moves on, as for read(2).
   */
  readonly offset?: Bytes;
  /** Bytes to take at most. Default: all there are; more than fit are an error. */
  readonly length?: Bytes;
  readonly signal?: AbortSignal;
  /** Called after each part with the bytes that are there by then. */
  readonly onProgress?: (bytes: number) => void;
}

/** The memory that an image goes to. */
export interface ImageTarget {
  /** Throws once it cannot be used any more. */
  readonly fd: number;
  /** Bytes. */
  readonly size: number;
}

/** One read(2), in which an abort is not noticed, and so much native memory. */
const chunkBytes = 1 << 20;

/** How long a thread of the pool waits for input at a time; an abort is noticed after that. */
const waitSliceMs = 50;

/** Copies an image in; returns its length in bytes. */
export async function populate(
  target: ImageTarget,
  source: ImageSource,
  options: PopulateOptions,
): Promise<number> {
  const image = new Image(target, options);
  options.signal?.throwIfAborted();
  if (source instanceof Uint8Array) return await image.takeBytes(source);
  if (typeof source === 'string' || source instanceof URL) {
    const file = await system.openFile(source);
    try {
      return await image.takeFile(file.fd, 0);
    } finally {
      await file.close();
    }
  }
  // Before those with an fd: fs.ReadStream has one, and knows what it read ahead.
  if (isAsyncIterable(source)) return await image.takeStream(source);
  const expected = 'a path, a file descriptor, an object with an fd, a Uint8Array or a stream';
  // The caller may close his, and its number be used again, before the end.
  using held = new Descriptor(system.duplicate(fdOf(source, 'source', expected)));
  return await image.takeFile(held.fd, undefined);
}

class Image {
  readonly #target: ImageTarget;
  readonly #at: number;
  readonly #offset: number | undefined;
  readonly #signal: AbortSignal | undefined;
  readonly #onProgress: ((bytes: number) => void) | undefined;
  /** Whether the source may go on where we stop. */
  readonly #part: boolean;
  #done = 0;
  /** Bytes that may still come. */
  #left: number;

  constructor(target: ImageTarget, options: PopulateOptions) {
    checkOptions(options, 'options');
    const { at = 0, offset, length, signal, onProgress } = options;
    const { size } = target;
    this.#target = target;
    this.#at = checkBytes(at, 'at', 0, size - 1);
    this.#offset =
      offset === undefined ? undefined : checkBytes(offset, 'offset', 0, Number.MAX_SAFE_INTEGER);
    const room = size - this.#at;
    const name = `length (at ${this.#at} of ${size} bytes)`;
    this.#left = length === undefined ? room : checkBytes(length, name, 1, room);
    this.#part = length !== undefined;
    if (signal !== undefined && !(signal instanceof AbortSignal)) {
      throw unexpected('an AbortSignal', 'signal', signal);
    }
    if (onProgress !== undefined) checkFunction(onProgress, 'onProgress');
    this.#signal = signal;
    this.#onProgress = onProgress;
  }

  /** @param start Where to begin without an offset; undefined for where it stands. */
  async takeFile(fd: number, start: number | undefined): Promise<number> {
    const first = this.#offset ?? start;
    while (this.#left > 0 || !this.#part) {
      // One byte more than fits tells an image that ends here from one that does not.
      const wanted = Math.min(chunkBytes, this.#left + Number(!this.#part));
      const count = await system.populate(
        this.#target.fd,
        this.#at + this.#done,
        this.#left,
        fd,
        first === undefined ? -1 : first + this.#done,
        wanted,
        waitSliceMs,
      );
      this.#signal?.throwIfAborted();
      if (count === 0) break;
      if (count > this.#left) throw this.#tooLong();
      if (count > 0) this.#advance(count);
    }
    return this.#done;
  }

  async takeBytes(source: Uint8Array): Promise<number> {
    const offset = checkBytes(this.#offset ?? 0, 'offset', 0, source.byteLength);
    const rest = source.byteLength - offset;
    if (rest > this.#left && !this.#part) throw this.#tooLong();
    const bytes = source.subarray(offset, offset + Math.min(rest, this.#left));
    const { byteLength } = bytes;
    for (let start = 0; start < byteLength; start += chunkBytes) {
      if (start > 0) await setImmediate();
      this.#signal?.throwIfAborted();
      if (bytes.byteLength !== byteLength) throw transferred();
      this.#copy(bytes, start, Math.min(chunkBytes, byteLength - start));
    }
    return this.#done;
  }

  async takeStream(source: AsyncIterable<Uint8Array>): Promise<number> {
    if (this.#offset !== undefined) {
      throw unexpected('no offset, since the source is a stream,', 'offset', this.#offset);
    }
    for await (const chunk of untilAborted(source, this.#signal)) {
      if (!(chunk instanceof Uint8Array)) {
        throw unexpected('Uint8Arrays, as a stream without encoding has,', 'source', chunk);
      }
      if (chunk.byteLength > this.#left && !this.#part) throw this.#tooLong();
      const length = Math.min(chunk.byteLength, this.#left);
      if (length > 0) this.#copy(chunk, 0, length);
      if (this.#left === 0 && this.#part) break;
    }
    return this.#done;
  }

  #copy(bytes: Uint8Array, start: number, length: number): void {
    system.populateBytes(this.#target.fd, this.#at + this.#done, bytes, start, length);
    this.#advance(length);
  }

  #advance(count: number): void {
    this.#done += count;
    this.#left -= count;
    this.#onProgress?.(this.#done);
  }

  #tooLong(): ExclusiveMemoryError {
    const { size } = this.#target;
    return misuse(
      'ERR_EXMEM_SIZE',
      `Expected an image of at most ${size - this.#at} bytes for guest memory of ${size} bytes, at ` +
        `${this.#at}, but received more; make the memory larger or take a part of it with "length"`,
    );
  }
}

function transferred(): ExclusiveMemoryError {
  return misuse(
    'ERR_EXMEM_TRANSFERRED',
    'The buffer of the image was transferred away while it was copied; wait for populate() first',
  );
}

const isAsyncIterable = (value: unknown): value is AsyncIterable<Uint8Array> =>
  typeof value === 'object' && value !== null && Symbol.asyncIterator in value;

/** The same chunks; an abort ends the stream, and throws the signal's reason. */
async function* untilAborted(
  source: AsyncIterable<Uint8Array>,
  signal: AbortSignal | undefined,
): AsyncGenerator<unknown, void> {
  if (signal !== undefined && source instanceof Readable) addAbortSignal(signal, source);
  const iterator = source[Symbol.asyncIterator]();
  try {
    for (;;) {
      signal?.throwIfAborted();
      const next = await orAborted(iterator.next(), signal);
      if (next.done) return;
      yield next.value;
    }
  } finally {
    // Not waited for: it may still wait for a chunk that never comes.
    iterator.return?.().catch(() => undefined);
  }
}

/** What `promise` gives, unless the signal is aborted first: then its reason. */
async function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return await promise;
  let abort = () => { /* set below */ };
  const aborted = new Promise<never>((_, reject) => {
    abort = () => {
      // Whatever reason the program gave is what it expects back.
      reject(signal.reason as Error);
    };
    signal.addEventListener('abort', abort);
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', abort);
  }
}
