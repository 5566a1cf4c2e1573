// SPDX-License-Identifier: MIT
// The monitor example: on the running kernel if it has the module and KVM, else in a virtual machine.

import { accessSync, constants } from 'node:fs';

import { runChild } from './run-child.mjs';
import { ensureEverything, ensureLibrary } from './setup/everything.mjs';
import { runMain } from './setup/failure.mjs';
import { ensureKernel } from './setup/kernel.mjs';
import { ensureMonitor } from './setup/monitor.mjs';

const args = process.argv.slice(2);

function devicesAreUsable() {
  try {
    for (const device of ['/dev/exclusive_memory', '/dev/memory-view', '/dev/kvm']) {
      accessSync(device, constants.R_OK | constants.W_OK);
    }
    return true;
  } catch {
    return false;
  }
}

await runMain(async () => {
  if (devicesAreUsable()) {
    await ensureLibrary();
    await ensureMonitor();
    return runChild(['node', 'build/ts/examples/monitor/main.js', ...args]);
  }
  await ensureEverything('6.1');
  await ensureMonitor();
  const { image } = await ensureKernel('6.1');
  return runChild(['node', 'build/ts/examples/monitor/outside/main.js', '--kernel', image, ...args]);
});
