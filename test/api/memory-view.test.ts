// SPDX-License-Identifier: MIT
// The owner's side: what can be shown, where, and taken back.
import { closeSync, mkdtempSync, openSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import {
  type Access,
  capabilities,
  Descriptor,
  MemoryView,
  NoAccessError,
  RestrictedMemfd,
  Secret,
  type ViewRange,
} from 'exclusive-memory';
import { system } from '#internal/system.js';
import { expectErrno, expectRefused, thrown } from '../support/failures.js';
import { LossyFile } from '../support/lossy-file.js';
import { mappedMemory, openMemory, settle } from '../support/process.js';
import { sharedPages } from '../support/shared-pages.js';
import { gone, look, numberedFile, page, refused, store } from '../support/views.js';

const GiB = 2 ** 30;
const wrong = (value: unknown) => value as never;

describe('MemoryView', () => {
  afterEach(async () => {
    await settle();
    expect(openMemory(), 'no descriptor leaked').to.deep.equal([]);
    expect(mappedMemory(), 'no mapping leaked').to.deep.equal([]);
  });

  it('is reported by capabilities()', () => {
    expect(capabilities().memoryViews).to.deep.equal({ available: true });
  });

  describe('create()', () => {
    it('costs nothing for its size', () => {
      for (const size of [page, 16 * GiB, 16 * 2 ** 40, 2n ** 44n]) {
        using view = MemoryView.create({ size });
        expect(view.size).to.equal(Number(size));
        using handle = view.handle();
        expect(handle.size).to.equal(Number(size));
        expect(view.ranges()).to.deep.equal([]);
        expect(look(handle, view.size - 1)).to.equal(gone);
      }
    });
  });

  describe('map()', () => {
    it('shows a range of a file where it is told', () => {
      using file = numberedFile(8);
      using view = MemoryView.create({ size: 16 * page });
      using handle = view.handle();
      view.map(file.fd, { at: 4 * page, offset: 2 * page, size: 3 * page, access: 'read' });
      const seen = [3, 4, 5, 6, 7].map((index) => look(handle, index * page));
      expect(seen).to.deep.equal([gone, 3, 4, 5, gone]);
      expect(view.ranges()).to.deep.equal([
        { at: 4 * page, size: 3 * page, offset: 2 * page, access: 'read', yield: false, kind: 'file' },
      ]);
    });

    it('goes up to the end of the source by itself', () => {
      using file = numberedFile(4);
      file.resize(3 * page + 10);
      using view = MemoryView.create({ size: 16 * page });
      view.map(file.fd, { at: 0n, access: 'read' });
      view.map(file.fd, { at: 8 * page, offset: BigInt(page), access: 'read' });
      expect(view.ranges()).to.deep.include.members([
        { at: 0, size: 4 * page, offset: 0, access: 'read', yield: false, kind: 'file' },
        { at: 8 * page, size: 3 * page, offset: page, access: 'read', yield: false, kind: 'file' },
      ]);
    });

    it('takes whatever has a descriptor, which may be closed then', async () => {
      using file = numberedFile(1);
      const descriptor = new Descriptor(system.duplicate(file.fd));
      const fileHandle = await open(`/proc/self/fd/${file.fd}`, 'r');
      using view = MemoryView.create({ size: 4 * page });
      using handle = view.handle();
      view.map(descriptor, { at: 0, access: 'read-write' });
      view.map(fileHandle, { at: page, access: 'read' });
      descriptor.close();
      await fileHandle.close();
      handle.write(0, Uint8Array.of(42));
      expect([look(handle, 0), look(handle, page)]).to.deep.equal([42, 42]);
    });

    it('shows exclusive memory, which cannot be mapped meanwhile', () => {
      using memfd = RestrictedMemfd.create({ size: 2 * page });
      {
        using mapping = memfd.map();
        mapping.bytes.fill(7);
      }
      using view = MemoryView.create({ size: 4 * page });
      using handle = view.handle();
      view.map(memfd, { at: 0, access: 'read-write' });
      expect(view.ranges()).to.deep.equal([
        { at: 0, size: 2 * page, offset: 0, access: 'read-write', yield: false, kind: 'exclusive' },
      ]);
      expect([look(handle, page), look(handle, 2 * page)]).to.deep.equal([7, gone]);
      handle.write(page, Uint8Array.of(8));
      const error = thrown(() => memfd.map());
      expectErrno(error, 'EBUSY', 'mmap');
      expect(error.message).to.contain('a memory view');
      view.unmap(0, 2 * page);
      expect(look(handle, page)).to.equal(gone);
      using mapping = memfd.map();
      expect([mapping.bytes[0], mapping.bytes[page]]).to.deep.equal([7, 8]);
      const mapped = () => { view.map(memfd, { at: 0, access: 'read' }); };
      expectErrno(thrown(mapped), 'EBUSY', 'ioctl MEMVIEW_MAP_FD');
    });

    it('shows a Secret; yield lets it be used all the same', () => {
      using secret = Secret.random(100);
      secret.use((bytes) => bytes.fill(5));
      using view = MemoryView.create({ size: page });
      using handle = view.handle();
      view.map(secret, { at: 0, access: 'read' });
      expect(look(handle, 99)).to.equal(5);
      expectErrno(thrown(() => secret.use(() => 1)), 'EBUSY', 'mmap');

      view.map(secret, { at: 0, access: 'read', replace: true, yield: true });
      expect(view.ranges()[0]).to.include({ yield: true, kind: 'exclusive' });
      secret.use((bytes) => {
        bytes[99] = 6;
        expect(look(handle, 99)).to.equal(gone);
      });
      expect(look(handle, 99)).to.equal(6);
    });

    it('refuses what is mapped there, unless it is to be replaced', () => {
      using file = numberedFile(4);
      using view = MemoryView.create({ size: 8 * page });
      using handle = view.handle();
      view.map(file.fd, { at: 0, access: 'read' });
      const overlapping = { at: 3 * page, access: 'read' } as const;
      const error = thrown(() => { view.map(file.fd, overlapping); });
      expectErrno(error, 'EEXIST', 'ioctl MEMVIEW_MAP_FD');
      expect(error.message).to.contain('"replace: true"');
      expect([look(handle, 3 * page), look(handle, 4 * page)]).to.deep.equal([4, gone]);
      view.map(file.fd, { ...overlapping, replace: true });
      expect([look(handle, 3 * page), look(handle, 4 * page)]).to.deep.equal([1, 2]);
      expect(view.ranges().map(({ at, size }) => [at, size])).to.deep.equal([
        [0, 3 * page],
        [3 * page, 4 * page],
      ]);
    });

    it('refuses what the source does not allow', () => {
      using file = numberedFile(1);
      using readOnly = file.handle('r');
      using view = MemoryView.create({ size: 8 * page });
      view.map(readOnly, { at: 0, access: 'read' });
      for (const attempt of [
        () => { view.map(readOnly, { at: page, access: 'read-write' }); },
        () => { view.protect(0, page, 'read-write'); },
      ]) {
        const error = thrown(attempt);
        expect(error).to.include({ code: 'EACCES' });
        expect(error.message).to.contain('open');
      }
      expect(view.ranges()).to.have.length(1);
    });

    it('refuses views, and what is no memory at all', () => {
      using view = MemoryView.create({ size: page });
      using other = MemoryView.create({ size: page });
      using handle = other.handle();
      using own = view.handle();
      for (const source of [handle, own]) {
        const error = thrown(() => { view.map(source, { at: 0, access: 'read' }); });
        expectErrno(error, 'ELOOP', 'ioctl MEMVIEW_MAP_FD');
      }
      const options = { at: 0, size: page, access: 'read' } as const;
      expectErrno(thrown(() => { view.map(0, options); }), 'ENODEV', 'ioctl MEMVIEW_MAP_FD');
      expectErrno(thrown(() => { view.map(1_000_000, options); }), 'EBADF', 'ioctl MEMVIEW_MAP_FD');
      using file = numberedFile(1);
      expectErrno(
        thrown(() => { view.map(file.fd, { ...options, yield: true }); }),
        'EINVAL',
        'ioctl MEMVIEW_MAP_FD',
      );
    });

    it('refuses wrong arguments', () => {
      using file = numberedFile(1);
      using view = MemoryView.create({ size: 4 * page });
      const good = { at: 0, access: 'read' } as const;
      const wrongOptions: readonly (readonly [options: unknown, message: RegExp])[] = [
        [undefined, /an object for options/],
        [{ at: 0 }, /one of 'none', 'read', .* for access but received undefined/],
        [{ at: 0, access: 'write' }, /for access but received a string/],
        [{ access: 'read' }, /from 0 to 12288 for at but received undefined/],
        [{ ...good, at: 100 }, /a multiple of the page size, 4096, for at but received 100/],
        [{ ...good, at: 4 * page }, /from 0 to 12288 for at but received 16384/],
        [{ ...good, offset: 100 }, /a multiple of the page size, 4096, for offset/],
        [{ ...good, offset: page }, /a size, since file descriptor \d+ has 4096 bytes and none from 4096 on/],
        [{ ...good, size: 0 }, /from 4096 to 16384 for size \(at 0 of 16384 bytes\) but received 0/],
        [{ ...good, size: page + 1 }, /a multiple of the page size, 4096, for size/],
        [{ ...good, at: 3 * page, size: 2n * 4096n }, /from 4096 to 4096 for size \(at 12288 .* 8192n/],
        [{ ...good, replace: 1 }, /a boolean for replace/],
        [{ ...good, yield: 'yes' }, /a boolean for yield/],
      ];
      for (const [options, message] of wrongOptions) {
        expectRefused(() => { view.map(file.fd, wrong(options)); }, message);
      }
      expectRefused(
        () => { view.map(wrong('path'), good); },
        /an object with an fd, or a Secret for source but received a string/,
      );
      expect(view.ranges()).to.deep.equal([]);
    });
  });

  describe('mapMemory()', () => {
    it('shows memory of this process, both ways', () => {
      const memory = sharedPages(2).fill(1);
      using view = MemoryView.create({ size: 4 * page });
      using handle = view.handle();
      view.mapMemory(memory, { at: page, access: 'read-write' });
      expect([0, 1, 2, 3].map((index) => look(handle, index * page))).to.deep.equal([gone, 1, 1, gone]);
      memory[page] = 2;
      expect(look(handle, 2 * page)).to.equal(2);
      handle.write(page, Uint8Array.of(3));
      expect(memory[0]).to.equal(3);
      expect(view.ranges()).to.have.length(1);
      const [range] = view.ranges();
      expect(range).to.include({ at: page, size: 2 * page, kind: 'process', access: 'read-write' });
    });

    it('keeps the memory while it is shown, and no longer', async () => {
      using view = MemoryView.create({ size: 4 * page });
      using handle = view.handle();
      const weak = (() => {
        const memory = sharedPages(3).fill(7);
        view.mapMemory(memory, { at: 0, access: 'read' });
        return new WeakRef(memory.buffer);
      })();
      await settle();
      await settle();
      expect(weak.deref(), 'kept').to.be.instanceOf(SharedArrayBuffer);
      expect(look(handle, 2 * page)).to.equal(7);
      view.unmap(0, page);
      using file = numberedFile(1);
      view.map(file.fd, { at: page, access: 'read', replace: true });
      await settle();
      expect(weak.deref(), 'its last page is still shown').to.be.instanceOf(SharedArrayBuffer);
      expect([0, 1, 2].map((index) => look(handle, index * page))).to.deep.equal([gone, 1, 7]);
      view.unmap(2 * page, page);
      await settle();
      await settle();
      expect(weak.deref()).to.equal(undefined);
    });

    it('keeps the view itself, too', async () => {
      const handle = (() => {
        const view = MemoryView.create({ size: page });
        view.mapMemory(sharedPages(1).fill(7), { at: 0, access: 'read' });
        forgotten = new WeakRef(view);
        return view.handle();
      })();
      await settle();
      await settle();
      expect(look(handle, 0)).to.equal(7);
      forgotten.deref()?.close();
      expect(look(handle, 0)).to.equal(gone);
      handle.close();
    });

    it('refuses what is mapped there, and memory that could go', () => {
      using view = MemoryView.create({ size: 2 * page });
      view.mapMemory(sharedPages(1), { at: 0, access: 'read' });
      const again = () => { view.mapMemory(sharedPages(1), { at: 0, access: 'read' }); };
      expectErrno(thrown(again), 'EEXIST', 'ioctl MEMVIEW_MAP_MEM');
      expectRefused(
        () => { view.mapMemory(Buffer.alloc(page), { at: page, access: 'read' }); },
        /maxByteLength/,
      );
      const tooLong = () => { view.mapMemory(sharedPages(2), { at: page, access: 'read' }); };
      expectRefused(tooLong, /from 4096 to 4096 for size .* 8192/);
      expect(view.ranges()).to.have.length(1);
    });
  });

  describe('unmap()', () => {
    it('takes any pages, and splits what it has to', () => {
      using file = numberedFile(8);
      using view = MemoryView.create({ size: 8 * page });
      using handle = view.handle();
      view.map(file.fd, { at: 0, access: 'read' });
      view.unmap(3 * page, BigInt(2 * page));
      expect(view.ranges().map(({ at, size, offset }) => [at, size, offset])).to.deep.equal([
        [0, 3 * page, 0],
        [5 * page, 3 * page, 5 * page],
      ]);
      expect([2, 3, 4, 5].map((index) => look(handle, index * page))).to.deep.equal([3, gone, gone, 6]);
      view.unmap(0, 8 * page);
      view.unmap(0, 8 * page);
      expect(view.ranges()).to.deep.equal([]);
    });

    it('refuses wrong arguments', () => {
      using view = MemoryView.create({ size: 8 * page });
      expectRefused(() => { view.unmap(8 * page, page); }, /for at/);
      expectRefused(() => { view.unmap(0, 9 * page); }, /for size/);
      expectRefused(() => { view.unmap(1, page); }, /for at/);
      expectRefused(() => { view.unmap(0, wrong(undefined)); }, /for size/);
    });
  });

  describe('protect()', () => {
    it('changes what pages allow', () => {
      using file = numberedFile(4);
      using view = MemoryView.create({ size: 4 * page });
      using handle = view.handle();
      const storeAt = (index: number) => store(handle, index * page, 99);
      view.map(file.fd, { at: 0, access: 'read-write' });
      expect(storeAt(1)).to.equal('stored');
      view.protect(page, 2 * page, 'read');
      expect([0, 1, 2, 3].map(storeAt)).to.deep.equal(['stored', refused, refused, 'stored']);
      expect(look(handle, 2 * page)).to.equal(3);
      view.protect(page, page, 'none');
      expect([look(handle, page), look(handle, 2 * page)]).to.deep.equal([refused, 3]);
      const accesses = view.ranges().map(({ access }) => access);
      expect(accesses).to.deep.equal(['read-write', 'none', 'read', 'read-write']);
      view.protect(0, 4 * page, 'read-write');
      expect(storeAt(1)).to.equal('stored');
    });

    it('refuses wrong arguments', () => {
      using view = MemoryView.create({ size: page });
      expectRefused(() => { view.protect(0, page, wrong('x')); }, /for access/);
      expectRefused(() => { view.protect(0, 2 * page, 'read'); }, /for size/);
    });
  });

  describe('ranges()', () => {
    it('are in order, whatever their number', function () {
      this.timeout(60_000);
      using file = numberedFile(2);
      using view = MemoryView.create({ size: 10_000 * page });
      for (let i = 9998; i >= 0; i -= 2) {
        view.map(file.fd, { at: i * page, size: page, access: i % 4 ? 'read' : 'read-write' });
      }
      const ranges = view.ranges();
      expect(ranges).to.have.length(5000);
      const isRight = ({ at, access }: ViewRange, i: number) =>
        at === 2 * i * page && access === (i % 2 ? 'read' : 'read-write');
      expect(ranges.every(isRight)).to.equal(true);
    });

    it('have every access', () => {
      using file = numberedFile(1);
      using view = MemoryView.create({ size: 4 * page });
      const accesses: Access[] = ['none', 'read', 'read-write'];
      accesses.forEach((access, i) => { view.map(file.fd, { at: i * page, access }); });
      expect(view.ranges().map(({ access }) => access)).to.deep.equal(accesses);
    });

    it('can be executed where the file system allows it', () => {
      const folder = mkdtempSync(join(tmpdir(), 'exmem-'));
      try {
        const path = join(folder, 'code');
        writeFileSync(path, new Uint8Array(page));
        using view = MemoryView.create({ size: page });
        const fd = openSync(path, 'r');
        view.map(fd, { at: 0, access: 'read-execute' });
        closeSync(fd);
        expect(view.ranges().map(({ access }) => access)).to.deep.equal(['read-execute']);
      } finally {
        rmSync(folder, { recursive: true });
      }
    });
  });

  it('sync() waits until a change of a source has arrived', async () => {
    using file = numberedFile(4);
    using view = MemoryView.create({ size: 4 * page });
    using handle = view.handle();
    view.map(file.fd, { at: 0, access: 'read' });
    for (let i = 0; i < 100; i++) {
      file.resize(4 * page);
      expect(look(handle, 3 * page)).to.be.a('number');
      file.resize(page);
      await view.sync();
      expect([look(handle, 3 * page), look(handle, 0)]).to.deep.equal([gone, 1]);
    }
  });

  describe('handle()', () => {
    it('is a descriptor that can be mapped, and no more', () => {
      using view = MemoryView.create({ size: page });
      using handle = view.handle();
      expect(readlinkSync(`/proc/self/fd/${handle.fd}`)).to.equal('/memory-view');
      expectErrno(
        thrown(() => { system.viewUnmap(handle.fd, 0, page); }),
        'ENOTTY',
        'ioctl MEMVIEW_UNMAP_FD',
      );
      expectErrno(thrown(() => { system.ftruncate(handle.fd, 0); }), 'EINVAL', 'ftruncate');
      expectErrno(thrown(() => system.write(handle.fd, 'x')), 'EINVAL', 'write');
    });

    it('has a cap that ranges do not get over', () => {
      using file = numberedFile(1);
      using view = MemoryView.create({ size: page });
      view.map(file.fd, { at: 0, access: 'read-write' });
      using reader = view.handle({ cap: 'read' });
      using writer = view.handle({ cap: 'read-write' });
      expect(look(reader, 0)).to.equal(1);
      const error = thrown(() => reader.write(10, Uint8Array.of(2)));
      expect(error).to.be.instanceOf(NoAccessError).and.include({ offset: 0 });
      expect(writer.write(10, Uint8Array.of(2))).to.equal(1);
      expect(look(reader, 10)).to.equal(2);
    });

    it('refuses a wrong cap', () => {
      using view = MemoryView.create({ size: page });
      expectRefused(() => view.handle({ cap: wrong('none') }), /a cap that allows something/);
      expectRefused(() => view.handle({ cap: wrong('x') }), /for cap/);
      expectRefused(() => view.handle(wrong(3)), /an object for options/);
    });
  });

  describe('close()', () => {
    it('takes everything back, for every handle', () => {
      using file = numberedFile(2);
      const view = MemoryView.create({ size: 2 * page });
      view.map(file.fd, { at: 0, access: 'read' });
      using one = view.handle();
      using two = view.handle({ cap: 'read' });
      expect([look(one, 0), look(two, page)]).to.deep.equal([1, 2]);
      view.close();
      view.close();
      view[Symbol.dispose]();
      expect([look(one, 0), look(two, page)]).to.deep.equal([gone, gone]);
      expect(one.size).to.equal(2 * page);
    });

    it('gives exclusive memory back', () => {
      using secret = Secret.random(32);
      {
        using view = MemoryView.create({ size: page });
        view.map(secret, { at: 0, access: 'read' });
        expectErrno(thrown(() => secret.use(() => 1)), 'EBUSY', 'mmap');
      }
      expect(secret.use((bytes) => bytes.length)).to.equal(32);
    });

    it('takes back at once, even while a sync() runs', async () => {
      using file = numberedFile(1);
      const view = MemoryView.create({ size: page });
      view.map(file.fd, { at: 0, access: 'read' });
      using handle = view.handle();
      const syncs = Array.from({ length: 8 }, () => view.sync());
      view.close();
      expect(look(handle, 0)).to.equal(gone);
      await Promise.all(syncs);
    });

    it('happens when it was forgotten', async () => {
      using file = numberedFile(1);
      const handle = (() => {
        const view = MemoryView.create({ size: page });
        view.map(file.fd, { at: 0, access: 'read' });
        return view.handle();
      })();
      expect(look(handle, 0)).to.equal(1);
      await settle();
      await settle();
      expect(look(handle, 0)).to.equal(gone);
      handle.close();
    });
  });

  it('is what the idea was: a file, memory, and nothing in 16 GiB', () => {
    using iso = new LossyFile(12 * GiB);
    iso.fill(0x11, 4 * GiB, 1);
    iso.fill(0x22, 8 * GiB, 1);
    using readOnly = iso.handle('r');
    using ram = new LossyFile(32 * GiB);
    ram.fill(0x33, 8 * GiB, 1);
    using view = MemoryView.create({ size: 16 * GiB });
    view.map(readOnly, { at: 0, offset: 4 * GiB, size: 8 * GiB, access: 'read' });
    view.map(ram.fd, { at: 8 * GiB, offset: 8 * GiB, size: 2 * GiB, access: 'read-write' });
    using handle = view.handle();
    const seen = [0, 4, 8, 10, 15].map((gib) => look(handle, gib * GiB));
    expect(seen).to.deep.equal([0x11, 0x22, 0x33, gone, gone]);
    expect(thrown(() => handle.write(4 * GiB, Uint8Array.of(1)))).to.be.instanceOf(NoAccessError);
    expect(handle.write(9 * GiB, Uint8Array.of(1))).to.equal(1);
  });
});

/** What a test makes and must not refer to. */
let forgotten: WeakRef<MemoryView>;
