// SPDX-License-Identifier: MIT
// The tests that need the module: one boot of a virtual machine serves them all.

import { Stages, mocha } from './stages.mjs';

const kernel = process.env.EXMEM_KERNEL;
const stages = new Stages();
await stages.run('kernel tests', ['sh', 'test/kernel/run.sh']);
// A kernel that checks itself takes its time.
const patience = kernel === 'debug' ? ['--timeout', '300000'] : [];
// Those with KVM, with which an emulator may hang, have a machine of their own.
const withoutKvm = ['--ignore', 'build/ts/test/api/kvm*.test.js'];
await stages.run('API tests', mocha(...patience, ...withoutKvm, 'build/ts/test/api/**/*.test.js'));
process.exitCode = stages.finish(`on kernel ${kernel}`);
