// SPDX-License-Identifier: MIT
// An address space is the guest-physical map of a VM: slots and view in step.
import { readFileSync, writeSync } from 'node:fs';
import { expect } from 'chai';
import { AddressSpace, GuestMemory, Secret } from 'exclusive-memory';
import { Kvm, SlotMapping, type Vm } from 'exclusive-memory/kvm';
import { expectErrno, expectMisuse, expectRefused, thrown } from '../support/failures.js';
import { mappedMemory, openFiles, openMemory, settle } from '../support/process.js';
import { code, RealModeGuest, requireKvm } from '../support/real-mode-guest.js';
import { sharedPages } from '../support/shared-pages.js';
import { gone, look, numberedFile, page, refused, store } from '../support/views.js';

const wrong = (value: unknown) => value as never;
const noSlot = 'ioctl KVM_SET_USER_MEMORY_REGION';

/** Guest-physical: code, then what it looks at. */
const entry = page;
const data = 4 * page;
const size = 64 * page;

/**
 * Where KVM cannot read a guest's code, the processor has to say which store it
 * was that is not allowed.
 */
const storeFromPrivateCode = readFileSync('/proc/cpuinfo', 'utf8').includes(' decodeassists')
  ? 'mmio-write 0x4000'
  : 'internal-error 1';

/** Tells the byte at the address, again and again. */
const watching = (address: number) => {
  const program = [...code.load(address), ...code.tell()];
  return [...program, ...code.repeat(program.length)];
};

/** Counts there, and tells each step. */
const counting = (address: number) => {
  const program = [...code.increment(address), ...code.load(address), ...code.tell()];
  return [...program, ...code.repeat(program.length)];
};

/** The same, by a store that KVM can emulate without reading private memory. */
const storing = (address: number) => {
  const program = [...code.load(address), ...code.next(), ...code.store(address), ...code.tell()];
  return [...program, ...code.repeat(program.length)];
};

