// SPDX-License-Identifier: MIT
import { debuglog } from 'node:util';
import { misuse } from './errors.js';

const debug = debuglog('exclusive-memory');

/**
 * Whether an object may still be used. Every owner of a resource has one, ends
 * it once, and checks it wherever it is used.
 *
 * With `NODE_DEBUG=exclusive-memory`, the error of a use after the end has the
 * stack of the construction as its `cause`.
 */
export class Lifetime {
  readonly #what: string;
  readonly #birth: Error | undefined;
  #end: string | undefined;

  constructor(what: string) {
    this.#what = what;
    this.#birth = debug.enabled ? new Error(`this ${what} was made here`) : undefined;
  }

  get over(): boolean {
    return this.#end !== undefined;
  }

  /** Throws `ERR_EXMEM_DISPOSED` once it is over. */
  check(): void {
    if (this.#end === undefined) return;
    throw misuse(
      'ERR_EXMEM_DISPOSED',
      `This ${this.#what} was ${this.#end} and cannot be used any more`,
      this.#birth,
    );
  }

  /** True for the first caller, who then frees what there is to free. */
  end(how = 'disposed'): boolean {
    if (this.#end !== undefined) return false;
    this.#end = how;
    return true;
  }
}
