// SPDX-License-Identifier: MIT
// Waiting for a guest, which may never answer.
import { setTimeout } from 'node:timers/promises';

const firstNoteMs = 2000;
const nextNoteMs = 10_000;

/** The guest died, or does not answer: on an emulated processor that now and then happens to any guest. */
export class GuestGone extends Error {}

/**
 * Waits, and says so when it takes long.
 *
 * @param what that is waited for, as a user reads it
 * @param gone rejects if there is nothing to wait for any more
 */
export async function patiently<T>(
  what: string,
  work: Promise<T>,
  limitMs: number,
  ...gone: Promise<never>[]
): Promise<T> {
  const over = new AbortController();
  void noteTime(what, over.signal);
  try {
    return await Promise.race([work, ...gone, late(what, limitMs, over.signal)]);
  } finally {
    over.abort();
  }
}

async function noteTime(what: string, signal: AbortSignal): Promise<void> {
  const started = performance.now();
  for (let ms = firstNoteMs; await passed(ms, signal); ms = nextNoteMs) {
    const seconds = Math.round((performance.now() - started) / 1000);
    process.stderr.write(`    … ${what} (${seconds} s)\n`);
  }
}

/** Rejects after some time; never, if aborted before. */
async function late(what: string, ms: number, signal: AbortSignal): Promise<never> {
  if (await passed(ms, signal)) throw new GuestGone(`Waited for ${ms / 1000} s in vain: ${what}`);
  return new Promise(() => undefined);
}

/** False if aborted before. */
const passed = (ms: number, signal: AbortSignal): Promise<boolean> =>
  setTimeout(ms, true, { signal }).catch(() => false);
