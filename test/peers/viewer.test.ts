// SPDX-License-Identifier: MIT
// Process B is a program that knows nothing of this project: a descriptor that
// it maps, in Python and in C.
import { expect } from 'chai';
import { readFileSync } from 'node:fs';
import { HandleChannel, MemoryView, RestrictedMemfd } from 'exclusive-memory';
import { AskedProcess } from '../support/asked-process.js';
import { programOfPeer, sourceOfPeer } from '../support/peer-program.js';
import { sharedPages } from '../support/shared-pages.js';

const page = 4096;
const size = 16 * page;

const viewers = {
  Python: (): readonly [string, ...string[]] => ['python3', sourceOfPeer('viewer.py'), '3'],
  C: (): readonly [string, ...string[]] => [programOfPeer('viewer'), '3'],
};

for (const [language, command] of Object.entries(viewers)) {
  describe(`a program in ${language} that was given a view`, function () {
    this.timeout(300_000);

    async function start(view: MemoryView, cap?: 'read'): Promise<AskedProcess> {
      const [here, there] = HandleChannel.pair({ framing: 'stream' });
      using handle = view.handle(cap ? { cap } : {});
      const viewer = new AskedProcess(command(), there.fd);
      there.close();
      await here.send(Uint8Array.of(0), [handle]);
      here.close();
      return viewer;
    }

    it('finds what the owner decides, when it decides it', async () => {
      using view = MemoryView.create({ size });
      const memory = sharedPages(2);
      memory[0] = 11;
      memory[page] = 22;
      await using viewer = await start(view);
      expect(await viewer.ask('size')).to.equal(String(size));
      expect(await viewer.ask('load 0')).to.equal('SIGBUS');

      view.mapMemory(memory, { at: 0, access: 'read-write' });
      expect(await viewer.ask('load 0')).to.equal('11');
      expect(await viewer.ask(`load ${page}`)).to.equal('22');
      expect(await viewer.ask(`store ${page} 33`)).to.equal('stored');
      expect(memory[page]).to.equal(33);
      memory[0] = 44;
      expect(await viewer.ask('load 0')).to.equal('44');

      view.protect(0, page, 'read');
      expect(await viewer.ask('load 0')).to.equal('44');
      expect(await viewer.ask('store 0 1')).to.equal('SIGSEGV');
      view.unmap(0, page);
      expect(await viewer.ask('load 0')).to.equal('SIGBUS');
      expect(await viewer.ask(`load ${page}`)).to.equal('33');
      view.close();
      expect(await viewer.ask(`load ${page}`)).to.equal('SIGBUS');
    });

    it('cannot exceed the cap of its handle', async () => {
      using view = MemoryView.create({ size });
      view.mapMemory(sharedPages(1), { at: 0, access: 'read-write' });
      await using viewer = await start(view, 'read');
      expect(await viewer.ask('load 0')).to.equal('0');
      expect(await viewer.ask('store 0 1')).to.equal('SIGSEGV');
    });

    it('reads exclusive memory, for as long as it may', async () => {
      using view = MemoryView.create({ size });
      using memfd = RestrictedMemfd.create({ size: page });
      {
        using mapping = memfd.map();
        mapping.bytes[5] = 55;
      }
      view.map(memfd, { at: 0, access: 'read' });
      await using viewer = await start(view);
      expect(await viewer.ask('load 5')).to.equal('55');
      expect(() => memfd.map()).to.throw().with.property('code', 'EBUSY');
      view.unmap(0, page);
      expect(await viewer.ask('load 5')).to.equal('SIGBUS');
      using mapping = memfd.map();
      expect(mapping.bytes[5]).to.equal(55);
    });
  });
}

describe('remote mapping: a viewer of a live process', function () {
  this.timeout(300_000);

  it('sees the process at work, and loses what it gives up', async () => {
    const [here, there] = HandleChannel.pair({ framing: 'stream' });
    await using live = new AskedProcess([programOfPeer('live_process'), '3'], there.fd);
    there.close();
    const [handle] = (await here.receive())?.descriptors ?? [];
    if (!handle) throw new Error('Expected a view');

    const [toViewer, ofViewer] = HandleChannel.pair({ framing: 'stream' });
    await using viewer = new AskedProcess(viewers.Python(), ofViewer.fd);
    ofViewer.close();
    await toViewer.send(Uint8Array.of(0), [handle]);
    handle.close();
    toViewer.close();
    here.close();

    const seen = new Set<string>();
    for (let i = 0; i < 20; i++) seen.add(await viewer.ask('load 0'));
    expect(seen.size, 'different values of a counter that runs').to.be.greaterThan(1);
    expect(await viewer.ask(`load ${page}`)).to.equal('42');
    expect(await viewer.ask('store 0 1')).to.equal('SIGSEGV');

    const [address] = (await live.ask('address')).split(' ');
    expect(readFileSync(`/proc/${live.pid}/maps`, 'utf8')).to.include(address?.slice(2));
    expect(await live.ask('drop')).to.equal('dropped');
    expect(await viewer.ask(`load ${page}`)).to.equal('SIGBUS');
    expect(Number(await viewer.ask('load 0'))).to.be.within(0, 255);
    expect(await live.ask('close')).to.equal('closed');
    expect(await viewer.ask('load 0')).to.equal('SIGBUS');
  });
});
