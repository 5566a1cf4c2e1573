// SPDX-License-Identifier: MIT
// Guest memory without a guest: what goes in, what the host can see, and what it cannot.
import { closeSync, openSync, readlinkSync, writeSync } from 'node:fs';
import { Readable } from 'node:stream';
import { expect } from 'chai';
import {
  type Descriptor,
  GuestMemory,
  RestrictedMemfd,
  sendDescriptors,
  socketPair,
  type ViewHandle,
} from 'exclusive-memory';
import { expectErrno, expectMisuse, expectRefused, rejection, thrown } from '../support/failures.js';
import type { GuestRequest } from '../support/guest-peer-process.js';
import { LossyFile } from '../support/lossy-file.js';
import { Peer } from '../support/peer.js';
import { mappedMemory, openMemory, settle } from '../support/process.js';
import { expectDenied, expectRevoked, gone, look, numberedFile, page, refused, store } from '../support/views.js';

const MiB = 1 << 20;
const wrong = (value: unknown) => value as never;

/** What a host sees of all of it, after it was made shared. */
function contentOf(memory: GuestMemory): Buffer {
  memory.share(0, memory.size);
  using window = memory.window({ access: 'read' });
  using handle = window.handle();
  const content = Buffer.alloc(memory.size);
  handle.read(0, content);
  memory.unshare(0, memory.size);
  return content;
}

/** The first byte of each page. */
const pagesOf = (content: Uint8Array) =>
  Array.from({ length: content.length / page }, (_, i) => content[i * page]);

