// SPDX-License-Identifier: MIT
// Finds reports of trouble in a kernel's log.

const REPORTS = [
  // WARN(), lockdep, suspicious RCU usage
  /^WARNING: /,
  // KASAN, sleeping in atomic context, bad pages, SLUB ("BUG kmalloc-64 ..."), and our own first process
  /^BUG\b/,
  /: BUG: /,
  /^kernel BUG at /,
  // every kind of oops counts itself
  /\[#\d+\]/,
  /^general protection fault/,
  /^UBSAN: /,
  /^INFO: task .* blocked for more than/,
  /^INFO: (trying to register non-static key|possible recursive|inconsistent lock state)/,
  /^rcu: INFO: rcu_.*(stall|starved)/,
  /\bLOCKUP\b/,
  /^kmemleak: [1-9]\d* new suspected memory leak/,
  /^Kernel panic/,
  /^ODEBUG: /,
];

const LINES_BEFORE = 3;
const LINES_SHOWN = 120;

/** @param {string} line with the time, and with the task where the kernel is configured so */
const message = (line) => line.replace(/^\[ *\d+\.\d+\](\[ *[TC]\d+\])? /, '').replace(/^-+\[ cut here.*/, '');

/** @param {string} log */
const linesOf = (log) => log.split('\n').map((line) => line.replace(/\r$/, ''));

/**
 * The part of a log from its first report on, if it has one.
 *
 * @param {string} log
 */
export function findReport(log) {
  const lines = linesOf(log);
  const first = lines.findIndex((line) => REPORTS.some((report) => report.test(message(line))));
  if (first < 0) {
    return undefined;
  }
  const begin = Math.max(0, first - LINES_BEFORE);
  const shown = lines.slice(begin, begin + LINES_SHOWN);
  const more = lines.length - begin - shown.length;
  return [...shown, ...(more > 0 ? [`(${more} more lines)`] : [])].join('\n').trimEnd();
}

/**
 * @param {string} log
 * @param {number} count
 */
export const lastLines = (log, count) => linesOf(log.trimEnd()).slice(-count).join('\n');
