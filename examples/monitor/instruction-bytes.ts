// SPDX-License-Identifier: MIT
// KVM on AMD relies on the processor to say how long an instruction is and which
// bytes it has, since it cannot look them up in memory that no one can read. All
// processors of the last ten years do; QEMU's emulated one does not.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const needed = ['nrip_save', 'decodeassists'];
const standIn = 'exclusive_memory_fetch_test';

export type InstructionBytes = 'by the processor' | 'by the stand-in of the tests';

/** @throws Error where neither is to be had. */
export function ensureInstructionBytes(): InstructionBytes {
  const flags = /^flags\s*:\s*(.*)$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'))?.[1]?.split(' ') ?? [];
  const missing = flags.includes('svm') ? needed.filter((flag) => !flags.includes(flag)) : [];
  if (missing.length === 0) return 'by the processor';

  if (!existsSync(`/sys/module/${standIn}`)) {
    const { EXMEM_MODULES: modules } = process.env;
    if (modules === undefined) {
      throw new Error(
        `Expected a processor with ${missing.join(' and ')}: without, KVM has to read the guest's ` +
          'instructions itself, which kernel-only memory does not let it',
      );
    }
    execFileSync('insmod', [join(modules, `${standIn}.ko`)]);
  }
  return 'by the stand-in of the tests';
}
