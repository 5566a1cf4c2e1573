// SPDX-License-Identifier: MIT
// The native addon.

import path from 'node:path';

import { inBuild, root } from './paths.mjs';
import { ensureKeyed, filesUnder, keyOf } from './steps.mjs';

export async function ensureAddon() {
  const sources = [
    ...['addon', 'kmod/include/uapi'].flatMap((directory) => filesUnder(path.join(root, directory))),
    path.join(root, 'CMakeLists.txt'),
    path.join(root, 'package-lock.json'),
  ];
  await ensureKeyed({
    title: 'addon',
    name: 'addon',
    key: keyOf(sources, process.version, process.arch),
    outputs: [inBuild('Release/exclusive_memory.node')],
    work: async (run) => {
      await run('npm', ['run', 'build:addon']);
    },
  });
}
