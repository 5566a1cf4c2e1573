// SPDX-License-Identifier: MIT
// Virtual machines: slots, registers, what KVM says, and what becomes of its errors.
import { closeSync, readFileSync } from 'node:fs';
import { expect } from 'chai';
import { capability, guestCpuid, Kvm, SlotMapping } from 'exclusive-memory/kvm';
import { system } from '#internal/system.js';
import { expectErrno, expectMisuse, thrown } from '../support/failures.js';
import { LossyFile } from '../support/lossy-file.js';
import { asm, begin, isHlt, PlainGuest, ramSize, runUntil } from '../support/plain-guest.js';
import { openFiles, settle } from '../support/process.js';
import { requireKvm } from '../support/real-mode-guest.js';

const page = 4096;
const setRegion = 'ioctl KVM_SET_USER_MEMORY_REGION';

/** Lines of /proc/self/maps of files on tmpfs, and of KVM. */
const mappings = () =>
  readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => /\/dev\/shm\/exmem|kvm-vcpu/.test(line)).length;

describe('KVM', () => {
  before(requireKvm);

  it('says what it can', () => {
    using kvm = Kvm.open();
    expect(kvm.checkExtension(capability.IRQCHIP)).to.equal(1);
    expect(kvm.checkExtension(capability.NR_MEMSLOTS)).to.be.at.least(32);
    expect(kvm.checkExtension(0xffff)).to.equal(0);
    const leaf0 = kvm.supportedCpuid().find((entry) => entry.function === 0);
    expect(leaf0?.eax).to.be.at.least(1);
  });

  it('leaves nothing behind', async () => {
    const comeAndGo = async () => {
      using guest = new PlainGuest();
      await runUntil(guest.vcpu(asm.hlt), isHlt);
    };
    await comeAndGo();
    await settle();
    const before = { files: openFiles(), mappings: mappings() };
    for (let i = 0; i < 5; i++) await comeAndGo();
    await settle();
    expect({ files: openFiles(), mappings: mappings() }).to.deep.equal(before);
  });

  it('forgotten, is closed when it is collected', async () => {
    const forget = () => {
      const kvm = Kvm.open();
      const vm = kvm.createVm();
      vm.createVcpu(0);
      using file = new LossyFile(page);
      const memory = SlotMapping.of(file.fd, { size: page, access: 'read-write' });
      vm.setSlot({ slot: 0, gpa: 0, memory });
    };
    const before = { files: openFiles(), mappings: mappings() };
    forget();
    await settle();
    await settle();
    expect({ files: openFiles(), mappings: mappings() }).to.deep.equal(before);
  });

  describe('slots', () => {
    it('show the guest their memory, and keep it when nothing else does', async () => {
      using guest = new PlainGuest();
      using file = new LossyFile(4 * page);
      file.fill(0x77, 3 * page, 1);
      {
        using memory = SlotMapping.of(file.fd, { size: 2 * page, offset: 2 * page, access: 'read-write' });
        guest.vm.setSlot({ slot: 1, gpa: ramSize, memory, offset: page });
      }
      const vcpu = guest.vcpu([...asm.load(ramSize), ...asm.inc, ...asm.store(ramSize + 1), ...asm.hlt]);
      await runUntil(vcpu, isHlt);
      expect(vcpu.regs.rax & 0xffn).to.equal(0x78n);
      using handle = file.handle('r');
      const bytes = new Uint8Array(2);
      handle.read(3 * page, bytes);
      expect([...bytes]).to.deep.equal([0x77, 0x78]);
    });

    it('go when they are removed', async () => {
      using guest = new PlainGuest();
      using file = new LossyFile(page);
      const memory = SlotMapping.of(file.fd, { size: page, access: 'read-write' });
      expect(memory.size).to.equal(page);
      const before = mappings();
      guest.vm.setSlot({ slot: 1, gpa: ramSize, memory });
      memory.unmap();
      expect(mappings(), 'the slot has it').to.equal(before);
      guest.vm.removeSlot(1);
      expect(mappings()).to.equal(before - 1);
      const vcpu = guest.vcpu([...asm.load(ramSize), ...asm.hlt]);
      await runUntil(vcpu, isHlt);
      expect(vcpu.regs.rax & 0xffn, 'nobody answers').to.equal(0xffn);
    });

    it('can be read-only: a store is an exit', async () => {
      using guest = new PlainGuest();
      using file = new LossyFile(page);
      file.fill(0x11, 0, page);
      using memory = SlotMapping.of(file.fd, { size: page, access: 'read' });
      guest.vm.setSlot({ slot: 1, gpa: ramSize, memory, readonly: true });
      guest.vm.mmio.handle(ramSize, page);
      const vcpu = guest.vcpu([...asm.load(ramSize), ...asm.inc, ...asm.store(ramSize), ...asm.hlt]);
      const [exit] = await runUntil(vcpu, isHlt);
      expect(exit).to.deep.equal({
        type: 'mmio-write',
        address: BigInt(ramSize),
        size: 1,
        data: Uint8Array.of(0x12),
        posted: false,
      });
    });

    it('say what was written to', async () => {
      using guest = new PlainGuest({ slot: { logDirty: true } });
      const vcpu = guest.vcpu([...asm.store(0x3000), ...asm.store(0x7fff), ...asm.hlt]);
      expect([...guest.vm.dirtyPages(0)]).to.deep.equal([0]);
      await runUntil(vcpu, isHlt);
      const [bits = 0, ...rest] = guest.vm.dirtyPages(0);
      expect(rest).to.deep.equal([]);
      const code = 1 << 1; // may count as written to, where it was made writable
      expect(bits & ~code).to.equal((1 << 3) | (1 << 7));
      expect([...guest.vm.dirtyPages(0)], 'once').to.deep.equal([0]);
    });

    it('are refused with the errno of KVM', () => {
      using guest = new PlainGuest();
      using file = new LossyFile(2 * page);
      using memory = SlotMapping.of(file.fd, { size: 2 * page, access: 'read-write' });
      const { vm } = guest;
      expectErrno(
        thrown(() => { vm.setSlot({ slot: 1, gpa: ramSize - page, memory }); }),
        'EEXIST',
        setRegion,
      );
      expectErrno(
        thrown(() => { vm.setSlot({ slot: 0xffff, gpa: ramSize, memory }); }),
        'EINVAL',
        setRegion,
      );
      expectErrno(thrown(() => { vm.removeSlot(1); }), 'EINVAL', setRegion);
      expectErrno(thrown(() => vm.dirtyPages(1)), 'ENOENT', 'ioctl KVM_GET_DIRTY_LOG');
      expectErrno(thrown(() => vm.dirtyPages(0)), 'ENOENT', 'ioctl KVM_GET_DIRTY_LOG');
    });

    it('need a source that can be mapped like that', () => {
      using file = new LossyFile(page);
      const fd = file.fd;
      using handle = file.handle('r');
      expectErrno(
        thrown(() => SlotMapping.of(handle, { size: page, access: 'read-write' })),
        'EACCES',
        'mmap',
      );
      using memory = SlotMapping.of(fd, { size: page, access: 'none' });
      using guest = new PlainGuest();
      memory.unmap();
      memory.unmap();
      expectMisuse(
        thrown(() => { guest.vm.setSlot({ slot: 1, gpa: ramSize, memory }); }),
        'ERR_EXMEM_DISPOSED',
        /SlotMapping was unmapped/,
      );
      expectErrno(
        thrown(() => SlotMapping.of(1_000_000, { size: page, access: 'none' })),
        'EBADF',
        'mmap',
      );
    });

    it('without memory behind them end the run with EFAULT', async () => {
      using guest = new PlainGuest();
      using file = new LossyFile(page);
      using memory = SlotMapping.of(file.fd, { size: page, access: 'none' });
      guest.vm.setSlot({ slot: 1, gpa: ramSize, memory });
      const vcpu = guest.vcpu([...asm.load(ramSize), ...asm.hlt]);
      const [exit, ...others] = await runUntil(vcpu, () => true);
      expect(others).to.deep.equal([]);
      if (exit?.type !== 'memory-fault') throw new Error(`Expected a memory-fault, not ${exit?.type}`);
      expectErrno(exit.error, 'EFAULT', 'ioctl KVM_RUN');
    });
  });

  describe('a vCPU', () => {
    it('has registers of 64 bits', () => {
      using guest = new PlainGuest();
      using vcpu = guest.vm.createVcpu(0);
      const large = 0xfedc_ba98_7654_3210n;
      vcpu.setRegs({ rax: large, r15: 1n });
      vcpu.setRegs({ rbx: 2n });
      expect(vcpu.regs).to.include({ rax: large, r15: 1n, rbx: 2n });
    });

    it('has special registers, of which those given change', () => {
      using guest = new PlainGuest();
      using vcpu = guest.vm.createVcpu(0);
      const before = vcpu.sregs;
      const ds = { ...before.ds, base: 0x12340n, selector: 0x1234, limit: 0xfffff };
      const gdt = { base: 0x5000n, limit: 0x1f };
      vcpu.setSregs({ ds, gdt, cr2: 0x1234_5678_9abcn });
      expect(vcpu.sregs).to.deep.equal({ ...before, ds, gdt, cr2: 0x1234_5678_9abcn });
    });

    it('has model-specific registers, as far as KVM knows them', () => {
      using guest = new PlainGuest();
      using vcpu = guest.vm.createVcpu(0);
      vcpu.setCpuid(guestCpuid(guest.kvm.supportedCpuid(), { apicId: 0, vcpus: 1 }));
      const [star, lstar] = [0xc000_0081, 0xc000_0082];
      vcpu.setMsrs([
        { index: star, value: 0x23_0010_0000_0000n },
        { index: lstar, value: 0xffff_8000_0000_1000n },
      ]);
      expect(vcpu.msrs([lstar, star])).to.deep.equal([
        { index: lstar, value: 0xffff_8000_0000_1000n },
        { index: star, value: 0x23_0010_0000_0000n },
      ]);
      expectMisuse(
        thrown(() => vcpu.msrs([star, 0x1234_5678])),
        'ERR_EXMEM_ARGUMENT',
        /MSRs that KVM reads but received 0x12345678/,
      );
    });

    it('refuses the MSRs of paravirtual features that its CPUID does not have', () => {
      using guest = new PlainGuest();
      using vcpu = guest.vm.createVcpu(0);
      const filtered = guestCpuid(guest.kvm.supportedCpuid(), { apicId: 0, vcpus: 1 });
      vcpu.setCpuid(filtered);
      const systemTime = 0x4b56_4d01;
      const enabled = 1n;
      const set = () => { vcpu.setMsrs([{ index: systemTime, value: 0x3000n | enabled }]); };
      expectMisuse(thrown(set), 'ERR_EXMEM_ARGUMENT', /KVM writes but received 0x4b564d01/);
      // It can, if it is told to: what the filter withholds is what made it refuse.
      vcpu.setCpuid(guest.kvm.supportedCpuid());
      set();
    });

    it('keeps its errors', () => {
      using guest = new PlainGuest();
      using vcpu = guest.vm.createVcpu(3);
      expect(vcpu.id).to.equal(3);
      expectErrno(thrown(() => guest.vm.createVcpu(3)), 'EEXIST', 'ioctl KVM_CREATE_VCPU');
      expectErrno(thrown(() => guest.vm.createVcpu(0xffff_ffff)), 'EINVAL', 'ioctl KVM_CREATE_VCPU');
      // After a vCPU, there can be no interrupt controllers any more.
      expectErrno(thrown(() => { guest.vm.createIrqchip(); }), 'EINVAL', 'ioctl KVM_CREATE_IRQCHIP');
      expectErrno(thrown(() => { guest.vm.setIrqLine(1, true); }), 'ENXIO', 'ioctl KVM_IRQ_LINE');
      expectErrno(
        thrown(() => { guest.vm.enableCapability(0xffff); }),
        'EINVAL',
        'ioctl KVM_ENABLE_CAP',
      );
      expect(vcpu.tscKhz).to.be.above(1000);
    });

    it('runs in a CPUID of our choice', async () => {
      using guest = new PlainGuest();
      const program = [...asm.eax(0x4000_0000), 0x0f, 0xa2, ...asm.hlt];
      const vcpu = guest.vcpu(program);
      const all = guest.kvm.supportedCpuid();
      const place = { apicId: 0, vcpus: 1 };
      vcpu.setCpuid(guestCpuid(all, place));
      await runUntil(vcpu, isHlt);
      expect(vcpu.regs.rbx, 'no signature').not.to.equal(0x4b4d_564bn);
      using other = new PlainGuest();
      const offered = other.vcpu(program);
      offered.setCpuid(guestCpuid(all, { ...place, kvmFeatures: 0 }));
      await runUntil(offered, isHlt);
      expect(offered.regs.rbx).to.equal(0x4b4d_564bn);
      expect(thrown(() => { offered.setCpuid([]); })).to.include({ code: 'EINVAL' });
    });
  });

  it('can be disposed in any order', async () => {
    const orders = [[0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2], [2, 0, 3, 1]];
    for (const order of orders) {
      using file = new LossyFile(page);
      const kvm = Kvm.open();
      const vm = kvm.createVm();
      const memory = SlotMapping.of(file.fd, { size: page, access: 'read-write' });
      vm.setSlot({ slot: 0, gpa: 0, memory });
      const vcpu = vm.createVcpu(0);
      begin(vcpu, 0);
      const hltOpcode = 0xf4;
      file.fill(hltOpcode, 0, page);
      const hlt = new Promise<void>((resolve) => {
        vcpu.start(() => { resolve(); });
      });
      await hlt;
      const parts = [kvm, vm, memory, vcpu];
      for (const i of order) parts[i]?.[Symbol.dispose]();
      for (const i of order) parts[i]?.[Symbol.dispose]();
      expect(vcpu.state).to.equal('closed');
    }
  });

  it('unmaps its slots, even if somebody has a copy of its descriptor', () => {
    const before = mappings();
    const guest = new PlainGuest();
    const copy = system.duplicate(guest.vm.fd);
    guest[Symbol.dispose]();
    expect(mappings()).to.equal(before);
    closeSync(copy);
  });
});
