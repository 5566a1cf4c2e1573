// SPDX-License-Identifier: MIT
// A guest runs on memory that the host cannot read.
import { expect } from 'chai';
import { GuestMemory, type MemoryView, sendDescriptors, type ViewHandle } from 'exclusive-memory';
import { Kvm, SlotMapping } from 'exclusive-memory/kvm';
import { expectErrno, expectMisuse, expectRefused, thrown } from '../support/failures.js';
import type { GuestRequest } from '../support/guest-peer-process.js';
import { Peer } from '../support/peer.js';
import { mappedMemory, openMemory, settle } from '../support/process.js';
import { code, RealModeGuest, requireKvm } from '../support/real-mode-guest.js';
import { expectRevoked, gone, look, numberedFile, page, store } from '../support/views.js';

const wrong = (value: unknown) => value as never;

/** Where the guest's code is, what it reads, and what it shares. */
const entry = page;
const image = 2 * page;
const mailbox = 3 * page;
const size = 16 * page;

/** Tells what is at the image, puts it into the mailbox, and tells that it has. */
const readAndPost = [
  ...code.load(image),
  ...code.tell(),
  ...code.store(mailbox),
  ...code.tell(),
];

/** Counts in the mailbox, and tells each step. */
const count = [...code.increment(mailbox), ...code.load(mailbox), ...code.tell()];
const countOn = [...count, ...code.repeat(count.length)];

