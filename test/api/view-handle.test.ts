// SPDX-License-Identifier: MIT
// The user's side of a view. What needs no module is in test/unit/view-handle.test.ts.
import { randomFill } from 'node:crypto';
import { readFileSync, writeSync } from 'node:fs';
import { expect } from 'chai';
import { Descriptor, MemoryView, NoAccessError, RestrictedMemfd, ViewHandle } from 'exclusive-memory';
import { system } from '#internal/system.js';
import { expectErrno, expectMisuse, rejection, thrown } from '../support/failures.js';
import { LossyFile } from '../support/lossy-file.js';
import { mappedMemory, openMemory, settle } from '../support/process.js';
import {
  expectDenied,
  expectRevoked,
  gone,
  look,
  numberedFile,
  page,
  refused,
  store,
} from '../support/views.js';

const TiB = 2 ** 40;

/** A kernel that checks itself takes a hundred times as long. */
const rounds = process.env.EXMEM_KERNEL === 'debug' ? 100 : 1000;

describe('ViewHandle, on views', () => {
  afterEach(async () => {
    await settle();
    expect(openMemory(), 'no descriptor leaked').to.deep.equal([]);
    expect(mappedMemory(), 'no mapping leaked').to.deep.equal([]);
  });

  it('reads and writes anywhere in 16 TiB, by number or bigint', () => {
    using file = new LossyFile(2 * page);
    using view = MemoryView.create({ size: 16 * TiB });
    using handle = view.handle();
    const places = [0, 4 * TiB - page, 2 ** 32, 8 * TiB + 2 ** 26 - page, 16 * TiB - 2 * page];
    for (const at of places) view.map(file.fd, { at, access: 'read-write' });
    const text = Buffer.from('over the edge');
    for (const at of places) {
      text[0] = (text[0] ?? 0) + 1;
      expect(handle.write(BigInt(at + page - 5), text)).to.equal(text.length);
      for (const other of places) {
        const into = Buffer.alloc(text.length);
        expect(handle.read(other + page - 5, into)).to.equal(text.length);
        expect(into.equals(text)).to.equal(true);
      }
    }
    expect(handle.read(16 * TiB, Buffer.alloc(1))).to.equal(0);
    expect(handle.read(16 * TiB - 3, Buffer.alloc(10))).to.equal(3);
    expect(handle.size).to.equal(16 * TiB);
  });

  it('lends the memory itself', () => {
    using file = new LossyFile(2 * page);
    using view = MemoryView.create({ size: TiB });
    view.map(file.fd, { at: TiB - 2 * page, access: 'read-write' });
    using handle = view.handle();
    handle.access({ offset: BigInt(TiB - page - 1), size: 3, write: true }, (bytes) => {
      bytes.set([1, 2, 3]);
      const into = Buffer.alloc(4);
      handle.read(TiB - page - 2, into);
      expect([...into]).to.deep.equal([0, 1, 2, 3]);
    });
  });

  it('names the first page that is missing, and the first that refuses', () => {
    using file = numberedFile(8);
    using view = MemoryView.create({ size: 32 * page });
    using handle = view.handle();
    view.map(file.fd, { at: 4 * page, access: 'read-write' });
    view.protect(10 * page, page, 'read');
    view.protect(11 * page, page, 'none');
    const into = new Uint8Array(32 * page);
    expectRevoked(thrown(() => handle.read(0, into)), 0);
    expectDenied(thrown(() => handle.read(4 * page, into.subarray(0, 8 * page))), 11 * page);
    expectDenied(thrown(() => handle.write(4 * page + 7, into.subarray(0, 8 * page))), 10 * page);
    expectRevoked(thrown(() => handle.read(12 * page + 1, into)), 12 * page);
    expect(handle.read(4 * page, into.subarray(0, 7 * page))).to.equal(7 * page);
    // A call in the other direction meets them in the other order.
    const backwards = thrown(() => {
      handle.access({ offset: 10, size: 32 * page - 10 }, (bytes) => {
        for (let i = bytes.length - 1; i >= 0; i -= 100) if (bytes[i] === 250) return;
      });
    });
    expectRevoked(backwards, 31 * page);
  });

  it('never stores where it may not, and goes on', () => {
    using file = numberedFile(2);
    using view = MemoryView.create({ size: 2 * page });
    using handle = view.handle();
    view.map(file.fd, { at: 0, access: 'read' });
    expect(store(handle, 0, 99)).to.equal(refused);
    expectDenied(
      thrown(() => {
        handle.access({ offset: 0, size: 2 * page, write: true }, (bytes) => {
          expect(bytes[page]).to.equal(2);
          bytes[page] = 99;
          // For the rest of the call, what was stored is there, and zeros beside it.
          expect([bytes[page], bytes[page + 1], bytes[0]]).to.deep.equal([99, 0, 1]);
        });
      }),
      page,
    );
    expect([look(handle, 0), look(handle, page)]).to.deep.equal([1, 2]);
    view.protect(0, 2 * page, 'read-write');
    expect(store(handle, 0, 99)).to.equal('stored');
  });

  it('loses what is unmapped during a call, and has it again in the next', () => {
    using file = numberedFile(16);
    using view = MemoryView.create({ size: 16 * page });
    using handle = view.handle();
    view.map(file.fd, { at: 0, access: 'read' });
    for (const write of [false, true]) {
      view.protect(0, 16 * page, 'read-write');
      let seen: unknown;
      const error = thrown(() => {
        handle.access({ offset: 0, size: 16 * page, write }, (bytes) => {
          expect(bytes[5 * page]).to.equal(6);
          view.unmap(5 * page, 3 * page);
          seen = [4, 5, 6, 7, 8].map((index) => bytes[index * page]);
          // Back, but not in this call.
          view.map(file.fd, { at: 5 * page, offset: 5 * page, size: 3 * page, access: 'read-write' });
          expect(bytes[5 * page]).to.equal(0);
        });
      });
      expectRevoked(error, 5 * page);
      expect(seen).to.deep.equal([5, 0, 0, 0, 9]);
      const after = handle.access({ offset: 5 * page, size: page, write }, (bytes) => bytes[0]);
      expect(after).to.equal(6);
    }
  });

  it('loses what is truncated', async () => {
    using file = numberedFile(8);
    using view = MemoryView.create({ size: 8 * page });
    using handle = view.handle();
    view.map(file.fd, { at: 0, access: 'read' });
    const into = new Uint8Array(8 * page);
    expect(handle.read(0, into)).to.equal(8 * page);
    file.resize(3 * page);
    await view.sync();
    expectRevoked(thrown(() => handle.read(page, into)), 3 * page);
    const isRight = (byte: number, i: number) => byte === 2 + Math.floor(i / page);
    expect(into.subarray(0, 2 * page).every(isRight)).to.equal(true);
    file.resize(8 * page);
    expect(handle.read(0, into)).to.equal(8 * page);
    expect([into[2 * page], into[3 * page]]).to.deep.equal([3, 0]);
  });

  it('loses exclusive memory while its owner uses it, and no byte of it leaks', () => {
    using memfd = RestrictedMemfd.create({ size: page });
    using view = MemoryView.create({ size: page });
    using handle = view.handle();
    view.map(memfd, { at: 0, access: 'read-write', yield: true });
    expect(store(handle, 0, 5)).to.equal('stored');
    {
      using mapping = memfd.map();
      expect(mapping.bytes[0]).to.equal(5);
      mapping.bytes[0] = 6;
      expect(look(handle, 0)).to.equal(gone);
      expect(store(handle, 0, 7)).to.equal(gone);
      expect(mapping.bytes[0]).to.equal(6);
    }
    expect(look(handle, 0)).to.equal(6);
    expectRevoked(
      thrown(() => {
        handle.access({ offset: 0, size: page }, (bytes) => {
          expect(bytes[0]).to.equal(6);
          using mapping = memfd.map();
          expect([mapping.bytes[0], bytes[0]]).to.deep.equal([6, 0]);
        });
      }),
      0,
    );
    memfd.destroy();
    expect(look(handle, 0)).to.equal(gone);
  });

  it('is EFAULT for a system call, and noticed on a thread of the pool', async () => {
    using file = numberedFile(64);
    using sink = new LossyFile(0);
    using view = MemoryView.create({ size: 64 * page });
    using handle = view.handle();
    view.map(file.fd, { at: 0, access: 'read-write' });
    handle.access({ offset: 0, size: 2 * page }, (bytes) => {
      view.unmap(0, page);
      try {
        writeSync(sink.fd, bytes);
        expect.fail('written');
      } catch (error) {
        expect(error).to.include({ code: 'EFAULT', syscall: 'write' });
      }
      expect(writeSync(sink.fd, bytes.subarray(page))).to.equal(page);
    });
    const error = await rejection(
      handle.access({ offset: page, size: 63 * page, write: true }, async (bytes) => {
        view.protect(8 * page, page, 'read');
        await new Promise((resolve, reject) => {
          randomFill(bytes, (failure) => { if (failure) reject(failure); else resolve(undefined); });
        });
      }),
    );
    // Openssl needs no particular order.
    expectDenied(error, 8 * page);
  });

  it('does no harm to what goes on after the end', async () => {
    using file = numberedFile(256);
    using view = MemoryView.create({ size: 256 * page });
    using handle = view.handle();
    view.map(file.fd, { at: 0, access: 'read-write' });
    const filled = new Promise((resolve) => {
      handle.access({ offset: 0, size: 256 * page, write: true }, (bytes) => {
        randomFill(bytes, () => { resolve('filled'); });
      });
    });
    view.close();
    handle.close();
    expect(await filled).to.equal('filled');
  });

  it(`is survived ${rounds} times`, async function () {
    this.timeout(600_000);
    const pages = 16;
    using file = numberedFile(pages);
    using view = MemoryView.create({ size: pages * page });
    using handle = view.handle();
    view.map(file.fd, { at: 0, access: 'read' });
    const into = new Uint8Array(pages * page);
    const range = { offset: 0, size: pages * page };
    for (let round = 0; round < rounds; round++) {
      const lost = (round * 7) % pages;
      const error = thrown(() => {
        handle.access(range, (bytes) => {
          view.unmap(lost * page, page);
          for (let i = 0; i < pages; i++) {
            if (bytes[i * page] !== (i === lost ? 0 : i + 1)) throw new Error(`page ${i}`);
          }
        });
      });
      if (error.cause !== undefined) throw error;
      expectRevoked(error, lost * page);
      if (round % 10 === 0) expectRevoked(thrown(() => handle.read(0, into)), lost * page);
      view.map(file.fd, { at: lost * page, offset: lost * page, size: page, access: 'read' });
      handle.read(0, into);
      if (into[lost * page] !== lost + 1) throw new Error('not back');
    }
    await settle();
    expect(readFileSync('/proc/self/maps', 'utf8').split('\n').length).to.be.below(3000);
  });

  it('refuses exclusive memory, which has no windows', () => {
    using memfd = RestrictedMemfd.create({ size: 2 * page });
    using handle = ViewHandle.fromFd(new Descriptor(system.duplicate(memfd.fd)));
    expectErrno(
      thrown(() => handle.access({ offset: page, size: page }, () => 1)),
      'EINVAL',
      'mmap',
    );
  });

  it('outlives the view, with nothing to show', () => {
    const view = MemoryView.create({ size: page });
    using handle = view.handle();
    view.close();
    expect(handle.size).to.equal(page);
    expect(look(handle, 0)).to.equal(gone);
    expectMisuse(thrown(() => view.handle()), 'ERR_EXMEM_DISPOSED', /This MemoryView was closed/);
    expect(thrown(() => handle.write(0, Uint8Array.of(1)))).not.to.be.instanceOf(NoAccessError);
  });
});
