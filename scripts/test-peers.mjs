// SPDX-License-Identifier: MIT
// The tests with programs of others, in a virtual machine: npm run test:peers

import { ensureEverything } from './setup/everything.mjs';
import { runMain } from './setup/failure.mjs';
import { Stages, mocha } from './test/stages.mjs';

await runMain(async () => {
  await ensureEverything('6.1');
  const stages = new Stages();
  if (await stages.run('building the peers', ['make', '-s', '-C', 'test/peers'])) {
    await stages.run('tests with peers', [
      ...['node', 'test/vm/run.mjs', '--timeout', '1200', '--'],
      ...mocha('build/ts/test/peers/**/*.test.js'),
    ]);
  }
  return stages.finish('peers');
});
