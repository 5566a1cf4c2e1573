// SPDX-License-Identifier: MIT
// Does what is missing before the tour and the tests can run: npm run setup [-- --kernel NAME]

import { parseArgs } from 'node:util';

import { ensureEverything } from './setup/everything.mjs';
import { runMain } from './setup/failure.mjs';
import { checkKernelName } from './setup/kernel.mjs';

await runMain(async () => {
  const { values } = parseArgs({ options: { kernel: { type: 'string', default: '6.1' } } });
  await ensureEverything(checkKernelName(values.kernel));
  return 0;
});
