// SPDX-License-Identifier: MIT
// The tests with programs of others, in a virtual machine: npm run test:peers

import { ensureEverything } from './setup/everything.mjs';
import { runMain } from './setup/failure.mjs';
import { ensureKernel } from './setup/kernel.mjs';
import { Stages, mocha } from './test/stages.mjs';

const QEMU_GUEST = 'build/ts/test/peers/qemu-guest.test.js';

/** As in test.mjs, but on all threads: on one, a guest's guest is slow enough to be taken for hung. */
const EMULATOR_HUNG = { status: 124, times: 1 };

await runMain(async () => {
  await ensureEverything('6.1');
  const stages = new Stages();
  if (await stages.run('building the peers', ['make', '-s', '-C', 'test/peers'])) {
    await stages.run('tests with peers', [
      ...['node', 'test/vm/run.mjs', '--timeout', '1200', '--'],
      ...mocha('--ignore', QEMU_GUEST, 'build/ts/test/peers/**/*.test.js'),
    ]);
  }
  const { image } = await ensureKernel('6.1');
  if (await stages.run('building what keeps machines', ['make', '-s', '-C', 'test/kernel'])) {
    await stages.run(
      'QEMU with KVM, on guest memory',
      [
        ...['node', 'test/vm/run.mjs', '--memory', '1024', '--timeout', '900', '--'],
        ...['build/test-kernel/with_machines', ...mocha(QEMU_GUEST)],
      ],
      { EXMEM_GUEST_KERNEL: image },
      EMULATOR_HUNG,
    );
  }
  return stages.finish('peers');
});
