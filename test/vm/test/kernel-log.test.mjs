// SPDX-License-Identifier: MIT
import { expect } from 'chai';

import { findReport } from '../kernel-log.mjs';

const REPORTS = [
  'WARNING: CPU: 0 PID: 1 at mm/vmalloc.c:100 foo+0x1/0x2',
  'WARNING: possible circular locking dependency detected',
  'WARNING: suspicious RCU usage',
  'BUG: KASAN: use-after-free in foo+0x1/0x2',
  'BUG: unable to handle page fault for address: ffff888000000000',
  'BUG: Bad page state in process cat  pfn:1234',
  'BUG: sleeping function called from invalid context at mm/slab.h:1',
  'BUG kmalloc-64 (Not tainted): Poison overwritten',
  'watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [cat:1]',
  'exmem-vm: BUG: module exclusive_memory cannot be unloaded: Device or resource busy',
  'kernel BUG at mm/page_alloc.c:1!',
  'general protection fault, probably for non-canonical address 0xdead000000000100: 0000 [#1] PREEMPT SMP',
  'invalid opcode: 0000 [#1] PREEMPT SMP',
  'UBSAN: shift-out-of-bounds in foo.c:1:2',
  'INFO: task cat:12 blocked for more than 120 seconds.',
  'rcu: INFO: rcu_preempt self-detected stall on CPU',
  'NMI watchdog: Watchdog detected hard LOCKUP on cpu 0',
  'kmemleak: 2 new suspected memory leaks (see /sys/kernel/debug/kmemleak)',
  'Kernel panic - not syncing: Oops',
  'ODEBUG: free active (active state 0) object type: work_struct',
];

const HARMLESS = [
  'traps: cat[1] general protection fault ip:1 sp:2 error:0 in cat[1000+1]',
  'RETBleed: WARNING: Spectre v2 mitigation leaves CPU vulnerable to RETBleed attacks, data leaks possible!',
  'Memory cgroup out of memory: Killed process 12 (node)',
  'FAULT_INJECTION: forcing a failure.',
  'CPU: 0 PID: 12 Comm: node Not tainted 6.1.0',
  'cat[12]: segfault at 0 ip 1 sp 2 error 4',
  'INFO: lockdep is turned off.',
];

describe('the search for trouble in the kernel log', () => {
  for (const line of REPORTS) {
    it(`finds ${line}`, () => {
      expect(findReport(`[    0.000000] Linux version 6.1\r\n[   12.345678] ${line}\r\n`)).to.include(line);
      expect(findReport(`[   12.345678][  T123] ${line}\n`)).to.include(line);
    });
  }

  for (const line of HARMLESS) {
    it(`passes over ${line}`, () => {
      expect(findReport(`[   12.345678] ${line}\n`)).to.equal(undefined);
    });
  }
});
