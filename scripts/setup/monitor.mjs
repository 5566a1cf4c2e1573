// SPDX-License-Identifier: MIT
// What the monitor example has in C: the guest's first process, and an addon that tries to read the guest.

import path from 'node:path';

import { ensurePackages, guestPackages } from './packages.mjs';
import { inBuild, root } from './paths.mjs';
import { ensureKeyed, filesUnder, keyOf } from './steps.mjs';

const WARNINGS = ['-std=gnu11', '-D_GNU_SOURCE', '-Wall', '-Wextra', '-Werror'];

/**
 * The guest's secret must not be in vector registers, which a kernel saves to memory.
 */
const INIT_FLAGS = ['-static', '-Os', '-fno-tree-vectorize'];

const INTRUDER_FLAGS = ['-shared', '-fPIC', '-O1', '-I', path.join(root, 'node_modules/node-api-headers/include')];

export async function ensureMonitor() {
  await ensurePackages(guestPackages);
  await ensureProgram('guest', 'init', INIT_FLAGS);
  await ensureProgram('intruder', 'intruder.node', INTRUDER_FLAGS);
}

/**
 * @param {string} folder of the sources
 * @param {string} name of what is built
 * @param {string[]} flags
 */
async function ensureProgram(folder, name, flags) {
  const sources = filesUnder(path.join(root, 'examples/monitor', folder));
  const output = inBuild('monitor', name);
  await ensureKeyed({
    title: `${name} of the monitor`,
    name: `monitor-${folder}`,
    key: keyOf(sources, ...flags),
    outputs: [output],
    work: async (run) => {
      await run('mkdir', ['-p', path.dirname(output)]);
      await run('gcc', [...WARNINGS, ...flags, '-o', output, ...sources.filter((file) => file.endsWith('.c'))]);
    },
  });
}
