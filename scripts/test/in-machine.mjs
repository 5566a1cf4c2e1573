// SPDX-License-Identifier: MIT
// The tests that need the module: one boot of a virtual machine serves them all.

import { Stages, mocha } from './stages.mjs';

const kernel = process.env.EXMEM_KERNEL;
const stages = new Stages();
await stages.run('kernel tests', ['sh', 'test/kernel/run.sh']);
// Those with KVM have a machine of their own. A kernel that checks itself takes its time: it gets those whose subject
// is the module, in one state rather than in all.
const patience = kernel === 'debug' ? ['--timeout', '300000'] : [];
const beside = kernel === 'debug' ? ['leak', 'capabilities', 'view-handle', '*state*'] : [];
const ignored = ['kvm*', ...beside].flatMap((name) => ['--ignore', `build/ts/test/api/${name}.test.js`]);
await stages.run('API tests', mocha(...patience, ...ignored, 'build/ts/test/api/**/*.test.js'));
process.exitCode = stages.finish(`on kernel ${kernel}`);
