// SPDX-License-Identifier: MIT
// struct kvm_regs and struct kvm_sregs of linux/kvm.h, x86.
import { checkInteger, checkOptions, unexpected } from '../validate.js';
import { checkU32, checkWord } from './checks.js';

const generalNames = [
  ...(['rax', 'rbx', 'rcx', 'rdx', 'rsi', 'rdi', 'rsp', 'rbp'] as const),
  ...(['r8', 'r9', 'r10', 'r11', 'r12', 'r13', 'r14', 'r15', 'rip', 'rflags'] as const),
] as const;

/** The general registers, of 64 bits each. */
export type Registers = Record<(typeof generalNames)[number], bigint>;

const segmentNames = ['cs', 'ds', 'es', 'fs', 'gs', 'ss', 'tr', 'ldt'] as const;
const tableNames = ['gdt', 'idt'] as const;
const controlNames = ['cr0', 'cr2', 'cr3', 'cr4', 'cr8', 'efer', 'apicBase'] as const;

/** A segment register, with what the processor caches of its descriptor. */
export interface Segment {
  base: bigint;
  limit: number;
  selector: number;
  type: number;
  present: number;
  dpl: number;
  db: number;
  s: number;
  l: number;
  g: number;
  avl: number;
  unusable: number;
}

export interface DescriptorTable {
  base: bigint;
  limit: number;
}

/** The special registers. */
export type SpecialRegisters = Record<(typeof segmentNames)[number], Segment> &
  Record<(typeof tableNames)[number], DescriptorTable> &
  Record<(typeof controlNames)[number], bigint> & {
    /** 256 bits in four words: a vector that was injected and not taken yet. */
    interruptBitmap: bigint[];
  };

/** Bytes of the structures. */
export const registersSize = 18 * 8;
export const specialRegistersSize = 8 * 24 + 2 * 16 + 7 * 8 + 4 * 8;

export function decodeRegisters(bytes: Uint8Array): Registers {
  const view = viewOf(bytes);
  return Object.fromEntries(
    generalNames.map((name, i) => [name, view.getBigUint64(i * 8, true)]),
  ) as Registers;
}

/** Writes those that are there into the structure. */
export function encodeRegisters(bytes: Uint8Array, values: Partial<Registers>): void {
  checkNames(values, generalNames);
  const view = viewOf(bytes);
  generalNames.forEach((name, i) => {
    const value = values[name];
    if (value !== undefined) view.setBigUint64(i * 8, checkWord(value, name), true);
  });
}

const segmentSize = 24;
/** Each a byte, in this order, from byte 14 on. */
const segmentBytes = ['type', 'present', 'dpl', 'db', 's', 'l', 'g', 'avl', 'unusable'] as const;
const tablesAt = segmentNames.length * segmentSize;
const tableSize = 16;
const controlsAt = tablesAt + tableNames.length * tableSize;
const bitmapAt = controlsAt + controlNames.length * 8;

export function decodeSpecialRegisters(bytes: Uint8Array): SpecialRegisters {
  const view = viewOf(bytes);
  const segments = segmentNames.map((name, i) => [name, decodeSegment(view, i * segmentSize)]);
  const tables = tableNames.map((name, i) => {
    const at = tablesAt + i * tableSize;
    return [name, { base: view.getBigUint64(at, true), limit: view.getUint16(at + 8, true) }];
  });
  const controls = controlNames.map((name, i) => [name, view.getBigUint64(controlsAt + i * 8, true)]);
  const interruptBitmap = [0, 1, 2, 3].map((i) => view.getBigUint64(bitmapAt + i * 8, true));
  return {
    ...Object.fromEntries([...segments, ...tables, ...controls]),
    interruptBitmap,
  } as SpecialRegisters;
}

export function encodeSpecialRegisters(bytes: Uint8Array, values: Partial<SpecialRegisters>): void {
  checkNames(values, [...segmentNames, ...tableNames, ...controlNames, 'interruptBitmap']);
  const view = viewOf(bytes);
  segmentNames.forEach((name, i) => {
    const segment = values[name];
    if (segment !== undefined) encodeSegment(view, i * segmentSize, segment, name);
  });
  tableNames.forEach((name, i) => {
    const table = values[name];
    if (table === undefined) return;
    checkOptions(table, name);
    const at = tablesAt + i * tableSize;
    view.setBigUint64(at, checkWord(table.base, `${name}.base`), true);
    view.setUint16(at + 8, checkInteger(table.limit, `${name}.limit`, 0, 0xffff), true);
  });
  controlNames.forEach((name, i) => {
    const value = values[name];
    if (value !== undefined) view.setBigUint64(controlsAt + i * 8, checkWord(value, name), true);
  });
  const { interruptBitmap } = values;
  if (interruptBitmap === undefined) return;
  checkInteger(interruptBitmap.length, 'the number of words of interruptBitmap', 4, 4);
  interruptBitmap.forEach((word, i) => {
    view.setBigUint64(bitmapAt + i * 8, checkWord(word, `interruptBitmap[${i}]`), true);
  });
}

function checkNames(values: object, names: readonly string[]): void {
  checkOptions(values, 'values');
  const unknown = Object.keys(values).find((name) => !names.includes(name));
  if (unknown !== undefined) throw unexpected(`no register of the name ${unknown}`, 'values', values);
}

function decodeSegment(view: DataView, at: number): Segment {
  const bytes = segmentBytes.map((name, i) => [name, view.getUint8(at + 14 + i)]);
  return {
    base: view.getBigUint64(at, true),
    limit: view.getUint32(at + 8, true),
    selector: view.getUint16(at + 12, true),
    ...(Object.fromEntries(bytes) as Record<(typeof segmentBytes)[number], number>),
  };
}

function encodeSegment(view: DataView, at: number, segment: Segment, register: string): void {
  checkOptions(segment, register);
  const { base, limit, selector } = segment;
  view.setBigUint64(at, checkWord(base, `${register}.base`), true);
  view.setUint32(at + 8, checkU32(limit, `${register}.limit`), true);
  view.setUint16(at + 12, checkInteger(selector, `${register}.selector`, 0, 0xffff), true);
  segmentBytes.forEach((name, i) => {
    view.setUint8(at + 14 + i, checkInteger(segment[name], `${register}.${name}`, 0, 0xff));
  });
}

const viewOf = ({ buffer, byteOffset, byteLength }: Uint8Array) =>
  new DataView(buffer, byteOffset, byteLength);
