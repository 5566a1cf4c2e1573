// SPDX-License-Identifier: MIT
// What the example's monitor puts into a guest's memory: bzImage, zero page, page
// tables, ACPI tables.
import { expect } from 'chai';
import { acpiTables, powerPorts, sleepEnable, sleepType, sleepTypeOff } from '../../examples/monitor/acpi.js';
import { commandLine } from '../../examples/monitor/command-line.js';
import { parseKernelImage } from '../../examples/monitor/kernel-image.js';
import { bootGdt, identityPageTables, selectors } from '../../examples/monitor/long-mode.js';
import { addresses, e820, memoryMap, windowSize } from '../../examples/monitor/memory-map.js';
import { zeroPage } from '../../examples/monitor/zero-page.js';

const mib = 1 << 20;
const page = 4096;

/** The start of a bzImage, as far as a loader looks at it. */
function bzImage(change: (start: Buffer) => void = () => undefined): Buffer {
  const start = Buffer.alloc(0x1000);
  start.writeUInt8(27, 0x1f1); // setup_sects
  start.writeUInt16LE(0xaa55, 0x1fe);
  start.set([0xeb, 0x6a], 0x200); // jmp: the header ends at 0x26c
  start.write('HdrS', 0x202, 'latin1');
  start.writeUInt16LE(0x20f, 0x206);
  start.writeUInt8(0x81, 0x211); // loadflags
  start.writeUInt16LE(0x3f, 0x236); // xloadflags
  start.writeUInt32LE(2047, 0x238); // cmdline_size
  start.writeBigUInt64LE(0x100_0000n, 0x258); // pref_address
  start.writeUInt32LE(0x3400000, 0x260); // init_size
  start.writeUInt8(0x77, 0x26b); // the header's last byte
  start.writeUInt8(0x99, 0x26c); // and what is behind it
  change(start);
  return start;
}

const kernel = () => parseKernelImage('vmlinuz', bzImage(), 10_000_000);

const sum = (bytes: Uint8Array) => bytes.reduce((total, byte) => total + byte, 0) & 0xff;

describe('monitor: a bzImage', () => {
  it('says where its parts are, and where it is to go', () => {
    const image = kernel();
    expect(image.offset).to.equal(28 * 512);
    expect(image.size).to.equal(10_000_000 - 28 * 512);
    expect(image.loadAddress).to.equal(16 * mib);
    expect(image.entry).to.equal(16 * mib + 0x200);
    expect(image.initSize).to.equal(0x3400000);
    expect(image.maxCommandLine).to.equal(2047);
    expect(image.header.length).to.equal(0x26c - 0x1f1);
  });

  it('has 4 sectors of setup where it says 0', () => {
    const image = parseKernelImage('old', bzImage((start) => { start[0x1f1] = 0; }), 1 << 20);
    expect(image.offset).to.equal(5 * 512);
  });

  it('is refused if it is none, or has no 64-bit entry', () => {
    const parse = (change: (start: Buffer) => void) => () => parseKernelImage('file', bzImage(change), 1 << 20);
    expect(parse((start) => start.write('ELF', 0x202, 'latin1'))).to.throw(/Expected file to be a bzImage/);
    expect(parse((start) => start.writeUInt16LE(0, 0x236))).to.throw(/64-bit entry point.*xloadflags 0x0/);
    expect(parse((start) => start.writeUInt16LE(0x20b, 0x206))).to.throw(/boot protocol 0x20b/);
  });
});

describe('monitor: the memory map', () => {
  it('has no gap and no overlap, and reserves the window at the end', () => {
    const map = memoryMap(128 * mib, 3_000_000);
    let end = 0;
    for (const { address, size } of e820(map)) {
      expect(address).to.equal(end);
      expect(size).to.be.above(0);
      end += size;
    }
    expect(end).to.equal(128 * mib);
    expect(e820(map).at(-1)).to.deep.equal({ address: 128 * mib - windowSize, size: windowSize, kind: 'reserved' });
  });

  it('puts the initramfs on pages before the window', () => {
    const { initramfs, window } = memoryMap(128 * mib, 3_000_000);
    expect(initramfs.address % page).to.equal(0);
    expect(initramfs.address + initramfs.size).to.be.at.most(window.address);
    expect(initramfs.address + initramfs.size).to.be.above(window.address - page);
  });

  it('is refused for too little memory, and for broken blocks', () => {
    for (const size of [64 * mib, 128 * mib + page]) {
      expect(() => memoryMap(size, 1)).to.throw(/whole 2 MiB blocks, at least 96 MiB, received/);
    }
  });
});

describe('monitor: the zero page', () => {
  const map = memoryMap(128 * mib, 3_000_000);
  const bytes = zeroPage(kernel(), map);

  it('repeats the header of the kernel, and nothing behind it', () => {
    expect(bytes.length).to.equal(page);
    expect(bytes.toString('latin1', 0x202, 0x206)).to.equal('HdrS');
    expect(bytes[0x26b]).to.equal(0x77);
    expect(bytes[0x26c]).to.equal(0);
  });

  it('says who loads it, and where things are', () => {
    expect(bytes[0x210]).to.equal(0xff);
    expect(bytes[0x211]).to.equal(0x81);
    expect(bytes.readUInt32LE(0x214)).to.equal(16 * mib);
    expect(bytes.readUInt32LE(0x218)).to.equal(map.initramfs.address);
    expect(bytes.readUInt32LE(0x21c)).to.equal(3_000_000);
    expect(bytes.readUInt32LE(0x228)).to.equal(addresses.commandLine);
    expect(bytes.readBigUInt64LE(0x070)).to.equal(BigInt(addresses.acpi));
  });

  it('has the memory map', () => {
    const entries = Array.from({ length: bytes[0x1e8] ?? 0 }, (_, i) => 0x2d0 + 20 * i).map((at) => [
      Number(bytes.readBigUInt64LE(at)),
      Number(bytes.readBigUInt64LE(at + 8)),
      bytes.readUInt32LE(at + 16),
    ]);
    const types = { ram: 1, reserved: 2 };
    expect(entries).to.deep.equal(e820(map).map(({ address, size, kind }) => [address, size, types[kind]]));
  });
});

