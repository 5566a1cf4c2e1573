// SPDX-License-Identifier: MIT
// What needs no module: refused arguments, and the sources of an initial image.
import { once } from 'node:events';
import { closeSync, fstatSync, openSync, writeSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { PassThrough, Readable } from 'node:stream';
import { Worker } from 'node:worker_threads';
import { expect } from 'chai';
import { Descriptor, GuestMemory, type ImageSource, type PopulateOptions, socketPair } from 'exclusive-memory';
import { type ImageTarget, populate } from '#internal/guest-image.js';
import { Lifetime } from '#internal/lifetime.js';
import { expectErrno, expectMisuse, expectRefused, rejection, thrown } from '../support/failures.js';
import { LossyFile } from '../support/lossy-file.js';
import { programOfSupport } from '../support/paths.js';
import { openFiles, settle } from '../support/process.js';

const wrong = (value: unknown) => value as never;
const page = 4096;

describe('GuestMemory, without the module', () => {
  describe('create() refuses', () => {
    const good = { size: page };
    const refused: readonly (readonly [options: unknown, message: RegExp])[] = [
      [undefined, /an object for options but received undefined/],
      [{}, /an integer from 4096 to 9007199254740991 for size but received undefined/],
      [{ size: 0 }, /from 4096 .* for size but received 0/],
      [{ size: 5000 }, /a multiple of the page size, 4096, for size but received 5000/],
      [{ size: 5000n }, /a multiple of the page size, 4096, for size but received 5000n/],
      [{ size: '4096' }, /for size but received a string/],
      [{ ...good, hugePages: 1 }, /a boolean for hugePages but received 1/],
      [{ ...good, hostAccess: 'no' }, /a boolean for hostAccess but received a string/],
      [{ ...good, name: 7 }, /a string for name but received 7/],
      [{ ...good, name: 'x'.repeat(32) }, /at most 31 bytes of UTF-8 without NUL for name/],
    ];
    for (const [options, message] of refused) {
      it(message.source, () => { expectRefused(() => GuestMemory.create(wrong(options)), message); });
    }
  });

  it('fromFd() refuses what is no guest memory, which stays the caller\'s', () => {
    expectRefused(() => GuestMemory.fromFd(wrong('3')), /a file descriptor for fd/);
    expectRefused(() => GuestMemory.fromFd(-1), /for fd but received -1/);
    using file = new LossyFile(page);
    const message = new RegExp(`Expected guest memory but file descriptor ${file.fd} is something else`);
    expectMisuse(thrown(() => GuestMemory.fromFd(file.fd)), 'ERR_EXMEM_WRONG_DESCRIPTOR', message);
    expect(fstatSync(file.fd).size).to.equal(page);
    using closed = new Descriptor(openSync('/dev/null', 'r'));
    closed.close();
    expectMisuse(thrown(() => GuestMemory.fromFd(closed)), 'ERR_EXMEM_DISPOSED');
  });
});

describe('an initial image, for a file that is no guest memory', () => {
  let file: LossyFile;
  let target: ImageTarget;
  before(() => {
    file = new LossyFile(4 * page);
    target = { fd: file.fd, size: 4 * page };
  });
  after(() => {
    file[Symbol.dispose]();
  });

  const fill = (source: ImageSource, options: PopulateOptions = {}) => populate(target, source, options);
  /** As far as it goes: the source is read, and the kernel asked to take it. */
  const taken = async (filling: Promise<number>) => {
    expectErrno(await rejection(filling), 'ENOTTY', 'ioctl EXMEM_POPULATE');
  };

  describe('is taken', () => {
    it('from bytes', () => taken(fill(Buffer.alloc(3))));
    it('from a path', () => taken(fill('/proc/self/stat')));
    it('from a URL', () => taken(fill(new URL('file:///proc/self/stat'))));
    it('from a stream', () => taken(fill(Readable.from([Buffer.alloc(3)]))));
    it('from a web stream', () => taken(fill(new Blob(['abc']).stream())));
    it('from a generator', () => {
      async function* chunks() {
        await Promise.resolve();
        yield Buffer.alloc(3);
      }
      return taken(fill(chunks()));
    });
    it('from a FileHandle', async () => {
      const handle = await open('/proc/self/stat');
      try {
        await taken(fill(handle));
      } finally {
        await handle.close();
      }
    });
    it('from a socket', async () => {
      const [a, b] = socketPair();
      using _here = a;
      using there = b;
      writeSync(there.fd, 'abc');
      await taken(fill(a));
    });
  });

  it('can be empty', async () => {
    expect(await fill('/dev/null')).to.equal(0);
    expect(await fill(new Uint8Array(0))).to.equal(0);
    expect(await fill(Buffer.alloc(9), { offset: 9 })).to.equal(0);
    expect(await fill(Readable.from([]))).to.equal(0);
    expect(await fill(Readable.from([Buffer.alloc(0)]))).to.equal(0);
    const fd = openSync('/dev/null', 'r');
    expect(await fill(fd)).to.equal(0);
    closeSync(fd);
  });

  it('must not be longer than the memory', async () => {
    const tooLong = async (filling: Promise<number>, room: number) => {
      const message = new RegExp(`an image of at most ${room} bytes for guest memory of 16384 bytes`);
      expectMisuse(await rejection(filling), 'ERR_EXMEM_SIZE', message);
    };
    const long = Buffer.alloc(4 * page + 1);
    await tooLong(fill(long), 4 * page);
    await tooLong(fill(long.subarray(2), { at: 8n }), 4 * page - 8);
    await tooLong(fill(Readable.from([long])), 4 * page);
  });

  describe('refuses', () => {
    const good = Buffer.alloc(3);
    const refused: readonly (readonly [source: unknown, options: unknown, message: RegExp])[] = [
      [null, {}, /a path, a file descriptor, an object with an fd, a Uint8Array or a stream for source/],
      [{}, {}, /a path, .* for source but received a Object/],
      [-1, {}, /for source but received -1/],
      [good, null, /an object for options but received null/],
      [good, { at: -1 }, /from 0 to 16383 for at but received -1/],
      [good, { at: 4 * page }, /from 0 to 16383 for at but received 16384/],
      [good, { offset: 4 }, /from 0 to 3 for offset but received 4/],
      [good, { offset: 1.5 }, /for offset but received 1\.5/],
      [good, { length: 0 }, /from 1 to 16384 for length \(at 0 of 16384 bytes\) but received 0/],
      [good, { at: page, length: 3 * page + 1 }, /from 1 to 12288 for length \(at 4096 of 16384/],
      [good, { signal: {} }, /an AbortSignal for signal but received a Object/],
      [good, { onProgress: 1 }, /a function for onProgress but received 1/],
      [Readable.from([good]), { offset: 0 }, /no offset, since the source is a stream, for offset/],
      [Readable.from(['text']), {}, /Uint8Arrays, .* for source but received a string of 4 characters/],
    ];
    for (const [source, options, message] of refused) {
      it(message.source, async () => {
        const error = await rejection(fill(wrong(source), wrong(options)));
        expectMisuse(error, 'ERR_EXMEM_ARGUMENT', message);
      });
    }
  });

  it('says which file is missing', async () => {
    const error = await rejection(fill('/nowhere/vmlinuz'));
    expectErrno(error, 'ENOENT', 'open');
    expect(error.message).to.contain('/nowhere/vmlinuz');
  });

  it('cannot be read at an offset where the source has none', async () => {
    const [a, b] = socketPair();
    using _a = a;
    using there = b;
    writeSync(there.fd, 'abc');
    expectErrno(await rejection(fill(a, { offset: 0 })), 'ESPIPE', 'read');
  });

  describe('when it is aborted', () => {
    const reason = new Error('enough');
    const reasonOf = (filling: Promise<number>) => filling.catch((error: unknown) => error);

    it('before it began, does nothing', async () => {
      const signal = AbortSignal.abort(reason);
      expect(await reasonOf(fill('/nowhere', { signal }))).to.equal(reason);
    });

    it('leaves a source that says nothing', async () => {
      const [a, b] = socketPair();
      using _a = a;
      using _b = b;
      const controller = new AbortController();
      setTimeout(() => { controller.abort(reason); }, 80);
      expect(await reasonOf(fill(a, { signal: controller.signal }))).to.equal(reason);
    });

    it('destroys a stream that says nothing', async () => {
      const stream = new PassThrough();
      const controller = new AbortController();
      setTimeout(() => { controller.abort(reason); }, 10);
      expect(await reasonOf(fill(stream, { signal: controller.signal }))).to.equal(reason);
      expect(stream.destroyed).to.equal(true);
    });

    it('does not wait for a generator that never yields', async () => {
      async function* silent(): AsyncGenerator<Uint8Array> {
        await new Promise(() => undefined);
        yield Buffer.alloc(1);
      }
      const controller = new AbortController();
      setTimeout(() => { controller.abort(reason); }, 10);
      expect(await reasonOf(fill(silent(), { signal: controller.signal }))).to.equal(reason);
    });
  });

  it('ends the stream that it does not take', async () => {
    const stream = Readable.from([Buffer.alloc(3), Buffer.alloc(3)]);
    await taken(fill(stream));
    expect(stream.destroyed).to.equal(true);
  });

  it('passes on what a stream fails with', async () => {
    const broken = new Error('the cable');
    const stream = new Readable({ read() { this.destroy(broken); } });
    expect(await fill(stream).catch((error: unknown) => error)).to.equal(broken);
  });

  it('ends with its worker thread', async () => {
    const [a, b] = socketPair();
    using source = a;
    using _b = b;
    const open = openFiles();
    const workerData = { fd: file.fd, source: source.fd };
    const worker = new Worker(programOfSupport('populating-worker'), { workerData });
    expect(await once(worker, 'message')).to.deep.equal(['waiting']);
    expect(await worker.terminate()).to.equal(1);
    await settle();
    expect(openFiles()).to.equal(open);
  });

  it('stops where the memory was closed meanwhile', async () => {
    const lifetime = new Lifetime('GuestMemory');
    const closing = {
      get fd() {
        lifetime.check();
        return file.fd;
      },
      size: page,
    };
    const [a, b] = socketPair();
    using _a = a;
    using _b = b;
    setTimeout(() => { lifetime.end('closed'); }, 10);
    const error = await rejection(populate(closing, a, {}));
    expectMisuse(error, 'ERR_EXMEM_DISPOSED', /GuestMemory was closed/);
  });
});
