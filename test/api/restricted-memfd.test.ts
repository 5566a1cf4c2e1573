// SPDX-License-Identifier: MIT
import { fstatSync, readlinkSync } from 'node:fs';
import { expect } from 'chai';
import { Descriptor, RestrictedMemfd, sendDescriptors } from 'exclusive-memory';
import { expectErrno, expectMisuse, rejection, thrown } from '../support/failures.js';
import { Peer } from '../support/peer.js';
import { mappedMemory, openMemory, settle } from '../support/process.js';
import { transfer } from '../support/transfer.js';

const page = 4096;

describe('RestrictedMemfd', () => {
  afterEach(async () => {
    await settle();
    expect(openMemory(), 'no descriptor leaked').to.deep.equal([]);
    expect(mappedMemory(), 'no mapping leaked').to.deep.equal([]);
  });

  describe('create()', () => {
    it('makes an object of the exact size', () => {
      using memfd = RestrictedMemfd.create({ size: 100 });
      expect(memfd.size).to.equal(100);
      expect(fstatSync(memfd.fd)).to.include({ size: 100 });
      using mapping = memfd.map();
      expect(mapping.bytes.byteLength).to.equal(100);
    });

    it('shows its name', () => {
      using memfd = RestrictedMemfd.create({ size: 1, name: 'a-key' });
      expect(readlinkSync(`/proc/self/fd/${memfd.fd}`)).to.equal('/restricted_memfd:a-key');
    });

    it('leaves the size open without one', () => {
      using memfd = RestrictedMemfd.create();
      expect(memfd.size).to.equal(0);
      memfd.setSize(page + 1);
      expect(memfd.size).to.equal(page + 1);
    });

    it('takes whole blocks of 2 MiB', () => {
      using memfd = RestrictedMemfd.create({ size: 2 << 20, huge: true });
      using mapping = memfd.map();
      mapping.bytes.fill(1);
      expect(memfd.info()).to.include({ huge: true, residentBytes: 2 << 20, outOfDirectMap: true });
    });

    it('refuses more than the machine has', () => {
      const error = thrown(() => RestrictedMemfd.create({ size: 2 ** 50 }));
      expectErrno(error, 'ENOMEM', 'ioctl EXMEM_CREATE');
      expect(error.message).to.contain('limit_bytes');
    });
  });

  describe('map()', () => {
    it('gives the memory itself, zeroed, for reading and writing', () => {
      using memfd = RestrictedMemfd.create({ size: 3 * page });
      {
        using mapping = memfd.map();
        expect(mapping.bytes.every((byte) => byte === 0)).to.equal(true);
        mapping.bytes.set([1, 2, 3], page);
        expect(mapping.buffer).to.equal(mapping.bytes.buffer);
      }
      using again = memfd.map();
      expect([...again.bytes.subarray(page - 1, page + 4)]).to.deep.equal([0, 1, 2, 3, 0]);
    });

    it('takes the pages out of the direct map', () => {
      using memfd = RestrictedMemfd.create({ size: page });
      expect(memfd.info()).to.include({ residentBytes: 0, outOfDirectMap: false, mapped: false });
      using mapping = memfd.map();
      mapping.bytes[0] = 1;
      expect(memfd.info()).to.include({ residentBytes: page, outOfDirectMap: true, mapped: true });
    });

    it('detaches what was lent, once, at unmap()', () => {
      using memfd = RestrictedMemfd.create({ size: page });
      const mapping = memfd.map();
      const { bytes, buffer } = mapping;
      mapping.unmap();
      mapping.unmap();
      expect(mapping.unmapped).to.equal(true);
      expect([bytes.byteLength, buffer.byteLength]).to.deep.equal([0, 0]);
      expect(bytes[0]).to.equal(undefined);
      expectMisuse(thrown(() => mapping.bytes), 'ERR_EXMEM_DISPOSED', /Mapping was unmapped/);
      expectMisuse(thrown(() => mapping.buffer), 'ERR_EXMEM_DISPOSED');
      expect(memfd.info()).to.include({ mapped: false });
    });

    it('survives the descriptor', () => {
      const memfd = RestrictedMemfd.create({ size: page });
      using mapping = memfd.map();
      memfd.close();
      mapping.bytes[5] = 5;
      expect(mapping.bytes[5]).to.equal(5);
    });

    it('puts zeros where a buffer was that was transferred away', () => {
      using memfd = RestrictedMemfd.create({ size: page });
      const mapping = memfd.map();
      mapping.bytes.fill(7);
      const stolen = new Uint8Array(transfer(mapping.buffer));
      expect(stolen[0]).to.equal(7);
      expectMisuse(thrown(() => { mapping.unmap(); }), 'ERR_EXMEM_TRANSFERRED', /this Mapping/);
      expect(stolen.every((byte) => byte === 0)).to.equal(true);
      stolen.fill(9);
      using again = memfd.map();
      expect(again.bytes.every((byte) => byte === 7)).to.equal(true);
    });

    it('is undone when it was forgotten', async () => {
      const fd = forgetMapping();
      using memfd = RestrictedMemfd.fromFd(fd);
      await settle();
      await settle();
      using mapping = memfd.map();
      expect(mapping.bytes[0]).to.equal(1);
    });
  });

  describe('waitIdle()', () => {
    it('sees the end of a mapping', async () => {
      using memfd = RestrictedMemfd.create({ size: page });
      expect(await memfd.waitIdle({ timeoutMs: 0 })).to.equal(true);
      const mapping = memfd.map();
      expect(await memfd.waitIdle({ timeoutMs: 0 })).to.equal(false);
      setTimeout(() => { mapping.unmap(); }, 120);
      const start = performance.now();
      expect(await memfd.waitIdle()).to.equal(true);
      expect(performance.now() - start).to.be.above(100);
    });

    it('gives up after the timeout', async () => {
      using memfd = RestrictedMemfd.create({ size: page });
      using _mapping = memfd.map();
      const start = performance.now();
      expect(await memfd.waitIdle({ timeoutMs: 130 })).to.equal(false);
      expect(performance.now() - start).to.be.above(129);
    });

    it('ends when it is aborted, with the reason', async () => {
      using memfd = RestrictedMemfd.create({ size: page });
      using _mapping = memfd.map();
      const reason = new Error('enough');
      const controller = new AbortController();
      setTimeout(() => { controller.abort(reason); }, 30);
      const outcome = await memfd
        .waitIdle({ signal: controller.signal })
        .catch((error: unknown) => error);
      expect(outcome).to.equal(reason);
    });

    it('ends when the object is closed', async () => {
      const memfd = RestrictedMemfd.create({ size: page });
      using _mapping = memfd.map();
      setTimeout(() => { memfd.close(); }, 10);
      expectMisuse(await rejection(memfd.waitIdle()), 'ERR_EXMEM_DISPOSED', /was closed/);
    });
  });

  describe('destroy()', () => {
    it('ends the memory, and the mapping here without a crash', () => {
      using memfd = RestrictedMemfd.create({ size: page });
      const mapping = memfd.map();
      const { bytes } = mapping;
      bytes.fill(3);
      memfd.destroy();
      expect(bytes.byteLength).to.equal(0);
      expect(mapping.unmapped).to.equal(true);
      expect(memfd.info()).to.include({ destroyed: true, residentBytes: 0, mapped: false });
    });

    it('happens even if the buffer was transferred away', () => {
      using memfd = RestrictedMemfd.create({ size: page });
      const mapping = memfd.map();
      const stolen = new Uint8Array(transfer(mapping.buffer));
      expectMisuse(thrown(() => { memfd.destroy(); }), 'ERR_EXMEM_TRANSFERRED');
      expect(memfd.info().destroyed).to.equal(true);
      expect(stolen[0]).to.equal(0);
    });

    it('takes the memory from another process, which reads zeros and is told', async () => {
      await using peer = new Peer();
      using memfd = RestrictedMemfd.create({ size: page });
      sendDescriptors(peer.socket, [memfd.fd]);
      expect(await peer.do('receive')).to.equal('received');
      expect(await peer.do('adopt')).to.equal(`${page} bytes`);
      expect(await peer.do('map')).to.equal('mapped');
      expect(await peer.do('fill')).to.equal('filled');
      memfd.destroy();
      expect(await peer.do('check')).to.equal('present');
      expect(await peer.do('read')).to.equal('00'.repeat(page));
      expect(await peer.do('check')).to.equal('ERR_EXMEM_REVOKED');
      expect(await peer.do('unmap')).to.equal('ERR_EXMEM_REVOKED');
      expect(await peer.do('map')).to.equal('ENXIO mmap');
    });
  });

  describe('fromFd()', () => {
    it('takes over a descriptor, and finds out its size', () => {
      using memfd = RestrictedMemfd.create({ size: 77 });
      using other = RestrictedMemfd.fromFd(memfd.release());
      expect(other.size).to.equal(77);
      expectMisuse(thrown(() => memfd.fd), 'ERR_EXMEM_DISPOSED', /was released/);
    });

    it('takes over a Descriptor', () => {
      const descriptor = new Descriptor(RestrictedMemfd.create({ size: 77 }).release());
      using other = RestrictedMemfd.fromFd(descriptor);
      expect(other.size).to.equal(77);
      expectMisuse(thrown(() => descriptor.fd), 'ERR_EXMEM_DISPOSED');
    });
  });

  describe('with another process', () => {
    it('is mapped by one of the two, and keeps its bytes', async () => {
      await using peer = new Peer();
      using memfd = RestrictedMemfd.create({ size: 4 });
      sendDescriptors(peer.socket, [memfd.fd]);
      await peer.do('receive');
      await peer.do('adopt');

      const mapping = memfd.map();
      mapping.bytes.set([1, 2, 3, 4]);
      expect(await peer.do('map')).to.equal('EBUSY mmap');
      mapping.unmap();

      expect(await peer.do('map')).to.equal('mapped');
      expect(await peer.do('read')).to.equal('01020304');
      await peer.do('fill');
      const error = thrown(() => memfd.map());
      expectErrno(error, 'EBUSY', 'mmap');
      expect(error.message).to.contain('another process');

      peer.kill();
      expect(await memfd.waitIdle({ timeoutMs: 10_000 })).to.equal(true);
      using again = memfd.map();
      expect([...again.bytes]).to.deep.equal([0x5a, 0x5a, 0x5a, 0x5a]);
    });
  });
});

/** Leaves a mapping behind that nothing refers to. */
function forgetMapping(): number {
  const memfd = RestrictedMemfd.create({ size: page });
  memfd.map().bytes.fill(1);
  return memfd.release();
}