describe('monitor: the command line', () => {
  it('tells init where the window is', () => {
    const line = commandLine(2_400_000, memoryMap(128 * mib, 4096));
    expect(line).to.include(' tsc_early_khz=2400000 ');
    expect(line).to.match(/ EXMEM_WINDOW=0x7ff0000,65536$/);
  });
});

describe('monitor: long mode', () => {
  /** As the processor does it. */
  function translate(tables: Buffer, base: number, address: bigint): bigint | undefined {
    let table = base;
    for (const shift of [39n, 30n, 21n]) {
      const at = table - base + Number((address >> shift) & 511n) * 8;
      if (at + 8 > tables.length) return undefined;
      const entry = tables.readBigUInt64LE(at);
      if ((entry & 3n) !== 3n) return undefined;
      const target = entry & 0x000f_ffff_ffff_f000n;
      if ((entry & 0x80n) !== 0n) return target + (address & ((1n << shift) - 1n));
      table = Number(target);
    }
    return undefined;
  }

  it('finds the first 4 GiB where they are, and nothing else', () => {
    const base = 0x30000;
    const tables = identityPageTables(base);
    for (const address of [0n, 0x200n, 0x1f_ffffn, 0x20_0000n, 0x4000_0000n, 0xffff_fff8n]) {
      expect(translate(tables, base, address), `0x${address.toString(16)}`).to.equal(address);
    }
    for (const address of [0x1_0000_0000n, 0x80_0000_0000n, 0xffff_ffff_8000_0000n]) {
      expect(translate(tables, base, address), `0x${address.toString(16)}`).to.equal(undefined);
    }
    expect(base + tables.length).to.be.at.most(addresses.gdt);
  });

  it('has a 64-bit code segment and a flat data segment', () => {
    const gdt = bootGdt();
    const flags = (selector: number) => ({
      present: (gdt.readUInt8(selector + 5) & 0x80) !== 0,
      code: (gdt.readUInt8(selector + 5) & 0x18) === 0x18,
      long: (gdt.readUInt8(selector + 6) & 0x20) !== 0,
    });
    expect(gdt.readBigUInt64LE(0)).to.equal(0n);
    expect(flags(selectors.code)).to.deep.equal({ present: true, code: true, long: true });
    expect(flags(selectors.data)).to.deep.equal({ present: true, code: false, long: false });
  });
});

describe('monitor: ACPI tables', () => {
  const base = 0xe_0000;
  const tables = acpiTables(base, 3);
  const at = (address: bigint | number) => tables.subarray(Number(address) - base);
  const tableAt = (address: bigint | number) => at(address).subarray(0, at(address).readUInt32LE(4));
  const xsdt = () => tableAt(at(base).readBigUInt64LE(24));
  const find = (signature: string) => {
    const pointers = xsdt().subarray(36);
    const found = Array.from({ length: pointers.length / 8 }, (_, i) => tableAt(pointers.readBigUInt64LE(8 * i)));
    const table = found.find((candidate) => candidate.toString('latin1', 0, 4) === signature);
    if (!table) throw new Error(`no ${signature}`);
    return table;
  };

  it('lead from one to the other, and add up to 0', () => {
    const rsdp = at(base);
    expect(rsdp.toString('latin1', 0, 8)).to.equal('RSD PTR ');
    expect(sum(rsdp.subarray(0, 20))).to.equal(0);
    expect(sum(rsdp.subarray(0, 36))).to.equal(0);
    const dsdt = tableAt(find('FACP').readUInt32LE(40));
    expect(dsdt.toString('latin1', 0, 4)).to.equal('DSDT');
    for (const table of [xsdt(), find('FACP'), find('APIC'), dsdt]) {
      expect(sum(table), table.toString('latin1', 0, 4)).to.equal(0);
    }
  });

  it('say how to switch off', () => {
    const fadt = find('FACP');
    expect(fadt.readUInt32LE(64)).to.equal(powerPorts.control);
    expect(fadt.readUInt8(89)).to.equal(powerPorts.controlLength);
    expect(Number(fadt.readBigUInt64LE(140))).to.equal(fadt.readUInt32LE(40));
    const aml = tableAt(fadt.readUInt32LE(40)).subarray(36);
    // Name (_S5, Package (4) { 5, 0, 0, 0 }), by hand
    expect(aml.toString('hex')).to.equal('085f53355f1207040a05000000');
    expect(sleepType(sleepEnable | (5 << 10))).to.equal(sleepTypeOff);
  });

  it('list a local APIC for each processor, and nothing that is memory-mapped besides', () => {
    const madt = find('APIC');
    expect(madt.readUInt32LE(36)).to.equal(0xfee0_0000);
    const entries = madt.subarray(44);
    expect(entries.length).to.equal(3 * 8);
    for (const id of [0, 1, 2]) {
      expect([...entries.subarray(8 * id, 8 * id + 8)]).to.deep.equal([0, 8, id, id, 1, 0, 0, 0]);
    }
  });
});