describe('GuestMemory', () => {
  afterEach(async () => {
    await settle();
    expect(openMemory(), 'no descriptor leaked').to.deep.equal([]);
    expect(mappedMemory(), 'no mapping leaked').to.deep.equal([]);
  });

  describe('create()', () => {
    it('makes memory for a guest, private and zeroed', () => {
      using memory = GuestMemory.create({ size: 4n * BigInt(page), name: 'ram' });
      expect(memory.size).to.equal(4 * page);
      expect(memory.info()).to.include({
        size: 4 * page,
        sharedBytes: 0,
        guest: true,
        huge: false,
        hostAccess: false,
        mapped: false,
        bound: false,
        contentSealed: false,
        layoutSealed: false,
      });
      expect(readlinkSync(`/proc/self/fd/${memory.fd}`)).to.equal('/restricted_memfd:ram');
      expect(contentOf(memory).every((byte) => byte === 0)).to.equal(true);
    });

    it('takes whole blocks of 2 MiB', () => {
      using memory = GuestMemory.create({ size: 4 * MiB, hugePages: true });
      using _mapping = memory.map();
      expect(memory.info()).to.include({ huge: true, residentBytes: 4 * MiB, outOfDirectMap: true });
    });

    it('lets the host in if asked to', () => {
      using memory = GuestMemory.create({ size: page, hostAccess: true });
      expect(memory.info()).to.include({ guest: true, hostAccess: true });
      using memfd = RestrictedMemfd.fromFd(memory.release());
      using mapping = memfd.map();
      mapping.bytes[0] = 1;
      expect(memfd.info().outOfDirectMap).to.equal(true);
    });

    it('refuses more than the machine has', () => {
      const error = thrown(() => GuestMemory.create({ size: 2 ** 50 }));
      expectErrno(error, 'ENOMEM', 'ioctl EXMEM_CREATE');
      expect(error.message).to.contain('limit_bytes');
    });
  });

  describe('populate()', () => {
    it('takes a file, page by page what it holds', async () => {
      using file = numberedFile(5);
      using memory = GuestMemory.create({ size: 8 * page });
      expect(await memory.populate(`/proc/self/fd/${file.fd}`)).to.equal(5 * page);
      expect(pagesOf(contentOf(memory))).to.deep.equal([1, 2, 3, 4, 5, 0, 0, 0]);
    });

    it('takes a part of it, to any place', async () => {
      using file = numberedFile(5);
      using memory = GuestMemory.create({ size: 4 * page });
      const options = { at: 100, offset: BigInt(2 * page) - 1n, length: page + 2 };
      expect(await memory.populate(file.fd, options)).to.equal(page + 2);
      const content = contentOf(memory);
      expect([...content.subarray(99, 103)]).to.deep.equal([0, 2, 3, 3]);
      expect([...content.subarray(100 + page, 103 + page)]).to.deep.equal([3, 4, 0]);
    });

    it('takes less than asked for if there is no more', async () => {
      using file = numberedFile(1);
      using memory = GuestMemory.create({ size: 4 * page });
      expect(await memory.populate(file.fd, { offset: 100, length: 2 * page })).to.equal(page - 100);
    });

    it('goes on where a descriptor stands', async () => {
      using file = numberedFile(3);
      using memory = GuestMemory.create({ size: 3 * page });
      const fd = openSync(`/proc/self/fd/${file.fd}`, 'r');
      expect(await memory.populate(fd, { length: page })).to.equal(page);
      expect(await memory.populate(fd, { at: page })).to.equal(2 * page);
      closeSync(fd);
      expect(pagesOf(contentOf(memory))).to.deep.equal([1, 2, 3]);
    });

    it('takes what comes over a socket until it ends', async () => {
      using memory = GuestMemory.create({ size: page });
      const [here, there] = socketPair();
      using source: Descriptor = here;
      const filling = memory.populate(source);
      writeSync(there.fd, 'abc');
      setTimeout(() => {
        writeSync(there.fd, 'def');
        there.close();
      }, 120);
      expect(await filling).to.equal(6);
      expect(contentOf(memory).toString('latin1', 0, 7)).to.equal('abcdef\0');
    });

    it('takes bytes, more than one part of them', async () => {
      const bytes = Buffer.alloc(2 * MiB + 5, 0xaa);
      bytes[bytes.length - 1] = 7;
      using memory = GuestMemory.create({ size: 4 * MiB });
      const steps: number[] = [];
      const onProgress = (done: number) => steps.push(done);
      expect(await memory.populate(bytes, { at: 1, onProgress })).to.equal(bytes.length);
      expect(steps).to.deep.equal([MiB, 2 * MiB, bytes.length]);
      const content = contentOf(memory);
      expect(content.subarray(1, 1 + bytes.length).equals(bytes)).to.equal(true);
      expect([content[0], content[1 + bytes.length]]).to.deep.equal([0, 0]);
    });

    it('notices that the bytes were transferred away', async () => {
      const bytes = new Uint8Array(2 * MiB);
      using memory = GuestMemory.create({ size: 2 * MiB });
      const onProgress = () => { structuredClone(bytes.buffer, { transfer: [bytes.buffer] }); };
      const error = await rejection(memory.populate(bytes, { onProgress }));
      expectMisuse(error, 'ERR_EXMEM_TRANSFERRED', /wait for populate\(\) first/);
    });

    it('needs no descriptor of the caller once it has begun', async () => {
      using memory = GuestMemory.create({ size: 4 * MiB });
      const file = new LossyFile(4 * MiB);
      file.fill(7, 4 * MiB - 1, 1);
      const filling = memory.populate(file.fd, { offset: 0 });
      file[Symbol.dispose]();
      expect(await filling).to.equal(4 * MiB);
      expect(contentOf(memory)[4 * MiB - 1]).to.equal(7);
    });

    it('takes a part of the bytes', async () => {
      using memory = GuestMemory.create({ size: page });
      const options = { at: page - 2, offset: 1, length: 2 };
      expect(await memory.populate(Buffer.from('abcdef'), options)).to.equal(2);
      expect(contentOf(memory).toString('latin1', page - 2)).to.equal('bc');
    });

    it('takes a stream, and a part of one', async () => {
      using memory = GuestMemory.create({ size: page });
      expect(await memory.populate(Readable.from([Buffer.from('abc'), Buffer.from('def')]))).to.equal(6);
      const stream = Readable.from([Buffer.from('ghi'), Buffer.from('jkl')]);
      expect(await memory.populate(stream, { at: 6, length: 4 })).to.equal(4);
      expect(stream.destroyed).to.equal(true);
      expect(contentOf(memory).toString('latin1', 0, 11)).to.equal('abcdefghij\0');
    });

    it('takes no image that is too long', async () => {
      using memory = GuestMemory.create({ size: page });
      using file = numberedFile(2);
      expectMisuse(await rejection(memory.populate(file.fd, { offset: 0 })), 'ERR_EXMEM_SIZE');
      expectMisuse(await rejection(memory.populate(file.fd, { offset: page, at: 1 })), 'ERR_EXMEM_SIZE');
      const stream = Readable.from([Buffer.alloc(page), Buffer.alloc(1)]);
      expectMisuse(await rejection(memory.populate(stream)), 'ERR_EXMEM_SIZE');
      expect(await memory.populate(file.fd, { offset: page })).to.equal(page);
    });

    it('can be aborted in the middle', async () => {
      using file = new LossyFile(64 * MiB);
      using memory = GuestMemory.create({ size: 64 * MiB });
      const controller = new AbortController();
      const reason = new Error('enough');
      let reached = 0;
      const onProgress = (done: number) => {
        reached = done;
        if (done >= 4 * MiB) controller.abort(reason);
      };
      const filling = memory.populate(file.fd, { offset: 0, onProgress, signal: controller.signal });
      expect(await filling.catch((error: unknown) => error)).to.equal(reason);
      expect(reached).to.be.within(4 * MiB, 8 * MiB);
    });

    it('stops when the memory is closed', async () => {
      using file = new LossyFile(64 * MiB);
      const memory = GuestMemory.create({ size: 64 * MiB });
      const onProgress = () => { memory.close(); };
      const filling = memory.populate(file.fd, { offset: 0, onProgress });
      expectMisuse(await rejection(filling), 'ERR_EXMEM_DISPOSED', /GuestMemory was closed/);
    });

    it('copies a large file past the JavaScript heap', async function () {
      this.timeout(120_000);
      const size = 64 * MiB;
      using file = new LossyFile(size);
      for (let at = 0; at < size; at += MiB) file.fill(at / MiB + 1, at, page);
      using memory = GuestMemory.create({ size });
      const used = () => {
        const { heapUsed, arrayBuffers } = process.memoryUsage();
        return heapUsed + arrayBuffers;
      };
      await settle();
      const before = used();
      let most = 0;
      const onProgress = () => { most = Math.max(most, used()); };
      expect(await memory.populate(file.fd, { offset: 0, onProgress })).to.equal(size);
      expect(most - before).to.be.below(8 * MiB);
      memory.share(0, size);
      using window = memory.window();
      using handle = window.handle();
      for (let at = 0; at < size; at += MiB) expect(look(handle, at)).to.equal(at / MiB + 1);
    });
  });

  describe('share() and unshare()', () => {
    let memory: GuestMemory;
    let handle: ViewHandle;
    beforeEach(async () => {
      using file = numberedFile(4);
      memory = GuestMemory.create({ size: 4 * page });
      await memory.populate(file.fd, { offset: 0 });
      using window = memory.window();
      handle = window.handle();
    });
    afterEach(() => {
      handle.close();
      memory.close();
    });
    const seen = (through: ViewHandle) => [0, 1, 2, 3].map((i) => look(through, i * page));

    it('show pages to the host, and take them back', () => {
      // The window of beforeEach() is gone: nothing is shown by what outlived it.
      memory.share(page, 2 * page);
      expect(seen(handle)).to.deep.equal([gone, gone, gone, gone]);

      using window = memory.window();
      using through = window.handle();
      expect(seen(through)).to.deep.equal([gone, 2, 3, gone]);
      expect(memory.info().sharedBytes).to.equal(2 * page);
      expect(store(through, 2 * page, 9)).to.equal('stored');
      memory.unshare(BigInt(2 * page), page);
      expect(seen(through)).to.deep.equal([gone, 2, gone, gone]);
      memory.share(0, 4 * page);
      expect(seen(through)).to.deep.equal([1, 2, 9, 4]);
      memory.unshare(0, 4 * page);
      expect(memory.info().sharedBytes).to.equal(0);
      expect(seen(through)).to.deep.equal([gone, gone, gone, gone]);
    });

    it('take pages from whoever uses them, who is told', () => {
      memory.share(0, 2 * page);
      using window = memory.window();
      using through = window.handle();
      const lost = thrown(() => {
        through.access({ offset: 0, size: 2 * page }, (bytes) => {
          expect([bytes[0], bytes[page]]).to.deep.equal([1, 2]);
          memory.unshare(page, page);
          expect([bytes[0], bytes[page]]).to.deep.equal([1, 0]);
        });
      });
      expectRevoked(lost, page);
    });

    it('wipe if asked to', () => {
      memory.share(0, 2 * page, { wipe: true });
      using window = memory.window();
      using through = window.handle();
      expect(seen(through)).to.deep.equal([0, 0, gone, gone]);
      store(through, 0, 7);
      memory.unshare(0, page, { wipe: true });
      memory.share(0, 4 * page);
      expect(seen(through)).to.deep.equal([0, 0, 3, 4]);
    });

    it('may do what is done already', () => {
      memory.unshare(0, 4 * page);
      memory.share(0, 3 * page);
      memory.share(page, 3 * page);
      expect(memory.info().sharedBytes).to.equal(4 * page);
    });

    it('make a window that can only be read, if asked to', () => {
      memory.share(0, page);
      using window = memory.window({ access: 'read' });
      using through = window.handle();
      expect(look(through, 0)).to.equal(1);
      expectDenied(thrown(() => { through.write(0, Uint8Array.of(1)); }), 0);
      expect(store(through, 0, 1)).to.equal(refused);
    });

    it('refuse ranges that are none', () => {
      const attempts: readonly (readonly [action: () => unknown, message: RegExp])[] = [
        [() => { memory.share(1, page); }, /a multiple of the page size, 4096, for offset but received 1/],
        [() => { memory.share(0, 0); }, /from 4096 to 16384 for size \(at 0 of 16384 bytes\) but received 0/],
        [() => { memory.share(0, 5 * page); }, /from 4096 to 16384 for size/],
        [() => { memory.unshare(3 * page, 2 * page); }, /from 4096 to 4096 for size/],
        [() => { memory.unshare(4 * page, page); }, /from 0 to 12288 for offset/],
        [() => { memory.share(0, page, wrong(null)); }, /an object for options/],
        [() => { memory.share(0, page, { wipe: wrong(1) }); }, /a boolean for wipe/],
        [() => memory.window({ access: wrong('none') }), /one of 'read', 'read-write' for access/],
      ];
      for (const [action, message] of attempts) expectRefused(action, message);
      expect(memory.info().sharedBytes).to.equal(0);
    });
  });

  describe('seal()', () => {
    it('ends populate()', async () => {
      using memory = GuestMemory.create({ size: page });
      memory.seal({ content: true });
      expect(memory.info()).to.include({ contentSealed: true, layoutSealed: false });
      const error = await rejection(memory.populate(Buffer.alloc(1)));
      expectErrno(error, 'EPERM', 'ioctl EXMEM_POPULATE');
      expect(error.message).to.contain('before seal()');
      using file = numberedFile(1);
      expectErrno(await rejection(memory.populate(file.fd, { offset: 0 })), 'EPERM', 'ioctl EXMEM_POPULATE');
      memory.share(0, page);
    });

    it('ends share() and unshare()', async () => {
      using memory = GuestMemory.create({ size: 2 * page });
      memory.share(0, page);
      memory.seal({ layout: true });
      expect(memory.info()).to.include({ contentSealed: false, layoutSealed: true });
      for (const convert of [() => { memory.share(page, page); }, () => { memory.unshare(0, page); }]) {
        expectErrno(thrown(convert), 'EPERM', 'ioctl EXMEM_SET_SHARED');
      }
      expect(memory.info().sharedBytes).to.equal(page);
      expect(await memory.populate(Buffer.alloc(1))).to.equal(1);
    });

    it('seals both, one after the other or at once, for good', () => {
      using memory = GuestMemory.create({ size: page });
      memory.seal({ layout: true });
      memory.seal({ content: true, layout: false });
      using other = GuestMemory.create({ size: page });
      other.seal();
      other.seal();
      for (const one of [memory, other]) {
        expect(one.info()).to.include({ contentSealed: true, layoutSealed: true });
      }
    });

    it('seals what it is told', () => {
      using memory = GuestMemory.create({ size: page });
      expectRefused(() => { memory.seal({}); }, /'content' or 'layout' to seal but received neither/);
      expectRefused(() => { memory.seal({ content: wrong(1) }); }, /a boolean for content/);
      expectRefused(() => { memory.seal(wrong(null)); }, /an object for what/);
      expect(memory.info()).to.include({ contentSealed: false, layoutSealed: false });
    });
  });

  describe('map()', () => {
    it('is for KVM: nobody may use it', () => {
      using memory = GuestMemory.create({ size: 3 * page });
      using mapping = memory.map();
      expect(mapping.size).to.equal(3 * page);
      const lines = mappedMemory();
      expect(lines).to.have.length(1);
      expect(lines[0]).to.match(/ ---s .*\/restricted_memfd:/);
      expect(memory.info()).to.include({ mapped: true, residentBytes: 3 * page, outOfDirectMap: true });
    });

    it('cannot be had for reading', () => {
      using memory = GuestMemory.create({ size: page });
      using memfd = RestrictedMemfd.fromFd(memory.release());
      const error = thrown(() => memfd.map());
      expectErrno(error, 'EACCES', 'mmap');
      expect(error.message).to.contain('GuestMemory');
    });

    it('is the only one', async () => {
      await using peer = new Peer<GuestRequest>('guest-peer-process');
      using memory = GuestMemory.create({ size: page });
      sendDescriptors(peer.socket, [memory.fd]);
      expect(await peer.do('adopt')).to.equal(`${page} bytes`);
      const mapping = memory.map();
      expectErrno(thrown(() => memory.map()), 'EBUSY', 'mmap');
      expect(await peer.do('map')).to.equal('EBUSY mmap');
      mapping.unmap();
      expect(await peer.do('map')).to.equal('mapped');
      expectErrno(thrown(() => memory.map()), 'EBUSY', 'mmap');
      expect(await peer.do('unmap')).to.equal('unmapped');
      using _again = memory.map();
    });

    it('keeps shared pages in the window', () => {
      using memory = GuestMemory.create({ size: 2 * page });
      memory.share(page, page);
      using window = memory.window();
      using handle = window.handle();
      store(handle, page, 5);
      using _mapping = memory.map();
      expect([look(handle, 0), look(handle, page)]).to.deep.equal([gone, 5]);
      expect(memory.info()).to.include({ sharedBytes: page, outOfDirectMap: true });
    });
  });

  describe('fromFd()', () => {
    it('takes over a descriptor, and finds out what it is', () => {
      const memory = GuestMemory.create({ size: 2 * page });
      using other = GuestMemory.fromFd(memory.release());
      expect(other.size).to.equal(2 * page);
      expectMisuse(thrown(() => memory.fd), 'ERR_EXMEM_DISPOSED', /was released/);
    });

    it('refuses exclusive memory that is not for guests, which stays the caller\'s', () => {
      using memfd = RestrictedMemfd.create({ size: page });
      const message = /is exclusive memory that is not for guests/;
      expectMisuse(thrown(() => GuestMemory.fromFd(memfd.fd)), 'ERR_EXMEM_WRONG_DESCRIPTOR', message);
      expect(memfd.size).to.equal(page);
    });

    it('refuses guest memory without a size', () => {
      const fd = openSync('/dev/exclusive_guest', 'r+');
      try {
        expectMisuse(thrown(() => GuestMemory.fromFd(fd)), 'ERR_EXMEM_SIZE', /has none yet/);
      } finally {
        closeSync(fd);
      }
    });
  });

  it('bind() takes a VM only', () => {
    using memory = GuestMemory.create({ size: page });
    using file = numberedFile(1);
    const error = thrown(() => { memory.bind(file); });
    expectErrno(error, 'EINVAL', 'ioctl EXMEM_BIND_VM');
    expect(error.message).to.contain('a KVM VM');
    expectRefused(() => { memory.bind(wrong('vm')); }, /a file descriptor, or an object with one as fd, for vm/);
    expect(memory.info().bound).to.equal(false);
  });

  it('destroy() ends it, in windows too', () => {
    using memory = GuestMemory.create({ size: page });
    memory.share(0, page);
    using window = memory.window();
    using handle = window.handle();
    expect(look(handle, 0)).to.equal(0);
    using _mapping = memory.map();
    memory.destroy();
    expect(look(handle, 0)).to.equal(gone);
    expect(memory.info()).to.include({ destroyed: true, residentBytes: 0 });
  });

  it('is in no place of this process', async () => {
    using memory = GuestMemory.create({ size: page });
    await memory.populate(Buffer.from('abc'));
    using _mapping = memory.map();
    const [, from] = /^([0-9a-f]+)-/.exec(mappedMemory()[0] ?? '') ?? [];
    const fd = openSync('/proc/self/mem', 'r+');
    try {
      const at = Number.parseInt(from ?? '', 16);
      expect(() => writeSync(fd, 'x', at)).to.throw(/EIO/);
    } finally {
      closeSync(fd);
    }
  });
});
