// SPDX-License-Identifier: MIT
import { native } from './native.js';
import { checkOneOf } from './validate.js';

/**
 * What a range of a view allows. There is no way to write or execute only: the
 * processor cannot give that without reading.
 */
export type Access = 'none' | 'read' | 'read-write' | 'read-execute' | 'read-write-execute';

const {
  MEMVIEW_READ: read,
  MEMVIEW_WRITE: write,
  MEMVIEW_EXEC: execute,
} = native.constants;

const flagsByAccess: Readonly<Record<Access, number>> = {
  none: 0,
  read,
  'read-write': read | write,
  'read-execute': read | execute,
  'read-write-execute': read | write | execute,
};

const accesses = Object.keys(flagsByAccess) as Access[];

/** MEMVIEW_MAP_READ and so on. */
export function accessFlags(access: Access, name: string): number {
  return flagsByAccess[checkOneOf(access, name, accesses)];
}

export function accessOf(flags: number): Access {
  const bits = flags & (read | write | execute);
  return accesses.find((access) => flagsByAccess[access] === bits) ?? 'none';
}
