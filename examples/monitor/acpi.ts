// SPDX-License-Identifier: MIT
// The tables by which the guest finds its processors and its switch (ACPI
// specification 6.5, chapter 5). There is no I/O APIC: interrupts come by the PIC,
// and nothing of the machine is memory-mapped.

const headerSize = 36;

/** Fixed hardware: event and control blocks of power management. */
export const powerPorts = { event: 0x600, eventLength: 4, control: 0x604, controlLength: 2 } as const;

/** In the control register: sleep, as deep as SLP_TYP says. */
export const sleepEnable = 1 << 13;
export const sleepType = (control: number) => (control >> 10) & 7;
/** What `_S5` names, off. */
export const sleepTypeOff = 5;

export const localApicAddress = 0xfee0_0000;

const at = { rsdp: 0x000, xsdt: 0x040, fadt: 0x100, madt: 0x300, dsdt: 0x800 } as const;
const size = 0x1000;

/** All tables as they stand at `base`, the RSDP first. */
export function acpiTables(base: number, processors: number): Buffer {
  const tables = Buffer.alloc(size);
  rsdp(base + at.xsdt).copy(tables, at.rsdp);
  table('XSDT', 1, Buffer.concat([pointer(base + at.fadt), pointer(base + at.madt)])).copy(tables, at.xsdt);
  fadt(base + at.dsdt).copy(tables, at.fadt);
  madt(processors).copy(tables, at.madt);
  dsdt().copy(tables, at.dsdt);
  return tables;
}

function rsdp(xsdt: number): Buffer {
  const bytes = Buffer.alloc(36);
  bytes.write('RSD PTR ', 0, 'latin1');
  bytes.write('EXMEM ', 9, 'latin1');
  bytes.writeUInt8(2, 15); // revision: ACPI 2.0 and later
  bytes.writeUInt32LE(bytes.length, 20);
  bytes.writeBigUInt64LE(BigInt(xsdt), 24);
  setChecksum(bytes.subarray(0, 20), 8); // as much as ACPI 1.0 had
  setChecksum(bytes, 32);
  return bytes;
}

function table(signature: string, revision: number, body: Buffer): Buffer {
  const bytes = Buffer.concat([Buffer.alloc(headerSize), body]);
  bytes.write(signature, 0, 'latin1');
  bytes.writeUInt32LE(bytes.length, 4);
  bytes.writeUInt8(revision, 8);
  bytes.write('EXMEM ', 10, 'latin1'); // OEM
  bytes.write('MONITOR ', 16, 'latin1'); // of the OEM, this table
  bytes.writeUInt32LE(1, 24);
  bytes.write('EXM ', 28, 'latin1'); // made by
  bytes.writeUInt32LE(1, 32);
  setChecksum(bytes, 9);
  return bytes;
}

/** The bytes add up to 0. */
function setChecksum(bytes: Buffer, place: number): void {
  bytes[place] = 0;
  bytes[place] = -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}

function pointer(address: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(address));
  return bytes;
}

function fadt(dsdtAddress: number): Buffer {
  const whole = Buffer.alloc(244); // revision 3
  whole.writeUInt32LE(dsdtAddress, 40);
  whole.writeUInt16LE(9, 46); // interrupt of power events
  whole.writeUInt32LE(powerPorts.event, 56);
  whole.writeUInt32LE(powerPorts.control, 64);
  whole.writeUInt8(powerPorts.eventLength, 88);
  whole.writeUInt8(powerPorts.controlLength, 89);
  const noVga = 1 << 2;
  const noRtc = 1 << 5;
  whole.writeUInt16LE(noVga | noRtc, 109);
  const wbinvd = 1 << 0;
  const noPowerButton = 1 << 4;
  const noSleepButton = 1 << 5;
  const forceApicClusterModel = 1 << 18;
  const forceApicPhysical = 1 << 19;
  whole.writeUInt32LE((wbinvd | noPowerButton | noSleepButton | forceApicPhysical) & ~forceApicClusterModel, 112);
  whole.writeBigUInt64LE(BigInt(dsdtAddress), 140);
  portAddress(powerPorts.event, powerPorts.eventLength).copy(whole, 148);
  portAddress(powerPorts.control, powerPorts.controlLength).copy(whole, 172);
  return table('FACP', 3, whole.subarray(headerSize));
}

/** A generic address structure. */
function portAddress(port: number, bytes: number): Buffer {
  const address = Buffer.alloc(12);
  const systemIo = 1;
  address.writeUInt8(systemIo, 0);
  address.writeUInt8(bytes * 8, 1);
  address.writeBigUInt64LE(BigInt(port), 4);
  return address;
}

function madt(processors: number): Buffer {
  const fixed = Buffer.alloc(8);
  const hasPic = 1;
  fixed.writeUInt32LE(localApicAddress, 0);
  fixed.writeUInt32LE(hasPic, 4);
  const localApics = Array.from({ length: processors }, (_, id) => {
    const enabled = 1;
    return Buffer.from([0, 8, id, id, enabled, 0, 0, 0]);
  });
  return table('APIC', 3, Buffer.concat([fixed, ...localApics]));
}

/** AML for: Name (_S5, Package () { 5, 0, 0, 0 }) */
function dsdt(): Buffer {
  const nameOp = 0x08;
  const packageOp = 0x12;
  const bytePrefix = 0x0a;
  const zero = 0x00;
  const elements = [bytePrefix, sleepTypeOff, zero, zero, zero];
  const count = 4;
  // The length counts itself and the number of elements.
  const body = [nameOp, ...Buffer.from('_S5_'), packageOp, elements.length + 2, count, ...elements];
  return table('DSDT', 2, Buffer.from(body));
}
