// SPDX-License-Identifier: MIT
import { type ExclusiveMemoryError, misuse } from './errors.js';
import { pageSize } from './page.js';

/** The one shape of a message about an argument. */
export function unexpected(
  expected: string,
  name: string,
  received: unknown,
): ExclusiveMemoryError {
  return misuse(
    'ERR_EXMEM_ARGUMENT',
    `Expected ${expected} for ${name} but received ${describe(received)}`,
  );
}

/** Never the content of a string or a buffer: it may be the secret itself. */
function describe(value: unknown): string {
  if (typeof value === 'string') return `a string of ${value.length} characters`;
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'symbol') return 'a symbol';
  if (typeof value === 'bigint') return `${value}n`;
  if (ArrayBuffer.isView(value)) return `a ${value.constructor.name} of ${value.byteLength} bytes`;
  if (typeof value === 'object' && value !== null) return `a ${constructorName(value)}`;
  return String(value);
}

function constructorName(value: object): string {
  const { constructor } = value as { constructor?: unknown };
  return typeof constructor === 'function' ? constructor.name : 'null-prototype object';
}

export function checkInteger(value: unknown, name: string, min: number, max: number): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max) {
    return value;
  }
  throw unexpected(`an integer from ${min} to ${max}`, name, value);
}

/** A count of bytes, or an offset: a bigint, too, up to `Number.MAX_SAFE_INTEGER` (8 PiB). */
export type Bytes = number | bigint;

export function checkBytes(value: unknown, name: string, min: number, max: number): number {
  if (typeof value === 'bigint' && value >= BigInt(min) && value <= BigInt(max)) return Number(value);
  return checkInteger(value, name, min, max);
}

/** The same in whole pages; `min` and `max` are, too. */
export function checkPages(value: unknown, name: string, min: number, max: number): number {
  const bytes = checkBytes(value, name, min, max);
  if (bytes % pageSize === 0) return bytes;
  throw unexpected(`a multiple of the page size, ${pageSize},`, name, value);
}

export function checkBuffer(value: unknown, name: string): Uint8Array {
  if (value instanceof Uint8Array) return value;
  throw unexpected('a Uint8Array', name, value);
}

/** Bytes; the kernel decides how many are too many. */
export function checkSize(value: unknown, name: string): number {
  return checkInteger(value, name, 1, Number.MAX_SAFE_INTEGER);
}

export function checkFd(value: unknown, name: string): number {
  return checkInteger(value, name, 0, 0x7fff_ffff);
}

/** Milliseconds, or `Infinity`; at most about 24 days otherwise, as for `setTimeout()`. */
export function checkTimeout(value: unknown, name: string): number {
  if (value === Infinity) return value;
  if (typeof value === 'number' && value >= 0 && value <= 0x7fff_ffff) return value;
  throw unexpected('milliseconds from 0 to 2147483647, or Infinity,', name, value);
}

export function checkOneOf<const T extends string>(
  value: unknown,
  name: string,
  allowed: readonly T[],
): T {
  const found = allowed.find((candidate) => candidate === value);
  if (found !== undefined) return found;
  throw unexpected(`one of ${allowed.map((word) => `'${word}'`).join(', ')}`, name, value);
}

export function checkBoolean(value: unknown, name: string): boolean {
  if (typeof value === 'boolean') return value;
  throw unexpected('a boolean', name, value);
}

export function checkString(value: unknown, name: string): string {
  if (typeof value === 'string') return value;
  throw unexpected('a string', name, value);
}

export function checkFunction(value: unknown, name: string): void {
  if (typeof value !== 'function') throw unexpected('a function', name, value);
}

/** An options bag; anything but an object would be silently ignored otherwise. */
export function checkOptions(value: unknown, name: string): void {
  if (typeof value !== 'object' || value === null) throw unexpected('an object', name, value);
}

export function checkArray(value: unknown, name: string): void {
  if (!Array.isArray(value)) throw unexpected('an array', name, value);
}
