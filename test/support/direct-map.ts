// SPDX-License-Identifier: MIT
// What the kernel finds in its own map of all memory: test/kernel/module looks.
import { execFileSync } from 'node:child_process';
import { closeSync, existsSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';

const name = 'exclusive_memory_test';
const search = `/sys/kernel/debug/${name}/search`;

/**
 * How many pages of the machine's memory show eight bytes, three times in a row,
 * at their address in the direct map.
 *
 * @param inverted Each of them inverted: what is searched for is in no buffer of this process.
 */
export function pagesInDirectMap(inverted: Uint8Array): number {
  loadTestModule();
  const fd = openSync(search, 'r+');
  try {
    writeSync(fd, inverted);
    const answer = Buffer.alloc(4096);
    const pages = answer.toString('latin1', 0, readSync(fd, answer, 0, answer.length, 0)).trim();
    return pages === 'none' ? 0 : pages.split('\n').length;
  } finally {
    closeSync(fd);
  }
}

function loadTestModule(): void {
  if (existsSync(search)) return;
  const { EXMEM_MODULES: modules } = process.env;
  if (modules === undefined) throw new Error('Expected the virtual machine of the tests');
  execFileSync('insmod', [join(modules, `${name}.ko`)]);
}
