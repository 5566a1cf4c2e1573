// SPDX-License-Identifier: MIT
// Memory that is taken away from another process, from another thread, or by
// another process from this one: nobody crashes, and everybody is told.
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { expect } from 'chai';
import {
  MemoryView,
  receiveDescriptors,
  RestrictedMemfd,
  Secret,
  sendDescriptors,
  ViewHandle,
} from 'exclusive-memory';
import { descriptorOf } from '#internal/secret.js';
import { system } from '#internal/system.js';
import { expectErrno, rejection, thrown } from '../support/failures.js';
import type { Tally } from '../support/losing-worker.js';
import { programOfSupport } from '../support/paths.js';
import { Peer } from '../support/peer.js';
import { mappedMemory, openMemory, settle } from '../support/process.js';
import type { ViewRequest } from '../support/view-process.js';
import { expectRevoked, gone, look, numberedFile, page, refused } from '../support/views.js';

describe('taking memory away', function () {
  this.timeout(120_000);
  afterEach(async () => {
    await settle();
    expect(openMemory(), 'no descriptor leaked').to.deep.equal([]);
    expect(mappedMemory(), 'no mapping leaked').to.deep.equal([]);
  });

  describe('from another process', () => {
    const pages = 32;
    let peer: Peer<ViewRequest>;
    before(() => {
      peer = new Peer('view-process');
    });
    after(async () => {
      await peer[Symbol.asyncDispose]();
    });

    async function show(view: MemoryView): Promise<void> {
      using handle = view.handle();
      sendDescriptors(peer.socket, [handle.fd]);
      expect(await peer.do({ do: 'adopt' })).to.equal(`${view.size} bytes`);
    }

    it('that reads on and on: at the exact page, again and again', async () => {
      using file = numberedFile(pages);
      using view = MemoryView.create({ size: pages * page });
      view.map(file.fd, { at: 0, access: 'read' });
      await show(view);
      for (let round = 0; round < 20; round++) {
        const lost = (7 * round) % pages;
        expect(await peer.do({ do: 'read on', offset: 0, size: pages * page })).to.equal('reading');
        const answer = peer.next();
        view.unmap(lost * page, page);
        expect(await answer).to.equal(`${gone} ${lost * page}`);
        const place = { offset: lost * page, size: 4 };
        expect(await peer.do({ do: 'read', ...place })).to.equal(`${gone} ${lost * page}`);
        expect(await peer.do({ do: 'access', ...place })).to.equal(`${gone} ${lost * page}`);
        view.map(file.fd, { at: lost * page, offset: lost * page, size: page, access: 'read' });
        const byte = (lost + 1).toString(16).padStart(2, '0');
        expect(await peer.do({ do: 'read', ...place })).to.equal(byte.repeat(4));
      }
    });

    it('that writes: no store arrives after protect() or unmap()', async () => {
      using file = numberedFile(2);
      using view = MemoryView.create({ size: 2 * page });
      using mine = view.handle();
      view.map(file.fd, { at: 0, access: 'read-write' });
      await show(view);
      const fill = (byte: number) => peer.do({ do: 'fill', offset: 0, size: 2 * page, byte });
      expect(await fill(0x11)).to.equal('filled');
      view.protect(page, page, 'read');
      expect(await fill(0x22)).to.equal(`${refused} ${page}`);
      expect([look(mine, 0), look(mine, page)]).to.deep.equal([0x22, 0x11]);
      view.unmap(0, page);
      expect(await fill(0x33)).to.equal(`${gone} 0`);
      expect([look(mine, 0), look(mine, page)]).to.deep.equal([gone, 0x11]);
    });

    it('by closing the view', async () => {
      using file = numberedFile(2);
      const view = MemoryView.create({ size: 2 * page });
      view.map(file.fd, { at: 0, access: 'read' });
      await show(view);
      expect(await peer.do({ do: 'read on', offset: 0, size: 2 * page })).to.equal('reading');
      const answer = peer.next();
      view.close();
      expect(await answer).to.match(new RegExp(`^${gone} (0|${page})$`));
      expect(await peer.do({ do: 'read', offset: page, size: 1 })).to.equal(`${gone} ${page}`);
      expect(await peer.do({ do: 'close' })).to.equal('closed');
    });

    it('by dying', async () => {
      await using owner = new Peer<ViewRequest>('view-process');
      expect(await owner.do({ do: 'own', byte: 0x5a })).to.equal('sent');
      const fd = receiveDescriptors(owner.socket)?.descriptors[0] ?? expect.fail('nothing came');
      using handle = ViewHandle.fromFd(fd);
      const into = new Uint8Array(4 * page);
      expect(handle.read(0, into)).to.equal(4 * page);
      expect(into.every((byte) => byte === 0x5a)).to.equal(true);
      expect(handle.write(0, Uint8Array.of(1))).to.equal(1);
      const late = handle.access({ offset: 0, size: 4 * page }, async (bytes) => {
        expect(bytes[page]).to.equal(0x5a);
        await owner.end();
        return bytes[page];
      });
      expectRevoked(await rejection(late), page);
      expect(look(handle, 0)).to.equal(gone);
    });

    it('by truncating what it reads', async () => {
      using file = numberedFile(pages);
      using view = MemoryView.create({ size: pages * page });
      view.map(file.fd, { at: 0, access: 'read' });
      await show(view);
      expect(await peer.do({ do: 'read on', offset: 0, size: pages * page })).to.equal('reading');
      const answer = peer.next();
      file.resize(10 * page);
      // The pages go one after the other, and a reader may meet a later one first.
      const [code, offset] = (await answer).split(' ');
      expect(code).to.equal(gone);
      expect(Number(offset)).to.be.within(10 * page, (pages - 1) * page);
      await view.sync();
      const read = (size: number) => peer.do({ do: 'read', offset: 9 * page, size });
      expect(await read(2 * page)).to.equal(`${gone} ${10 * page}`);
      expect(await read(1)).to.equal('0a');
    });
  });

  it('from threads that read on and on', async () => {
    const size = 64 * page;
    using file = numberedFile(64);
    file.fill(7, 0, size);
    using view = MemoryView.create({ size });
    view.map(file.fd, { at: 0, access: 'read' });
    const workers = Array.from({ length: 2 }, () => {
      const fd = view.handle().release();
      return new Worker(programOfSupport('losing-worker'), { workerData: { fd, size } });
    });
    await Promise.all(workers.map((worker) => once(worker, 'message')));
    const end = performance.now() + 5000;
    for (let round = 0; performance.now() < end; round++) {
      const at = ((round * 5) % 60) * page;
      view.unmap(at, 4 * page);
      view.map(file.fd, { at, offset: at, size: 4 * page, access: 'read' });
      if (round % 16 === 0) await settle();
    }
    const tallies = await Promise.all(
      workers.map(async (worker) => {
        const answer = once(worker, 'message');
        worker.postMessage('stop');
        const [tally] = (await answer) as [Tally];
        await once(worker, 'exit');
        return tally;
      }),
    );
    for (const { whole, lost, wrong } of tallies) {
      expect(whole, 'calls that saw everything').to.be.above(0);
      expect(lost, 'calls that lost something').to.be.above(0);
      expect(wrong, 'bytes that nobody wrote').to.equal(0);
    }
  });

  describe('exclusive memory, destroyed by another holder', () => {
    let peer: Peer;
    before(() => {
      peer = new Peer();
    });
    after(async () => {
      await peer[Symbol.asyncDispose]();
    });

    /** The peer can do with it what any holder can. */
    async function share(fd: number): Promise<void> {
      sendDescriptors(peer.socket, [fd]);
      expect(await peer.do('receive')).to.equal('received');
      expect(await peer.do('adopt')).to.match(/ bytes$/);
    }

    it('during a use(), while JavaScript runs', async () => {
      using secret = Secret.random(3 * page);
      secret.use((bytes) => bytes.fill(9));
      await share(descriptorOf(secret).fd);
      let answer: Promise<string> | undefined;
      const error = thrown(() => {
        secret.use((bytes) => {
          answer = peer.do('destroy');
          const end = performance.now() + 20_000;
          while (bytes[page + 1] === 9) if (performance.now() > end) throw new Error('too late');
          // All of it is gone, and stores go nowhere.
          expect([bytes[0], bytes[2 * page]]).to.deep.equal([0, 0]);
          bytes.fill(1);
        });
      });
      expectRevoked(error, page);
      expect(error).not.to.have.property('cause');
      expect(await answer).to.equal('destroyed');
      expectErrno(thrown(() => secret.use(() => 1)), 'ENXIO', 'mmap');
      expectErrno(thrown(() => secret.equals(secret)), 'ENXIO', 'mmap');
      expect(secret.disposed).to.equal(false);
    });

    it('during uses that overlap, and later ones', async () => {
      using secret = Secret.random(32);
      await share(descriptorOf(secret).fd);
      let destroyed = (): void => undefined;
      const over = new Promise<void>((resolve) => (destroyed = resolve));
      const touching = secret.use(async (bytes) => {
        await over;
        return bytes[0];
      });
      const failing = secret.use(async (bytes) => {
        await over;
        throw new Error(`read ${bytes[0]}`);
      });
      await peer.do('destroy');
      destroyed();
      const [first, second] = await Promise.all([rejection(touching), rejection(failing)]);
      expectRevoked(first, 0);
      expectRevoked(second, 0);
      expect(second.cause).to.be.instanceOf(Error).and.include({ message: 'read 0' });
      expectErrno(thrown(() => secret.use(() => 1)), 'ENXIO', 'mmap');
    });

    it('during a use(): another that begins then is told at once', async () => {
      using secret = Secret.random(32);
      using other = Secret.random(32);
      await share(descriptorOf(secret).fd);
      const late = secret.use(async (bytes) => {
        await peer.do('destroy');
        expect(bytes[0]).to.equal(0);
        expectRevoked(thrown(() => secret.use(() => expect.fail('used'))), 0);
        expectRevoked(thrown(() => secret.equals(other)), 0);
        expectRevoked(thrown(() => other.equals(secret)), 0);
      });
      expectRevoked(await rejection(late), 0);
      expect(other.use((bytes) => bytes.length)).to.equal(32);
    });

    it('during equals(), which does not take zeros for an answer', async () => {
      using secret = Secret.random(32);
      using zeros = Secret.random(32);
      zeros.use((bytes) => bytes.fill(0));
      await share(descriptorOf(secret).fd);
      const late = secret.use(async () => {
        await peer.do('destroy');
        return secret.equals(zeros);
      });
      expectRevoked(await rejection(late), 0);
    });

    it('that nobody touches: it does not matter', async () => {
      using secret = Secret.random(32);
      await share(descriptorOf(secret).fd);
      const late = secret.use(async () => {
        await peer.do('destroy');
        return 'not touched';
      });
      expect(await late).to.equal('not touched');
    });

    it('during a mapping of a RestrictedMemfd', async () => {
      using memfd = RestrictedMemfd.create({ size: 2 * page });
      const mapping = memfd.map();
      const { bytes } = mapping;
      bytes.fill(3);
      await share(memfd.fd);
      mapping.check();
      await peer.do('destroy');
      expect([bytes[page], bytes[0]]).to.deep.equal([0, 0]);
      expectRevoked(thrown(() => { mapping.check(); }), page);
      expectRevoked(thrown(() => { mapping.unmap(); }), page);
      expect(mapping.unmapped).to.equal(true);
      mapping.unmap();
      expectErrno(thrown(() => memfd.map()), 'ENXIO', 'mmap');
    });

    it('before it is wiped here: disposal goes through', async () => {
      const secret = Secret.random(32);
      await share(descriptorOf(secret).fd);
      const late = secret.use(async (bytes) => {
        await peer.do('destroy');
        secret[Symbol.dispose]();
        return bytes[0];
      });
      expectRevoked(await rejection(late), 0);
      expect(secret.disposed).to.equal(true);
    });

    it('500 times', async () => {
      const rounds = process.env.EXMEM_KERNEL === 'debug' ? 50 : 500;
      for (let round = 0; round < rounds; round++) {
        using secret = Secret.random(32);
        using other = RestrictedMemfd.fromFd(system.duplicate(descriptorOf(secret).fd));
        const error = thrown(() => {
          secret.use((bytes) => {
            other.destroy();
            bytes[0] = 1;
          });
        });
        expectRevoked(error, 0);
        if (round % 50 === 0) await settle();
      }
    });
  });
});
