// SPDX-License-Identifier: MIT

/** What went wrong and what to do about it, for a person to read: shown without a stack. */
export class Failure extends Error {
  /**
   * @param {string} message
   * @param {number} [status] exit status of the whole program
   */
  constructor(message, status = 1) {
    super(message);
    this.name = 'Failure';
    this.status = status;
  }
}

/**
 * Runs a program's main function: its result is the exit status, and a Failure is a message, not a stack.
 *
 * @param {() => Promise<number>} main
 */
export async function runMain(main) {
  const status = await main().catch((/** @type {unknown} */ error) => {
    if (!(error instanceof Failure)) {
      throw error;
    }
    process.stderr.write(`${error.message}\n`);
    return error.status;
  });
  // What is still to be written to standard output must not keep a program that has ended.
  process.stderr.write('', () => process.exit(status));
}
