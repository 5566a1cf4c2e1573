// SPDX-License-Identifier: MIT
// The module as the kernel's own checks see it: W=1, sparse and checkpatch have nothing to say.

import { spawnSync } from 'node:child_process';
import { cpSync, rmSync } from 'node:fs';
import path from 'node:path';

import { ensureKernelSource } from '../setup/debug-kernel.mjs';
import { runMain } from '../setup/failure.mjs';
import { ensureKernel } from '../setup/kernel.mjs';
import { ensurePackages, stylePackages } from '../setup/packages.mjs';
import { inBuild, root } from '../setup/paths.mjs';
import { filesUnder } from '../setup/steps.mjs';

/** In this order: the second uses symbols of the first. */
const DIRECTORIES = ['kmod', 'test/kernel/module', 'test/kernel/fetch-module'];

/** Without a word on what is done, and without BTF, for which the packages lack a vmlinux. */
const CHECKED = ['-s', 'W=1', 'C=2', 'CONFIG_DEBUG_INFO_BTF_MODULES='];

/**
 * Runs a check and shows what it says.
 *
 * @param {string} name
 * @param {string[]} command
 * @returns {boolean} whether it said nothing
 */
function isSilent(name, [program = '', ...args]) {
  const { status, stdout, stderr } = spawnSync(program, args, { cwd: root, encoding: 'utf8' });
  const said = `${stdout}${stderr}`.trim();
  process.stdout.write(said === '' ? `${name}: silent\n` : `${name}:\n${said}\n`);
  return status === 0 && said === '';
}

await runMain(async () => {
  await ensurePackages(stylePackages);
  const kernel = await ensureKernel('6.1');
  const { source } = await ensureKernelSource();

  // A copy, that the checkout stays clean. sparse wants every file compiled anew.
  const copy = inBuild('style');
  rmSync(copy, { recursive: true, force: true });
  for (const directory of DIRECTORIES) {
    cpSync(path.join(root, directory), path.join(copy, directory), { recursive: true });
  }

  /** @type {string[]} */
  const symbols = [];
  const results = DIRECTORIES.map((directory) => {
    const silent = isSilent(`W=1 and sparse, ${directory}`, [
      ...['make', ...CHECKED, '-C', kernel.build, `M=${path.join(copy, directory)}`],
      ...[`KBUILD_EXTRA_SYMBOLS=${symbols.join(' ')}`, 'modules'],
    ]);
    symbols.push(path.join(copy, directory, 'Module.symvers'));
    return silent;
  });
  const sources = DIRECTORIES.flatMap((directory) =>
    filesUnder(path.join(root, directory), (name) => /\.[ch]$/.test(name) && !name.endsWith('.mod.c')),
  );
  results.push(
    isSilent('checkpatch', [
      ...['perl', path.join(source, 'scripts/checkpatch.pl'), '--no-tree', '--quiet', '--file'],
      ...sources.map((file) => path.relative(root, file)),
    ]),
  );
  return results.every(Boolean) ? 0 : 1;
});
