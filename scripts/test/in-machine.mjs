// SPDX-License-Identifier: MIT
// The tests that need the module: one boot of a virtual machine serves them all.

import { Stages, mocha } from './stages.mjs';

const stages = new Stages();
await stages.run('kernel tests', ['sh', 'test/kernel/run.sh']);
await stages.run('API tests', mocha('build/ts/test/api/**/*.test.js'));
process.exitCode = stages.finish(`on kernel ${process.env.EXMEM_KERNEL ?? '(unknown)'}`);
