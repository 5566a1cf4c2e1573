// SPDX-License-Identifier: MIT
// What this process holds, by the kernel's own account.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setImmediate } from 'node:timers/promises';

/** Descriptors of exclusive memory of either backend, and of memory views. */
export function openMemory(): string[] {
  return readdirSync('/proc/self/fd')
    .map((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`);
      } catch {
        return ''; // the one that lists this directory
      }
    })
    .filter((target) => /\/(restricted_memfd:|secretmem|dev\/exclusive_memory|memory-view)/.test(target));
}

export function openFiles(): number {
  return readdirSync('/proc/self/fd').length;
}

/** Lines of /proc/self/maps that are mappings of exclusive memory or of views. */
export function mappedMemory(): string[] {
  return readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => /\/(restricted_memfd:|secretmem|dev\/exclusive_memory|memory-view)/.test(line));
}

/** Lets the finalizers of detached buffers run, which give their address ranges back. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 5; i++) {
    global.gc?.();
    await setImmediate();
  }
}
