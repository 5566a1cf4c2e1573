// SPDX-License-Identifier: MIT
// The kernel modules, built out of tree and apart for each kernel.

import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';

import { inBuild, root } from './paths.mjs';
import { ensureKeyed, filesUnder, keyOf } from './steps.mjs';

/** @typedef {import('./steps.mjs').Run} Run */

const MODULES = [
  { name: 'exclusive_memory', source: 'kmod' },
  // Reaches the kernel-side interface, for tests only.
  { name: 'exclusive_memory_test', source: 'test/kernel/module' },
  // Lets KVM read a guest's instructions where the emulated processor does not; never part of a package.
  { name: 'exclusive_memory_fetch_test', source: 'test/kernel/fetch-module' },
];

/** @param {string} name of a file */
const isSource = (name) =>
  (/\.[chS]$/.test(name) && !name.endsWith('.mod.c')) || ['Kbuild', 'Makefile'].includes(name);

/**
 * Where a kernel's modules are.
 *
 * @param {string} kernelName
 */
export const moduleDirectory = (kernelName) => inBuild('kmod', kernelName);

/**
 * Builds the modules for a kernel.
 *
 * @param {import('./kernel.mjs').Kernel} kernel
 */
export async function ensureModules(kernel) {
  const directory = moduleDirectory(kernel.name);
  const present = MODULES.filter(({ source }) => existsSync(path.join(root, source, 'Kbuild')));
  // Without a Kbuild file there is nothing to build, which --no-module can live with.
  const sources = present.flatMap(({ source }) => filesUnder(path.join(root, source), isSource));
  await ensureKeyed({
    title: `modules for kernel ${kernel.name}`,
    name: `kmod-${kernel.name}`,
    key: keyOf(sources, kernel.release, kernel.build),
    outputs: present.map(({ name }) => path.join(directory, `${name}.ko`)),
    work: async (run) => {
      /** @type {string[]} */
      const symbols = [];
      for (const { name, source } of present) {
        // The mirror has the shape of the checkout, so that relative paths mean the same in both.
        const mirror = path.join(directory, 'tree', source);
        mirrorSources(path.join(root, source), mirror);
        // kbuild does not notice when symbols of another module change: let it look them up again.
        rmSync(path.join(mirror, 'Module.symvers'), { force: true });
        await run('make', [
          '-C', kernel.build, `M=${mirror}`, `-j${availableParallelism()}`,
          `KBUILD_EXTRA_SYMBOLS=${symbols.join(' ')}`, 'modules',
        ]);
        symbols.push(path.join(mirror, 'Module.symvers'));
        install(path.join(mirror, `${name}.ko`), path.join(directory, `${name}.ko`));
      }
    },
  });
}

/**
 * Copies sources that changed, so that make sees only those as new.
 *
 * @param {string} from
 * @param {string} to
 */
function mirrorSources(from, to) {
  for (const file of filesUnder(from, isSource)) {
    const copy = path.join(to, path.relative(from, file));
    if (!existsSync(copy) || !readFileSync(copy).equals(readFileSync(file))) {
      mkdirSync(path.dirname(copy), { recursive: true });
      copyFileSync(file, copy);
    }
  }
}

/**
 * In one motion: a virtual machine that loads the module meanwhile gets the old one or the new one.
 *
 * @param {string} from
 * @param {string} to
 */
function install(from, to) {
  copyFileSync(from, `${to}.new`);
  renameSync(`${to}.new`, to);
}
