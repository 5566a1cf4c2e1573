// SPDX-License-Identifier: MIT
import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

const chunkBytes = 1 << 20;

export interface Scan {
  /** In how many places the bytes are. */
  readonly hits: number;
  /** Bytes that could be read. */
  readonly readable: number;
  /** Names of the mappings that could not be read, as /proc/PID/maps has them. */
  readonly refused: readonly string[];
}

/** Looks for `needle` in all memory of another process, through /proc/PID/mem. */
export function scanMemory(pid: number, needle: Uint8Array): Scan {
  const maps = readFileSync(`/proc/${pid}/maps`, 'utf8').trimEnd().split('\n');
  const fd = openSync(`/proc/${pid}/mem`, 'r');
  const buffer = Buffer.alloc(chunkBytes + needle.length);
  let hits = 0;
  let readable = 0;
  const refused: string[] = [];
  try {
    for (const line of maps) {
      const [, from, to, mode, name] =
        /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ *(.*)$/.exec(line) ?? [];
      if (!mode?.startsWith('r') || name?.startsWith('[v')) continue;
      try {
        // Chunks overlap, so that no hit is cut in two.
        for (let at = BigInt(`0x${from}`); at < BigInt(`0x${to}`); at += BigInt(chunkBytes)) {
          const left = Number(BigInt(`0x${to}`) - at);
          const count = readSync(fd, buffer, 0, Math.min(left, buffer.length), at);
          readable += Math.min(count, chunkBytes);
          hits += occurrences(buffer.subarray(0, count), needle);
        }
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EIO') throw error;
        refused.push(name ?? '');
      }
    }
  } finally {
    closeSync(fd);
  }
  return { hits, readable, refused };
}

export function occurrences(haystack: Buffer, needle: Uint8Array): number {
  let count = 0;
  for (let at = haystack.indexOf(needle); at >= 0; at = haystack.indexOf(needle, at + 1)) count++;
  return count;
}