describe('AddressSpace under KVM', () => {
  before(requireKvm);

  let ram: GuestMemory;
  let space: AddressSpace;
  beforeEach(() => {
    ram = GuestMemory.create({ size: 4 * page });
    space = AddressSpace.create({ size });
  });
  afterEach(() => {
    space.close();
    ram.close();
  });
  afterEach(async () => {
    await settle();
    expect(openMemory(), 'no descriptor leaked').to.deep.equal([]);
    expect(mappedMemory(), 'no mapping leaked').to.deep.equal([]);
  });

  /** A guest in it, with the program in private memory. */
  async function begin(program: readonly number[]): Promise<RealModeGuest> {
    await ram.populate(Uint8Array.from(program), { at: entry });
    space.add('ram', ram, { at: 0, access: 'read-write' });
    const guest = new RealModeGuest();
    space.attach(guest.vm);
    guest.startAt(entry);
    return guest;
  }

  it('gives a guest memory of all kinds, each at its address', async () => {
    using file = numberedFile(2);
    const own = sharedPages(1).fill(0x55);
    space.add('rom', file.fd, { at: data, offset: page, size: page, access: 'read' });
    space.add('own', own, { at: data + page, access: 'read-write' });
    const program = [
      ...[...code.load(data), ...code.tell()],
      ...[...code.load(data + page), ...code.tell()],
      ...[...code.store(3 * page), ...code.tell()],
      ...[...code.set(7), ...code.store(data + page), ...code.tell()],
      ...code.store(data),
    ];
    await using guest = await begin(program);
    expect(['ram', 'rom', 'own'].map((name) => space.slotOf(name))).to.deep.equal([0, 1, 2]);
    expect(await guest.told()).to.equal(2);
    expect(await guest.told()).to.equal(0x55);
    expect(await guest.told()).to.equal(0x55);
    expect(await guest.told()).to.equal(7);
    expect(own[0]).to.equal(7);
    using handle = space.handle();
    expect([0, data, data + page].map((at) => look(handle, at))).to.deep.equal([gone, 2, 7]);
    ram.share(3 * page, page);
    expect(look(handle, 3 * page)).to.equal(0x55);
  });

  it('add() and remove() reach a VM that is attached', async () => {
    using file = numberedFile(3);
    await using guest = await begin(watching(data));
    space.add('file', file.fd, { at: data, access: 'read-write' });
    expect(await guest.told()).to.equal(1);
    file.fill(0x66, 0, 1);
    expect(await guest.told()).to.equal(0x66);
    space.remove('file');
    space.add('other', file.fd, { at: data, offset: 2 * page, access: 'read' });
    expect(space.slotOf('other')).to.equal(1);
    expect(await guest.told()).to.equal(3);
    using handle = space.handle();
    expect(look(handle, data)).to.equal(3);
  });

  it('move() takes private memory to another address, with what is in it', async () => {
    using more = GuestMemory.create({ size: 2 * page });
    await more.populate(Uint8Array.of(0x21), { at: 0 });
    await more.populate(Uint8Array.of(0x22), { at: page });
    space.add('more', more, { at: data, access: 'read-write' });
    await using guest = await begin(counting(data + page));
    expect(await guest.told()).to.equal(0x23);
    // One page up: what was the first is now where the second was.
    space.move('more', data + page);
    expect(await guest.told()).to.equal(0x22);
    space.move('more', data - page + 10 * page);
    space.move('more', data);
    expect(await guest.told()).to.equal(0x24);
    expect(space.find(data)?.part.name).to.equal('more');
  });

  describe('protect()', () => {
    /** A guest whose code KVM can read: then it can say which store was not allowed. */
    function beginInFile(program: readonly number[]): RealModeGuest {
      using file = numberedFile(1);
      writeSync(file.fd, Uint8Array.from(program), 0, program.length, 0);
      space.add('code', file.fd, { at: entry, access: 'read' });
      const guest = new RealModeGuest();
      guest.vm.mmio.handle(data, page);
      space.attach(guest.vm);
      guest.startAt(entry);
      return guest;
    }

    /** Byte 1 at the start of a page. */
    const sources = {
      'a file': () => {
        const file = numberedFile(1);
        return { source: file.fd, end: () => { file[Symbol.dispose](); } };
      },
      'memory of the process': () => {
        const source = sharedPages(1);
        source[0] = 1;
        return { source, end: () => undefined };
      },
      'private memory': async () => {
        const source = GuestMemory.create({ size: page });
        await source.populate(Uint8Array.of(1));
        return { source, end: () => { source.close(); } };
      },
    };

    for (const [kind, make] of Object.entries(sources)) {
      it(`takes rights on ${kind} from a guest, and gives them`, async () => {
        const { source, end } = await make();
        space.add('data', source, { at: data, access: 'read' });
        end();
        await using guest = beginInFile(storing(data));
        // As to a ROM: the store is the monitor's, and the guest goes on.
        expect(await guest.comesTo()).to.equal('mmio-write 0x4000');
        expect(await guest.told()).to.equal(2);
        space.protect('data', 'read-write');
        expect(await guest.told()).to.equal(2);
        expect(await guest.told()).to.equal(3);
        space.protect('data', 'read');
        expect(await guest.comesTo()).to.equal('mmio-write 0x4000');
        expect(await guest.told()).to.equal(4);
        space.protect('data', 'none');
        expect(await guest.comesTo()).to.equal('memory-fault EFAULT');
        space.protect('data', 'read-write');
        expect(await guest.told()).to.equal(4);
      });
    }

    it('is the same for private code, where the processor decodes it', async () => {
      using file = numberedFile(1);
      space.add('file', file.fd, { at: data, access: 'read-write' });
      await using guest = await begin(counting(data));
      guest.vm.mmio.handle(data, page);
      expect(await guest.told()).to.equal(2);
      space.protect('file', 'read');
      expect(await guest.comesTo()).to.equal(storeFromPrivateCode);
      using handle = space.handle();
      expect([look(handle, data), store(handle, data, 1)]).to.deep.equal([2, refused]);
    });
  });

  it('has memory that is bound to the VM, with its window', async () => {
    await ram.populate(Uint8Array.from(counting(2 * page)), { at: entry });
    await using guest = new RealModeGuest();
    ram.bind(guest.vm);
    ram.share(2 * page, page);
    ram.seal();
    space.add('ram', ram, { at: 0, access: 'read-write' });
    space.attach(guest.vm);
    guest.startAt(entry);
    expect(await guest.told()).to.equal(1);
    using handle = space.handle();
    expect([entry, 2 * page].map((at) => look(handle, at))).to.deep.equal([gone, 1]);
    expect(store(handle, 2 * page, 0x30)).to.equal('stored');
    expect(await guest.told()).to.equal(0x31);
  });

  it('shows a guest nothing that is gone', async () => {
    using file = numberedFile(1);
    space.add('file', file.fd, { at: data, access: 'read-write' });
    await using guest = await begin(watching(data));
    expect(await guest.told()).to.equal(1);
    file.resize(0);
    expect(await guest.comesTo()).to.equal('memory-fault EFAULT');
    file.resize(page);
    expect(await guest.told()).to.equal(0);
  });

  it('has no other exclusive memory for a guest', async () => {
    using secret = Secret.random(32);
    space.add('secret', secret, { at: data, access: 'read', yield: true });
    await using guest = await begin(watching(data));
    expect(await guest.comesTo()).to.equal('memory-fault EFAULT');
  });

  describe('attach() and detach()', () => {
    let kvm: Kvm;
    let vm: Vm;
    beforeEach(() => {
      kvm = Kvm.open();
      vm = kvm.createVm();
    });
    afterEach(() => {
      vm.close();
      kvm.close();
    });

    /** Takes the number and the address of a slot. */
    function occupy(slot: number, gpa: number): void {
      using file = numberedFile(1);
      using mapping = SlotMapping.of(file, { size: page, access: 'read' });
      vm.setSlot({ slot, gpa, memory: mapping });
    }

    it('begin with a slot of choice, and leave nothing', () => {
      space.add('ram', ram, { at: 0, access: 'read-write' });
      const before = openFiles();
      space.attach(vm, { firstSlot: 5 });
      expect(space.slotOf('ram')).to.equal(5);
      expect(mappedMemory()).to.have.length(1);
      expect(mappedMemory()[0]).to.match(/ ---s /);
      expectMisuse(thrown(() => { space.attach(vm); }), 'ERR_EXMEM_BUSY', /call detach\(\) first/);
      space.detach();
      space.detach();
      expect(space.slotOf('ram')).to.equal(undefined);
      expectErrno(thrown(() => { vm.removeSlot(5); }), 'EINVAL', noSlot);
      expect(mappedMemory()).to.deep.equal([]);
      expect(openFiles()).to.equal(before);
      space.attach(vm);
      expect(space.slotOf('ram')).to.equal(0);
    });

    it('take all parts or none', () => {
      using file = numberedFile(1);
      occupy(99, data);
      space.add('ram', ram, { at: 0, access: 'read-write' });
      space.add('file', file.fd, { at: data, access: 'read' });
      expectErrno(thrown(() => { space.attach(vm); }), 'EEXIST', noSlot);
      expectErrno(thrown(() => { vm.removeSlot(0); }), 'EINVAL', noSlot);
      expect(mappedMemory()).to.have.length(0);
      vm.removeSlot(99);
      space.attach(vm);
      expect(space.slotOf('file')).to.equal(1);
    });

    it('survive the VM', () => {
      space.add('ram', ram, { at: 0, access: 'read-write' });
      space.attach(vm);
      vm.close();
      const add = () => space.add('more', ram, { at: 8 * page, access: 'read' });
      expectMisuse(thrown(add), 'ERR_EXMEM_DISPOSED', /Vm was closed/);
      expectMisuse(thrown(() => space.move('ram', page)), 'ERR_EXMEM_DISPOSED', /Vm was closed/);
      expect(space.ranges().map(({ name, at }) => [name, at])).to.deep.equal([['ram', 0]]);
      expect(mappedMemory()).to.deep.equal([]);
      space.remove('ram');
      space.detach();
      space.add('ram', ram, { at: 0, access: 'read' });
    });

    it('end with the space', () => {
      space.add('ram', ram, { at: 0, access: 'read-write' });
      space.attach(vm);
      space.close();
      expectErrno(thrown(() => { vm.removeSlot(0); }), 'EINVAL', noSlot);
      expect(mappedMemory()).to.deep.equal([]);
      expectMisuse(thrown(() => { space.attach(vm); }), 'ERR_EXMEM_DISPOSED', /AddressSpace/);
      expectMisuse(thrown(() => { space.detach(); }), 'ERR_EXMEM_DISPOSED');
    });

    it('refuse what is no VM', () => {
      expectRefused(() => { space.attach(wrong(kvm)); }, /a Vm for vm but received a Kvm/);
      expectRefused(() => { space.attach(vm, { firstSlot: -1 }); }, /for firstSlot but received -1/);
      expectRefused(() => { space.attach(vm, wrong(1)); }, /an object for options/);
      expectRefused(() => space.slotOf('nothing'), /there is no 'nothing'/);
    });

    describe('changes that a slot prevents', () => {
      const rest = () => space.ranges().map(({ name, at, access }) => [name, at / page, access]);
      beforeEach(() => {
        using file = numberedFile(2);
        space.add('file', file.fd, { at: 0, access: 'read-write' });
        space.attach(vm);
        occupy(99, 9 * page);
      });
      const unchanged = () => {
        expect(rest()).to.deep.equal([['file', 0, 'read-write']]);
        using handle = space.handle();
        const seen = [0, 1, 8, 9, 10].map((index) => look(handle, index * page));
        expect(seen).to.deep.equal([1, 2, gone, gone, gone]);
        expect(space.slotOf('file')).to.equal(0);
        // It is one still: KVM knows the slot, and it is where it was.
        using other = AddressSpace.create({ size: page });
        using file = numberedFile(1);
        other.add('there', file.fd, { at: 0, access: 'read' });
        expectErrno(thrown(() => { other.attach(vm, { firstSlot: 50 }); }), 'EEXIST', noSlot);
      };

      it('leave all as it was: add()', () => {
        using file = numberedFile(1);
        const open = openFiles();
        const add = () => space.add('more', file.fd, { at: 9 * page, access: 'read' });
        expectErrno(thrown(add), 'EEXIST', noSlot);
        expect(openFiles()).to.equal(open);
        unchanged();
      });

      it('leave all as it was: move()', () => {
        expectErrno(thrown(() => space.move('file', 8 * page)), 'EEXIST', noSlot);
        unchanged();
      });

      it('leave all as it was: move() onto itself', () => {
        occupy(98, 2 * page);
        expectErrno(thrown(() => space.move('file', page)), 'EEXIST', noSlot);
        unchanged();
      });
    });
  });
});
