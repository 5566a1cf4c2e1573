// SPDX-License-Identifier: MIT
// The npm packages, and the TypeScript.

import { existsSync, rmSync, statSync } from 'node:fs';
import path from 'node:path';

import { inBuild, root } from './paths.mjs';
import { ensure, ensureKeyed, filesUnder, keyOf } from './steps.mjs';

const wanted = path.join(root, 'package-lock.json');

/** npm writes what it has installed there, last of all. */
const installed = path.join(root, 'node_modules/.package-lock.json');

export async function ensureNodeModules() {
  await ensure({
    title: 'npm packages',
    name: 'npm',
    isDone: () => existsSync(installed) && statSync(installed).mtimeMs >= statSync(wanted).mtimeMs,
    work: async (run) => {
      await run('npm', ['ci', '--no-audit', '--no-fund']);
    },
  });
}

export async function ensureTypeScript() {
  const sources = ['src', 'test', 'examples', 'bench'].flatMap((directory) =>
    filesUnder(path.join(root, directory), (name) => name.endsWith('.ts')));
  const configurations = ['', '.base', '.src', '.test'].map((part) => path.join(root, `tsconfig${part}.json`));
  await ensureKeyed({
    title: 'TypeScript',
    name: 'typescript',
    key: keyOf([...sources, ...configurations, installed]),
    outputs: [path.join(root, 'dist/index.js'), inBuild('ts')],
    work: async (run) => {
      removeOrphans();
      await run('npm', ['run', 'build']);
    },
  });
}

/** A compiled test whose source is gone would still be run. */
function removeOrphans() {
  const output = inBuild('ts');
  for (const file of filesUnder(output, (name) => name.endsWith('.js'))) {
    if (!existsSync(path.join(root, path.relative(output, file)).replace(/\.js$/, '.ts'))) {
      rmSync(file);
    }
  }
}
