// SPDX-License-Identifier: MIT
// What a guest does that reaches the handler, what does not, and what it gets.
import { expect } from 'chai';
import { capability, type ExitAnswer, guestCpuid, type VcpuExit } from 'exclusive-memory/kvm';
import { asm, isHlt, PlainGuest, ramSize, runUntil } from '../support/plain-guest.js';
import { requireKvm } from '../support/real-mode-guest.js';

const device = ramSize + 0x1000;

/** Nothing but this exit, and the end. */
function only(exits: readonly VcpuExit[]): VcpuExit {
  expect(exits.map(({ type }) => type)).to.have.length(2).and.to.include('hlt');
  const [exit] = exits;
  if (!exit) throw new Error('no exit');
  return exit;
}

describe('exits of a vCPU', () => {
  before(requireKvm);

  let guest: PlainGuest;
  beforeEach(() => {
    guest = new PlainGuest();
  });
  afterEach(() => {
    guest[Symbol.dispose]();
  });

  /** Runs it up to its end. */
  async function run(program: readonly number[], answer?: (exit: VcpuExit) => ExitAnswer) {
    const vcpu = guest.vcpu([...program, ...asm.hlt]);
    const exits = await runUntil(vcpu, isHlt, answer);
    return [exits, vcpu.regs] as const;
  }

  describe('I/O ports', () => {
    it('in: an integer, bytes, or nothing', async () => {
      guest.vm.ports.handle(0x10, 0x12);
      const program = [...asm.in(0x10), ...asm.store(0x7000), ...asm.in16(0x11), 0xa3, 0x02, 0x70];
      const answers: Record<number, number | Uint8Array> = { 0x10: 0x15a, 0x11: Uint8Array.of(1, 2) };
      const [exits] = await run([...program, ...asm.in32(0x12), ...asm.store32(0x7004)], (exit) =>
        exit.type === 'io-in' ? (answers[exit.port] ?? 0xdead_beefn) : undefined,
      );
      expect(exits.slice(0, 3)).to.deep.equal([
        { type: 'io-in', port: 0x10, size: 1, count: 1 },
        { type: 'io-in', port: 0x11, size: 2, count: 1 },
        { type: 'io-in', port: 0x12, size: 4, count: 1 },
      ]);
      expect(guest.read(0x7000, 8)).to.deep.equal([0x5a, 0, 1, 2, 0xef, 0xbe, 0xad, 0xde]);
    });

    it('in, without an answer: all ones', async () => {
      guest.vm.ports.handle(0x10);
      const vcpu = guest.vcpu([...asm.eax(0), ...asm.in16(0x10), ...asm.hlt]);
      await runUntil(vcpu, isHlt);
      expect(vcpu.regs.rax & 0xffff_ffffn).to.equal(0xffffn);
    });

    it('out', async () => {
      guest.vm.ports.handle(0x20);
      const [exits] = await run([...asm.ax(0x1234), ...asm.out16(0x20)]);
      const data = Uint8Array.of(0x34, 0x12);
      expect(only(exits)).to.deep.equal({ type: 'io-out', port: 0x20, size: 2, count: 1, data, posted: false });
    });

    it('rep outs and rep ins', async () => {
      guest.vm.ports.handle(0x300);
      guest.write([1, 2, 3, 4, 5], 0x7000);
      const string = [...asm.dx(0x300), ...asm.si(0x7000), ...asm.di(0x7100)];
      const program = [...string, ...asm.cx(5), ...asm.repOut, ...asm.cx(5), ...asm.repIn];
      const [exits] = await run(program, (exit) =>
        exit.type === 'io-in' ? new Uint8Array(exit.count).fill(9) : undefined,
      );
      const out = exits.flatMap((exit) => (exit.type === 'io-out' ? [...exit.data] : []));
      expect(out).to.deep.equal([1, 2, 3, 4, 5]);
      expect(guest.read(0x7100, 6)).to.deep.equal([9, 9, 9, 9, 9, 0]);
    });

    it('of which nobody asked for cost no exit: all ones, and dropped', async () => {
      const [exits, regs] = await run([
        ...[...asm.eax(0), ...asm.in(0x40), ...asm.out(0x41)],
        ...asm.times(1000, asm.in(0x42)),
      ]);
      expect(exits).to.deep.equal([{ type: 'hlt' }]);
      expect(regs.rax & 0xffffn).to.equal(0xffn);
    });

    it('with a constant cost no exit, and the constant can change', async () => {
      const { ports } = guest.vm;
      ports.reply(0x60, 0x11223344);
      ports.handle(0x61);
      const program = [...asm.in32(0x60), ...asm.store32(0x7000), ...asm.out(0x61), ...asm.in(0x60)];
      const [exits] = await run([...program, ...asm.store(0x7004), ...asm.out(0x60)], (exit) => {
        if (exit.type === 'io-out') ports.reply(exit.port - 1, 0x99);
        return undefined;
      });
      expect(exits).to.have.length(2);
      expect(guest.read(0x7000, 5)).to.deep.equal([0x44, 0x33, 0x22, 0x11, 0x99]);
    });

    it('can be released', async () => {
      const { ports } = guest.vm;
      ports.handle(0, 0xffff);
      ports.reply(0x60, 1);
      ports.post(0x61);
      ports.release(0x60, 0x61);
      ports.handle(0x63);
      const [exits, regs] = await run([...asm.in(0x60), ...asm.out(0x60), ...asm.out(0x61)]);
      expect(exits).to.deep.equal([{ type: 'hlt' }]);
      expect(regs.rax & 0xffn).to.equal(0xffn);
    });
  });

  describe('posted ports', () => {
    it('keep their order among each other and with other exits', async () => {
      const { ports } = guest.vm;
      ports.post(0x70, 0x71);
      ports.handle(0x72);
      const rounds = 300;
      const body = [...asm.inc, ...asm.out(0x70), ...asm.inc, ...asm.out(0x71), ...asm.out(0x72)];
      const [exits] = await run([...asm.al(0), ...asm.times(rounds, body)]);
      const told = exits.flatMap((exit) =>
        exit.type === 'io-out' ? [...exit.data].map((byte) => [exit.port, byte, exit.posted]) : [],
      );
      const expected = Array.from({ length: rounds }, (_, i) => [
        [0x70, (2 * i + 1) & 0xff, true],
        [0x71, (2 * i + 2) & 0xff, true],
        [0x72, (2 * i + 2) & 0xff, false],
      ]).flat();
      expect(told).to.deep.equal(expected);
    });

    it('come as one exit where they are one after the other', async () => {
      guest.vm.ports.post(0x70);
      const rounds = 2000;
      const [exits] = await run([...asm.al(0), ...asm.times(rounds, [...asm.inc, ...asm.out(0x70)])]);
      const writes = exits.filter((exit) => exit.type === 'io-out');
      const bytes = writes.flatMap(({ data }) => [...data]);
      expect(bytes).to.deep.equal(Array.from({ length: rounds }, (_, i) => (i + 1) & 0xff));
      expect(writes.every(({ size, count, data }) => size === 1 && count === data.length)).to.equal(true);
      expect(writes.length, 'in batches').to.be.below(rounds / 2);
    });

    it('make the vCPU wait when very many are on their way, and none is lost', async () => {
      guest.vm.ports.post(0x70);
      const rounds = 20_000;
      const vcpu = guest.vcpu([...asm.times(rounds, asm.out(0x70)), ...asm.hlt]);
      let bytes = 0;
      let largest = 0;
      const over = new Promise<void>((resolve) => {
        vcpu.start((exit) => {
          if (exit.type === 'io-out') {
            bytes += exit.count;
            largest = Math.max(largest, exit.count);
          } else {
            resolve();
          }
          return undefined;
        });
      });
      // The event loop stands still until the queue must be full.
      const end = performance.now() + 2000;
      while (performance.now() < end);
      await over;
      expect(bytes).to.equal(rounds);
      expect(largest).to.be.at.most(4096);
    });

    it('of rep outs', async () => {
      guest.vm.ports.post(0x300);
      guest.write(Array.from({ length: 200 }, (_, i) => i), 0x7000);
      const string = [...asm.dx(0x300), ...asm.si(0x7000), ...asm.cx(200), ...asm.repOut];
      const [exits] = await run(string);
      const bytes = exits.flatMap((exit) => (exit.type === 'io-out' ? [...exit.data] : []));
      expect(bytes).to.deep.equal(Array.from({ length: 200 }, (_, i) => i));
    });
  });

  describe('memory without a slot', () => {
    it('is answered and told, where somebody asked for it', async () => {
      guest.vm.mmio.handle(device, 0x100);
      const [exits, regs] = await run(
        [...asm.al(7), ...asm.store(device + 1), ...asm.load(device + 2)],
        (exit) => (exit.type === 'mmio-read' ? 0x1234 : undefined),
      );
      expect(exits).to.deep.equal([
        { type: 'mmio-write', address: BigInt(device + 1), size: 1, data: Uint8Array.of(7), posted: false },
        { type: 'mmio-read', address: BigInt(device + 2), size: 1 },
        { type: 'hlt' },
      ]);
      expect(regs.rax & 0xffn).to.equal(0x34n);
    });

    it('is all ones, and drops what is stored, where nobody did', async () => {
      guest.vm.mmio.handle(device, 0x100);
      guest.vm.mmio.release(device + 0x10, 0x10);
      const [exits, regs] = await run([
        ...asm.al(7),
        ...[...asm.store(device - 1), ...asm.store(device + 0x100), ...asm.store(device + 0x1f)],
        ...asm.load(device + 0x10),
      ]);
      expect(exits).to.deep.equal([{ type: 'hlt' }]);
      expect(regs.rax & 0xffn).to.equal(0xffn);
    });

    it('can be posted', async () => {
      guest.vm.mmio.post(device, 4);
      guest.vm.mmio.handle(device + 4, 4);
      const [exits] = await run([
        ...asm.eax(0x04030201),
        ...[...asm.store32(device), ...asm.store(device + 3), ...asm.store(device + 4)],
      ]);
      expect(exits).to.deep.equal([
        { type: 'mmio-write', address: BigInt(device), size: 4, data: Uint8Array.of(1, 2, 3, 4), posted: true },
        { type: 'mmio-write', address: BigInt(device + 3), size: 1, data: Uint8Array.of(1), posted: true },
        { type: 'mmio-write', address: BigInt(device + 4), size: 1, data: Uint8Array.of(1), posted: false },
        { type: 'hlt' },
      ]);
    });
  });

  it('a hypercall of the guest, with its result', async function () {
    const MAP_GPA_RANGE = 12;
    const hypercalls = guest.kvm.checkExtension(capability.EXIT_HYPERCALL);
    if ((hypercalls & (1 << MAP_GPA_RANGE)) === 0) this.skip();
    guest.vm.enableCapability(capability.EXIT_HYPERCALL, 1 << MAP_GPA_RANGE);
    const mapGpaRange = 1 << 16;
    const call = [0x0f, 0x01, amd(guest) ? 0xd9 : 0xc1];
    const vcpu = guest.vcpu([
      ...[...asm.eax(MAP_GPA_RANGE), ...asm.ebx(0x4000), ...asm.ecx(2), ...asm.edx(3)],
      ...[...call, ...asm.hlt],
    ]);
    vcpu.setRegs({ rsi: 4n });
    const place = { apicId: 0, vcpus: 1, kvmFeatures: mapGpaRange };
    vcpu.setCpuid(guestCpuid(guest.kvm.supportedCpuid(), place));
    const [exit] = await runUntil(vcpu, isHlt, ({ type }) => (type === 'hypercall' ? 42 : undefined));
    expect(exit).to.deep.equal({
      ...{ type: 'hypercall', number: 12n, longMode: false },
      args: [0x4000n, 2n, 3n, 0n, 0n, 0n],
    });
    expect(vcpu.regs.rax & 0xffff_ffffn).to.equal(42n);
  });

  it('a triple fault: shutdown, after which it is paused', async () => {
    const vcpu = guest.vcpu([0x0f, 0x0b]); // an invalid opcode
    vcpu.setSregs({ idt: { base: 0n, limit: 0 } });
    const seen: string[] = [];
    await new Promise<void>((resolve) => {
      vcpu.start(({ type }, self) => {
        seen.push(`${type} ${self.state}`);
        setImmediate(resolve);
        return undefined;
      });
    });
    expect(seen).to.deep.equal(['shutdown paused']);
    expect(vcpu.state).to.equal('paused');
    expect(vcpu.regs).to.have.property('rip');
    await vcpu.stop();
  });

  it('a state that no processor accepts: it says so, and is paused', async () => {
    const vcpu = guest.vcpu(asm.hlt);
    // Beyond all memory: KVM can emulate nothing there.
    vcpu.setRegs({ rip: 0xfff0n });
    const { cs } = vcpu.sregs;
    vcpu.setSregs({ cs: { ...cs, base: 0xd000_0000n } });
    const exit = await new Promise<VcpuExit>((resolve) => {
      vcpu.start((exit) => {
        resolve(exit);
        return undefined;
      });
    });
    expect(exit).to.include({ type: 'internal-error', suberror: 1 });
    expect(vcpu.state).to.equal('paused');
    await vcpu.stop();
  });
});

const amd = ({ kvm }: PlainGuest) =>
  kvm.supportedCpuid().some((entry) => entry.function === 0 && entry.ebx === 0x6874_7541);
