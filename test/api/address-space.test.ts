// SPDX-License-Identifier: MIT
import { expect } from 'chai';
import { AddressSpace, RestrictedMemfd, Secret } from 'exclusive-memory';
import { expectErrno, expectRefused, thrown } from '../support/failures.js';
import { mappedMemory, openFiles, openMemory, settle } from '../support/process.js';
import { sharedPages } from '../support/shared-pages.js';
import { gone, look, numberedFile, page, refused, store } from '../support/views.js';

const GiB = 2 ** 30;
const wrong = (value: unknown) => value as never;

describe('AddressSpace', () => {
  afterEach(async () => {
    await settle();
    expect(openMemory(), 'no descriptor leaked').to.deep.equal([]);
    expect(mappedMemory(), 'no mapping leaked').to.deep.equal([]);
  });

  it('composes parts of all kinds into one', () => {
    using rom = numberedFile(2);
    using readOnly = rom.handle('r');
    using ram = RestrictedMemfd.create({ size: 4 * page });
    using key = Secret.random(32);
    key.use((bytes) => bytes.fill(0x77));
    const mailbox = sharedPages(2).fill(0x55);
    using space = AddressSpace.create({ size: 8 * GiB });
    expect(space.size).to.equal(8 * GiB);

    const part = space.add('ram', ram, { at: 0, access: 'read-write' });
    expect(part).to.deep.equal({
      name: 'ram',
      at: 0,
      size: 4 * page,
      offset: 0,
      access: 'read-write',
      yield: false,
    });
    space.add('mailbox', mailbox, { at: GiB, access: 'read-write' });
    space.add('rom', readOnly, { at: 4n * BigInt(GiB) - 4096n, offset: page, access: 'read' });
    space.add('key', key, { at: 7 * GiB, access: 'read', yield: true });

    using handle = space.handle();
    expect(handle.size).to.equal(8 * GiB);
    const seen = [0, 4 * page, GiB, 4 * GiB - page, 4 * GiB, 7 * GiB].map((at) => look(handle, at));
    expect(seen).to.deep.equal([0, gone, 0x55, 2, gone, 0x77]);
    expect(store(handle, GiB + page, 1)).to.equal('stored');
    expect(mailbox[page]).to.equal(1);
    expect(space.ranges().map(({ name }) => name)).to.deep.equal(['ram', 'mailbox', 'rom', 'key']);
    expect(key.use((bytes) => bytes[0])).to.equal(0x77);

    using reader = space.handle({ cap: 'read' });
    expect(store(reader, GiB, 1)).to.equal(refused);
  });

  it('finds what is at an address', () => {
    using file = numberedFile(8);
    using space = AddressSpace.create({ size: 16 * page });
    const options = { at: 4 * page, offset: 2 * page, size: 3 * page, access: 'read' } as const;
    const part = space.add('file', file.fd, options);
    expect(space.find(4 * page + 5)).to.deep.equal({ part, offset: 2 * page + 5 });
    expect(space.find(BigInt(7 * page - 1))).to.deep.equal({ part, offset: 5 * page - 1 });
    for (const outside of [0, 4 * page - 1, 7 * page]) expect(space.find(outside)).to.equal(undefined);
    expect(space.get('file')).to.equal(part);
    expect(space.get('other')).to.equal(undefined);
    expectRefused(() => space.find(16 * page), /from 0 to 65535 for address/);
  });

  it('needs no source once it has the part', () => {
    const file = numberedFile(1);
    using space = AddressSpace.create({ size: 4 * page });
    space.add('file', file.fd, { at: 0, access: 'read' });
    file[Symbol.dispose]();
    space.move('file', 2 * page);
    using handle = space.handle();
    expect([look(handle, 0), look(handle, 2 * page)]).to.deep.equal([gone, 1]);
  });

  describe('remove()', () => {
    it('leaves nothing at its addresses, and its name free', () => {
      using file = numberedFile(2);
      using space = AddressSpace.create({ size: 8 * page });
      using handle = space.handle();
      space.add('a', file.fd, { at: 0, access: 'read' });
      space.add('b', file.fd, { at: 2 * page, access: 'read' });
      const open = openFiles();
      space.remove('a');
      expect(openFiles()).to.equal(open - 1);
      expect([look(handle, 0), look(handle, 2 * page)]).to.deep.equal([gone, 1]);
      expect(space.find(0)).to.equal(undefined);
      expect(space.ranges().map(({ name }) => name)).to.deep.equal(['b']);
      space.add('a', file.fd, { at: 0, access: 'read' });
      expectRefused(() => { space.remove('c'); }, /Expected the name of a part but there is no 'c'/);
    });
  });

  describe('move()', () => {
    it('takes a part to other addresses', () => {
      using file = numberedFile(4);
      using space = AddressSpace.create({ size: 16 * page });
      using handle = space.handle();
      space.add('file', file.fd, { at: 0, access: 'read-write' });
      const moved = space.move('file', BigInt(8 * page));
      expect(moved).to.include({ at: 8 * page, size: 4 * page, access: 'read-write' });
      const seen = [0, 3, 8, 11, 12].map((index) => look(handle, index * page));
      expect(seen).to.deep.equal([gone, gone, 1, 4, gone]);
      expect(store(handle, 8 * page, 9)).to.equal('stored');
      expect(space.find(8 * page)?.part.name).to.equal('file');
      expect(space.find(0)).to.equal(undefined);
    });

    it('can overlap with where it was, on either side', () => {
      using file = numberedFile(4);
      using space = AddressSpace.create({ size: 16 * page });
      using handle = space.handle();
      space.add('file', file.fd, { at: 4 * page, access: 'read' });
      const layout = () => Array.from({ length: 9 }, (_, index) => look(handle, index * page));
      space.move('file', 5 * page);
      expect(layout()).to.deep.equal([gone, gone, gone, gone, gone, 1, 2, 3, 4]);
      space.move('file', 2 * page);
      expect(layout()).to.deep.equal([gone, gone, 1, 2, 3, 4, gone, gone, gone]);
      space.move('file', 2 * page);
      expect(layout()).to.deep.equal([gone, gone, 1, 2, 3, 4, gone, gone, gone]);
      expect(space.ranges()).to.have.length(1);
    });

    it('moves exclusive memory, and memory of this process', () => {
      using ram = RestrictedMemfd.create({ size: 2 * page });
      const mailbox = sharedPages(4);
      mailbox.fill(3, 2 * page);
      using space = AddressSpace.create({ size: 16 * page });
      using handle = space.handle();
      space.add('ram', ram, { at: 0, access: 'read-write' });
      store(handle, page, 5);
      space.move('ram', page);
      expect([0, 1, 2].map((index) => look(handle, index * page))).to.deep.equal([gone, 0, 5]);
      space.add('mailbox', mailbox, { at: 8 * page, offset: 2 * page, access: 'read' });
      expect(space.get('mailbox')).to.include({ size: 2 * page, offset: 2 * page });
      space.move('mailbox', 10 * page);
      const seen = [8, 10, 11, 12].map((index) => look(handle, index * page));
      expect(seen).to.deep.equal([gone, 3, 3, gone]);
    });

    it('refuses addresses that another part has, and changes nothing then', () => {
      using file = numberedFile(2);
      using space = AddressSpace.create({ size: 8 * page });
      using handle = space.handle();
      space.add('a', file.fd, { at: 0, access: 'read' });
      space.add('b', file.fd, { at: 3 * page, access: 'read' });
      const message = /free addresses for 8192 bytes at 8192 but part 'b' is at 12288/;
      expectRefused(() => space.move('a', 2 * page), message);
      expectRefused(() => space.move('a', 7 * page), /from 0 to 24576 for at/);
      expect([0, 1, 2, 3].map((index) => look(handle, index * page))).to.deep.equal([1, 2, gone, 1]);
    });
  });

  it('protect() changes what a part allows', () => {
    using file = numberedFile(1);
    using space = AddressSpace.create({ size: page });
    using handle = space.handle();
    space.add('file', file.fd, { at: 0, access: 'read-write' });
    expect(space.protect('file', 'read')).to.include({ access: 'read' });
    expect([store(handle, 0, 9), look(handle, 0)]).to.deep.equal([refused, 1]);
    space.protect('file', 'none');
    expect(look(handle, 0)).to.equal(refused);
    expect(space.get('file')?.access).to.equal('none');
    expect(space.find(0)?.part.access).to.equal('none');
    expectRefused(() => space.protect('file', wrong('all')), /for access/);
  });

  it('add() refuses what does not fit, and keeps nothing of it', () => {
    using file = numberedFile(2);
    using space = AddressSpace.create({ size: 4 * page });
    space.add('a', file.fd, { at: 0, access: 'read' });
    const open = openFiles();
    const good = { at: 2 * page, access: 'read' } as const;
    const attempts: readonly (readonly [action: () => unknown, message: RegExp])[] = [
      [() => space.add(wrong(1), file.fd, good), /a string for name/],
      [() => space.add('a', file.fd, good), /Expected a new name but there is a part 'a'/],
      [() => space.add('b', file.fd, wrong(undefined)), /an object for options/],
      [() => space.add('b', wrong('x'), good), /an object with an fd, or a Secret for source/],
      [() => space.add('b', file.fd, { ...good, at: page }), /free addresses for .* part 'a' is at 0/],
      [() => space.add('b', file.fd, { ...good, at: 3 * page }), /from 4096 to 4096 for size .* 8192/],
      [() => space.add('b', file.fd, { ...good, at: 1 }), /a multiple of the page size, 4096, for at/],
      [() => space.add('b', file.fd, { ...good, access: wrong('x') }), /for access/],
      [() => space.add('b', file.fd, { ...good, yield: wrong('x') }), /a boolean for yield/],
      [() => space.add('b', Buffer.alloc(page), good), /whole pages of a SharedArrayBuffer for source/],
      [() => space.add('b', sharedPages(1), { ...good, size: 2 * page }), /from 4096 to 4096 for size .* 8192/],
      [() => space.add('b', sharedPages(1), { ...good, yield: true }), /Expected exclusive memory to yield/],
    ];
    for (const [action, message] of attempts) expectRefused(action, message);
    const yielding = () => space.add('b', file.fd, { ...good, yield: true });
    expectErrno(thrown(yielding), 'EINVAL', 'ioctl MEMVIEW_MAP_FD');
    expect(openFiles()).to.equal(open);
    expect(space.ranges()).to.have.length(1);
    space.add('b', file.fd, good);
  });

  it('takes everything back at its end', () => {
    using file = numberedFile(1);
    using secret = Secret.random(32);
    const open = openFiles();
    const space = AddressSpace.create({ size: 4 * page });
    space.add('file', file.fd, { at: 0, access: 'read' });
    space.add('secret', secret, { at: page, access: 'read' });
    space.add('memory', sharedPages(1), { at: 2 * page, access: 'read' });
    const handle = space.handle();
    space.close();
    space.close();
    space[Symbol.dispose]();
    expect([0, 1, 2].map((index) => look(handle, index * page))).to.deep.equal([gone, gone, gone]);
    handle.close();
    expect(openFiles()).to.equal(open);
    expect(secret.use((bytes) => bytes.length)).to.equal(32);
  });
});
