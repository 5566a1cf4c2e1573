// SPDX-License-Identifier: MIT
// Runs a command in a virtual machine with the module. See --help.

import { ensureKernel } from '../../scripts/setup/kernel.mjs';
import { ensureModules } from '../../scripts/setup/module.mjs';
import { runMain } from '../../scripts/setup/failure.mjs';
import { ensureInitramfs } from './initramfs.mjs';
import { help, parseOptions } from './options.mjs';
import { runInMachine } from './session.mjs';

await runMain(async () => {
  const { command, options } = parseOptions(process.argv.slice(2));
  if (options === undefined) {
    process.stderr.write(help);
    return 0;
  }
  const kernel = await ensureKernel(options.kernel);
  if (options.module) {
    await ensureModules(kernel);
  }
  const initramfs = await ensureInitramfs(kernel);
  return runInMachine(kernel, initramfs, command, options);
});
