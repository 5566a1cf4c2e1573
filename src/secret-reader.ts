// SPDX-License-Identifier: MIT
import { type ExclusiveMemoryError, misuse } from './errors.js';
import { Memory } from './memory.js';
import type { Policy } from './backend.js';
import { system } from './system.js';

export interface ReadRequest {
  readonly policy: Policy;
  readonly maxBytes: number;
  readonly signal: AbortSignal | undefined;
}

/** Memory comes in whole pages: a smaller chunk would waste the rest. */
const firstChunkBytes = 4096;

/** How long a thread of the pool waits for input at a time; an abort is noticed after that. */
const readSliceMs = 50;

/**
 * Reads `fd` to its end into memory of exactly the right size.
 *
 * The size of restricted memory is set once, so the bytes go into a chunk, and
 * on to a bigger one when that is full. A chunk is one byte longer than what
 * is expected, so that the end of a file is seen without growing.
 */
export async function readSecret(fd: number, request: ReadRequest): Promise<Memory> {
  const { policy, maxBytes } = request;
  const stat = system.fstat(fd);
  if (stat.isFile() && stat.size > maxBytes) throw tooLong(maxBytes);
  const capacity = Math.min(Math.max(stat.isFile() ? stat.size + 1 : 0, firstChunkBytes), maxBytes + 1);

  let chunk = Memory.allocate(capacity, policy);
  try {
    let filled = 0;
    for (;;) {
      const count = await readSome(fd, chunk, filled, request.signal);
      if (count === 0) break;
      filled += count;
      if (filled > maxBytes) throw tooLong(maxBytes);
      if (filled === chunk.byteLength) {
        const full = chunk;
        chunk = full.copyOf(Math.min(2 * filled, maxBytes + 1), policy);
        full[Symbol.dispose]();
      }
    }
    if (filled === 0) {
      throw misuse('ERR_EXMEM_SIZE', 'Expected at least 1 byte for the secret but the input is empty');
    }
    return chunk.copyOf(filled, policy);
  } finally {
    chunk[Symbol.dispose]();
  }
}

async function readSome(
  fd: number,
  chunk: Memory,
  filled: number,
  signal: AbortSignal | undefined,
): Promise<number> {
  for (;;) {
    signal?.throwIfAborted();
    using loan = chunk.lend();
    const count = await system.read(fd, loan.mapping, filled, readSliceMs);
    if (count >= 0) return count;
  }
}

function tooLong(maxBytes: number): ExclusiveMemoryError {
  return misuse(
    'ERR_EXMEM_SIZE',
    `Expected at most ${maxBytes} bytes for the secret but the input is longer; ` +
      'raise maxBytes if that is right',
  );
}
