// SPDX-License-Identifier: MIT
// Where in this process the guest's memory is mapped, which the API does not say:
// /proc/self/maps does.
import { readFileSync } from 'node:fs';

const line = /^([0-9a-f]+)-([0-9a-f]+) \S+ ([0-9a-f]+) \S+ \d+ +(.*)$/;

/** Of the mapping that shows a file from its start, as large as it is. */
export function slotAddress(
  name: string,
  size: number,
  maps = readFileSync('/proc/self/maps', 'latin1'),
): bigint {
  for (const text of maps.split('\n')) {
    const [, start = '', end = '', offset = '', path] = line.exec(text) ?? [];
    if (path !== name) continue;
    const address = BigInt(`0x${start}`);
    if (parseInt(offset, 16) === 0 && BigInt(`0x${end}`) - address === BigInt(size)) return address;
  }
  throw new Error(`Expected a mapping of ${size} bytes of ${name}`);
}
