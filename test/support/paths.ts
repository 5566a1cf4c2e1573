// SPDX-License-Identifier: MIT
import { fileURLToPath } from 'node:url';

/** A file of test/support/ that is not compiled. */
export const sourceOfSupport = (name: string) =>
  fileURLToPath(new URL(`../../../../test/support/${name}`, import.meta.url));

/** A compiled program of test/support/. */
export const programOfSupport = (name: string) =>
  fileURLToPath(new URL(`${name}.js`, import.meta.url));
