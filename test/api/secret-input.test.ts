// SPDX-License-Identifier: MIT
import { execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect } from 'chai';
import { Descriptor, type ReadOptions, Secret, socketPair } from 'exclusive-memory';
import { expectErrno, expectMisuse, rejection } from '../support/failures.js';
import { backend, policy } from '../support/policy.js';
import { mappedMemory, openFiles, openMemory, settle } from '../support/process.js';

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

const fromFd = (fd: number | Descriptor, options: ReadOptions = {}) =>
  Secret.fromFd(fd, { policy, ...options });
const fromFile = (path: string | URL, options: ReadOptions = {}) =>
  Secret.fromFile(path, { policy, ...options });

describe(`reading a Secret (${backend})`, () => {
  let folder: string;
  let files: number;
  before(() => {
    folder = mkdtempSync(join(tmpdir(), 'exmem-'));
  });
  after(() => {
    rmSync(folder, { recursive: true });
  });
  beforeEach(() => {
    files = openFiles();
  });
  afterEach(async () => {
    await settle();
    expect(openMemory()).to.deep.equal([]);
    expect(mappedMemory()).to.deep.equal([]);
    expect(openFiles(), 'no descriptor leaked').to.equal(files);
  });

  function file(content: Uint8Array): string {
    const path = join(folder, 'input');
    writeFileSync(path, content);
    return path;
  }

  describe('fromFile()', () => {
    for (const length of [1, 4095, 4096, 4097, 70_001]) {
      it(`reads ${length} bytes into memory of that size`, async () => {
        const content = randomBytes(length);
        using secret = await fromFile(file(content));
        expect(secret).to.include({ byteLength: length, backend });
        expect(secret.use(sha256)).to.equal(sha256(content));
      });
    }

    for (const length of [1, 4096, 300_000]) {
      it(`reads a FIFO of ${length} bytes that come little by little`, async () => {
        const content = randomBytes(length);
        const fifo = join(folder, `fifo-${length}`);
        execFileSync('mkfifo', [fifo]);
        const script = `dd if="${file(content)}" bs=1000 status=none > "${fifo}"`;
        const written = once(spawn('sh', ['-c', script], { stdio: 'inherit' }), 'exit');
        using secret = await fromFile(fifo, { maxBytes: length });
        await written;
        expect(secret.byteLength).to.equal(length);
        expect(secret.use(sha256)).to.equal(sha256(content));
      });
    }

    it('takes a URL', async () => {
      using secret = await fromFile(pathToFileURL(file(Buffer.from('abc'))));
      expect(secret.byteLength).to.equal(3);
    });

    it('reads what says it has size 0, as files of /proc do', async () => {
      using secret = await fromFile('/proc/version');
      expect(secret.byteLength).to.be.above(20);
    });

    it('accepts exactly maxBytes, and not one more', async () => {
      const path = file(randomBytes(5000));
      using secret = await fromFile(path, { maxBytes: 5000 });
      expect(secret.byteLength).to.equal(5000);
      const error = await rejection(fromFile(path, { maxBytes: 4999 }));
      expectMisuse(error, 'ERR_EXMEM_SIZE', /at most 4999 bytes/);
    });

    it('refuses what has no end', async () => {
      const error = await rejection(fromFile('/dev/zero', { maxBytes: 10_000 }));
      expectMisuse(error, 'ERR_EXMEM_SIZE', /at most 10000 bytes .* raise maxBytes/);
    });

    it('refuses what is empty', async () => {
      for (const path of ['/dev/null', file(new Uint8Array())]) {
        expectMisuse(await rejection(fromFile(path)), 'ERR_EXMEM_SIZE', /the input is empty/);
      }
    });

    it('says what the kernel says', async () => {
      expectErrno(await rejection(fromFile(join(folder, 'absent'))), 'ENOENT', 'open');
      expectErrno(await rejection(fromFile(folder)), 'EISDIR', 'read');
      expectErrno(await rejection(fromFile('/proc/self/mem')), 'EIO', 'read');
    });

    it('says that a file is not for this user', async function () {
      if (process.getuid?.() !== 0) this.skip();
      const path = file(Buffer.from('abc'));
      chmodSync(path, 0o600);
      chmodSync(folder, 0o755);
      process.seteuid?.(65534);
      try {
        // Whoever reads has this thread's identity, and libuv's threads share it.
        expectErrno(await rejection(fromFile(path)), 'EACCES', 'open');
      } finally {
        process.seteuid?.(0);
      }
    });
  });

  describe('fromFd()', () => {
    it('begins at the position of the file, and leaves it open', async () => {
      using descriptor = new Descriptor(openSync(file(Buffer.from('user:password')), 'r'));
      readSync(descriptor.fd, Buffer.alloc(5));
      using secret = await fromFd(descriptor);
      expect(secret.use((bytes) => Buffer.from(bytes).toString())).to.equal('password');
      expect(readSync(descriptor.fd, Buffer.alloc(5))).to.equal(0);
    });

    it('waits for a slow writer without blocking the event loop', async () => {
      const [readEnd, writeEnd] = socketPair();
      let ticks = 0;
      const timer = setInterval(() => ticks++, 5);
      setTimeout(() => { writeSync(writeEnd.fd, 'late'); }, 120);
      setTimeout(() => { writeEnd.close(); }, 200);
      using secret = await fromFd(readEnd);
      clearInterval(timer);
      readEnd.close();
      expect(secret.byteLength).to.equal(4);
      expect(ticks).to.be.above(5);
    });

    it('ends when it is aborted, with the reason', async () => {
      const [readEnd, writeEnd] = socketPair();
      writeSync(writeEnd.fd, 'half a sec');
      const reason = new Error('enough');
      const controller = new AbortController();
      setTimeout(() => { controller.abort(reason); }, 60);
      const outcome = await fromFd(readEnd, { signal: controller.signal }).catch(
        (error: unknown) => error,
      );
      expect(outcome).to.equal(reason);
      readEnd.close();
      writeEnd.close();
    });

    it('refuses a descriptor that cannot be read', async () => {
      using descriptor = new Descriptor(openSync('/dev/null', 'w'));
      expectErrno(await rejection(fromFd(descriptor)), 'EBADF', 'read');
    });
  });

  it('shows no difference to what sha256sum reads', async () => {
    const path = file(randomBytes(12_345));
    using secret = await fromFile(path);
    const [sum] = execFileSync('sha256sum', [path], { encoding: 'utf8' }).split(' ');
    expect(secret.use(sha256)).to.equal(sum);
  });
});
