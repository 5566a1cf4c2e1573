// SPDX-License-Identifier: MIT
// The tour: on the running kernel if it has the module, else in a virtual machine.

import { accessSync, constants } from 'node:fs';

import { runChild } from './run-child.mjs';
import { ensureEverything, ensureLibrary } from './setup/everything.mjs';
import { runMain } from './setup/failure.mjs';

const TOUR = ['node', 'build/ts/examples/tour.js', ...process.argv.slice(2)];

function moduleIsUsable() {
  try {
    accessSync('/dev/exclusive_memory', constants.R_OK | constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

await runMain(async () => {
  if (moduleIsUsable()) {
    await ensureLibrary();
    return runChild(TOUR);
  }
  await ensureEverything('6.1');
  return runChild(['node', 'test/vm/run.mjs', '--', ...TOUR]);
});
