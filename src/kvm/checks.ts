// SPDX-License-Identifier: MIT
import { checkInteger, unexpected } from '../validate.js';

const u64 = 2n ** 64n;

/** What fits into 64 bits without a sign, of a number or a bigint. */
export function checkWord(value: unknown, name: string): bigint {
  if (typeof value === 'bigint' && value >= 0n && value < u64) return value;
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return BigInt(value);
  throw unexpected('an integer of 64 bits without a sign', name, value);
}

export const checkU32 = (value: unknown, name: string): number =>
  checkInteger(value, name, 0, 0xffff_ffff);

export const checkPort = (value: unknown, name: string, min = 0): number =>
  checkInteger(value, name, min, 0xffff);

/** A guest-physical address: what a number can be exactly is more than any processor has. */
export const checkAddress = (value: unknown, name: string): number =>
  checkInteger(value, name, 0, Number.MAX_SAFE_INTEGER);