describe('GuestMemory under KVM', () => {
  before(requireKvm);

  let memory: GuestMemory;
  let window: MemoryView;
  let handle: ViewHandle;
  beforeEach(() => {
    memory = GuestMemory.create({ size });
    window = memory.window();
    handle = window.handle();
  });
  afterEach(() => {
    handle.close();
    window.close();
    memory.close();
  });
  afterEach(async () => {
    await settle();
    expect(openMemory(), 'no descriptor leaked').to.deep.equal([]);
    expect(mappedMemory(), 'no mapping leaked').to.deep.equal([]);
  });

  async function load(program: readonly number[]): Promise<void> {
    await memory.populate(Uint8Array.from(program), { at: entry });
    await memory.populate(Uint8Array.of(0x42), { at: image });
  }

  /** A guest that has all of it, from address 0. */
  async function begin(program: readonly number[]): Promise<RealModeGuest> {
    await load(program);
    const guest = new RealModeGuest();
    memory.attach(guest.vm, { slot: 0, gpa: 0 });
    guest.startAt(entry);
    return guest;
  }

  it('a guest reads its image, and writes to a shared page that the window shows', async () => {
    await using guest = await begin(readAndPost);
    memory.share(mailbox, page);
    expect(await guest.told()).to.equal(0x42);
    expect(look(handle, mailbox)).to.equal(0);
    expect(await guest.told()).to.equal(0x42);
    expect(look(handle, mailbox)).to.equal(0x42);
    for (const secret of [entry, image]) expect(look(handle, secret)).to.equal(gone);
    expect(memory.info()).to.include({ sharedBytes: page, mapped: true, outOfDirectMap: true });
  });

  it('guest and host exchange bytes, until the page is private again', async () => {
    await using guest = await begin(countOn);
    memory.share(mailbox, page);
    expect(await guest.told()).to.equal(1);
    expect(store(handle, mailbox, 100)).to.equal('stored');
    expect(await guest.told()).to.equal(101);
    memory.unshare(mailbox, page);
    expect(look(handle, mailbox)).to.equal(gone);
    expect(await guest.told()).to.equal(102);
    expectRevoked(thrown(() => { handle.write(mailbox, Uint8Array.of(0)); }), mailbox);
    expect(await guest.told()).to.equal(103);
    memory.share(mailbox, page, { wipe: true });
    expect(await guest.told()).to.equal(1);
    expect(look(handle, mailbox)).to.equal(1);
  });

  it('can be filled while a guest runs, until it is sealed', async () => {
    const program = [...code.load(image), ...code.tell()];
    await using guest = await begin([...program, ...code.repeat(program.length)]);
    expect(await guest.told()).to.equal(0x42);
    using file = numberedFile(3);
    await memory.populate(file.fd, { at: image, offset: 2 * page });
    expect(await guest.told()).to.equal(3);
    memory.seal();
    expect(await guest.told()).to.equal(3);
  });

  it('destroy() stops the guest', async () => {
    await using guest = await begin(countOn);
    expect(await guest.told()).to.equal(1);
    memory.destroy();
    expect(await guest.comesTo()).to.equal('memory-fault EFAULT');
    expect(memory.info()).to.include({ destroyed: true, residentBytes: 0 });
  });

  it('works with host access too', async () => {
    using open = GuestMemory.create({ size, hostAccess: true });
    await open.populate(Uint8Array.from(countOn), { at: entry });
    await using guest = new RealModeGuest();
    open.attach(guest.vm, { slot: 3, gpa: 0 });
    guest.startAt(entry);
    expect(await guest.told()).to.equal(1);
    expect(await guest.told()).to.equal(2);
    expect(open.info().outOfDirectMap).to.equal(true);
  });

  describe('attach()', () => {
    it('puts parts anywhere, in several slots of one mapping', async () => {
      await load(readAndPost);
      await using guest = new RealModeGuest();
      // The code where it expects to be, the image from elsewhere, the mailbox at a third place.
      await memory.populate(Uint8Array.of(0x99), { at: 8 * page });
      memory.attach(guest.vm, { slot: 0, gpa: entry, offset: entry, size: page });
      memory.attach(guest.vm, { slot: 1, gpa: BigInt(image), offset: 8 * page, size: page });
      memory.attach(guest.vm, { slot: 2, gpa: mailbox, offset: 15 * page });
      memory.share(15 * page, page);
      guest.startAt(entry);
      expect(await guest.told()).to.equal(0x99);
      expect(await guest.told()).to.equal(0x99);
      expect(look(handle, 15 * page)).to.equal(0x99);
      expect(mappedMemory().filter((line) => line.includes('restricted_memfd'))).to.have.length(1);
      guest.vm.removeSlot(1);
    });

    it('lasts beyond the object, and lets go with the VM', async () => {
      {
        await using guest = await begin(countOn);
        expect(await guest.told()).to.equal(1);
        memory.close();
        expect(await guest.told()).to.equal(2);
        expect(mappedMemory()).to.have.length(1);
      }
      await settle();
      expect(mappedMemory()).to.deep.equal([]);
    });

    it('leaves nothing if the slot cannot be had', () => {
      using kvm = Kvm.open();
      using vm = kvm.createVm();
      using file = numberedFile(1);
      using other = SlotMapping.of(file, { size: page, access: 'read' });
      vm.setSlot({ slot: 7, gpa: 4 * page, memory: other });
      const error = thrown(() => { memory.attach(vm, { slot: 0, gpa: 0 }); });
      expectErrno(error, 'EEXIST', 'ioctl KVM_SET_USER_MEMORY_REGION');
      expect(memory.info().mapped).to.equal(false);
      memory.attach(vm, { slot: 0, gpa: 8 * page });
      expectErrno(
        thrown(() => { memory.attach(vm, { slot: 1, gpa: 0 }); }),
        'EEXIST',
        'ioctl KVM_SET_USER_MEMORY_REGION',
      );
      expect(memory.info().mapped).to.equal(true);
    });

    it('refuses ranges that are none', () => {
      using kvm = Kvm.open();
      using vm = kvm.createVm();
      const good = { slot: 0, gpa: 0 };
      const attempts: readonly (readonly [action: () => unknown, message: RegExp])[] = [
        [() => { memory.attach(wrong({}), good); }, /a Vm for vm but received a Object/],
        [() => { memory.attach(vm, wrong(1)); }, /an object for options/],
        [() => { memory.attach(vm, { ...good, slot: -1 }); }, /for slot but received -1/],
        [() => { memory.attach(vm, { ...good, gpa: 1 }); }, /page size, 4096, for gpa but received 1/],
        [() => { memory.attach(vm, { ...good, offset: size }); }, /from 0 to 61440 for offset/],
        [() => { memory.attach(vm, { ...good, offset: page, size }); }, /from 4096 to 61440 for size/],
      ];
      for (const [action, message] of attempts) expectRefused(action, message);
      expect(memory.info().mapped).to.equal(false);
      vm.close();
      expectMisuse(thrown(() => { memory.attach(vm, good); }), 'ERR_EXMEM_DISPOSED', /Vm was closed/);
      memory.close();
      expectMisuse(thrown(() => { memory.attach(vm, good); }), 'ERR_EXMEM_DISPOSED', /GuestMemory/);
    });
  });

  describe('bind()', () => {
    it('ties the memory to one VM', async () => {
      await using guest = await begin(countOn);
      using kvm = Kvm.open();
      using other = kvm.createVm();
      expect(memory.info().bound).to.equal(false);
      memory.bind(guest.vm);
      memory.bind(guest.vm.fd);
      expect(memory.info().bound).to.equal(true);
      expectErrno(thrown(() => { memory.bind(other); }), 'EBUSY', 'ioctl EXMEM_BIND_VM');
      expectErrno(thrown(() => { memory.bind(kvm); }), 'EINVAL', 'ioctl EXMEM_BIND_VM');
      expect(await guest.told()).to.equal(1);
    });

    it('keeps other processes from mapping it', async () => {
      await using peer = new Peer<GuestRequest>('guest-peer-process');
      sendDescriptors(peer.socket, [memory.fd]);
      expect(await peer.do('adopt')).to.equal(`${size} bytes`);
      using kvm = Kvm.open();
      using vm = kvm.createVm();
      expect(await peer.do('map')).to.equal('mapped');
      expectErrno(thrown(() => { memory.bind(vm); }), 'EBUSY', 'ioctl EXMEM_BIND_VM');
      expect(await peer.do('unmap')).to.equal('unmapped');
      memory.bind(vm);
      expect(await peer.do('map')).to.equal('EACCES mmap');
      memory.attach(vm, { slot: 0, gpa: 0 });
    });
  });
});
