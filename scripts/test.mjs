// SPDX-License-Identifier: MIT
// All tests: npm test [-- --kernel debug]

import { parseArgs } from 'node:util';

import { ensureEverything } from './setup/everything.mjs';
import { runMain } from './setup/failure.mjs';
import { checkKernelName } from './setup/kernel.mjs';
import { Stages, mocha } from './test/stages.mjs';

/** The tests of Secret run on memfd_secret too, and others compare with it. */
const WITH_SECRETMEM = ['--append', 'secretmem.enable=1'];

/** Seconds after which a test that hangs is given up. */
const TIMEOUT = '7200';

/**
 * QEMU's threads may race when KVM makes the kernel change its own code, with ordinary memory too: no test fails then,
 * no report comes, the machine just stands still until its time is over. These machines are emulated on one thread for
 * that reason; should one stand still all the same, that, and nothing else, is tried again.
 */
const EMULATOR_HUNG = { status: 124, times: 2 };

/** @param {string} pattern */
const compiledTest = (pattern) => `build/ts/test/${pattern}.test.js`;

/** @param {string[]} args */
const vm = (...args) => ['node', 'test/vm/run.mjs', '--timeout', TIMEOUT, ...WITH_SECRETMEM, ...args];

await runMain(async () => {
  const { values } = parseArgs({ options: { kernel: { type: 'string', default: '6.1' } } });
  const kernel = checkKernelName(values.kernel);
  await ensureEverything(kernel);

  /** @param {string[]} args */
  const kvmMachine = (...args) => ['node', 'test/vm/run.mjs', '--one-thread', '--kernel', kernel, ...args];

  const stages = new Stages();
  // These do not depend on the kernel: the tests on another one need not repeat them.
  const everything = kernel === '6.1';
  if (everything) {
    await stages.run('types and style', ['npm', 'run', '--silent', 'lint']);
    await stages.run('style of the module', ['node', 'scripts/test/module-style.mjs']);
    await stages.run('unit tests', mocha('build/ts/test/unit/**/*.test.js'));
  }
  if (await stages.run('building the kernel tests', ['make', '-s', '-C', 'test/kernel'])) {
    await stages.run(
      `kernel and API tests on kernel ${kernel}`,
      vm('--kernel', kernel, '--', 'node', 'scripts/test/in-machine.mjs'),
    );
  }
  await stages.run(
    `kernel tests in a small machine on kernel ${kernel}`,
    [
      ...kvmMachine('--memory', '768', '--timeout', '600', '--'),
      ...['sh', 'test/kernel/run.sh', 'alias_test', 'kvm_test', 'view_kvm_test'],
    ],
    {},
    EMULATOR_HUNG,
  );
  await stages.run(
    `guests in a small machine on kernel ${kernel}`,
    [
      ...kvmMachine('--memory', '1024', '--timeout', '900', '--'),
      ...['sh', 'test/kernel/run.sh', 'guest_kvm_test', 'guest_bind_test', 'guest_view_kvm_test'],
      ...['guest_hazard_clock_test', 'guest_hazard_pv_test', 'guest_hazard_monitor_test'],
      ...['guest_hazard_slot_test', 'guest_hazard_nested_test', 'guest_compare_test'],
    ],
    {},
    EMULATOR_HUNG,
  );
  // The others are on KVM itself.
  const kvmApiTests = everything ? ['api/kvm*'] : ['api/kvm-guest-memory', 'api/kvm-address-space'];
  await stages.run(
    `API tests with KVM on kernel ${kernel}`,
    [
      ...kvmMachine('--memory', '1024', '--timeout', '900', '--'),
      'build/test-kernel/with_machines',
      ...mocha('--timeout', '300000', ...kvmApiTests.map(compiledTest)),
    ],
    {},
    EMULATOR_HUNG,
  );
  if (kernel === 'debug') {
    // Not for all of them: it takes a view of process memory for corruption.
    await stages.run('kernel tests under page_table_check', [
      ...['node', 'test/vm/run.mjs', '--kernel', kernel, '--timeout', TIMEOUT, '--append', 'page_table_check=on', '--'],
      ...['sh', 'test/kernel/run.sh', 'map_test', 'fork_test', 'destroy_test', 'view_watched_test'],
      ...['view_access_test', 'view_file_test', 'view_truncate_test', 'view_exclusive_test'],
    ]);
  }
  if (everything) {
    await stages.run('peers', ['npm', 'run', '--silent', 'test:peers']);
    await stages.run(
      'API tests on memfd_secret',
      vm('--no-module', '--', ...mocha(...['api-fallback/*', 'api/secret*', 'api/leak*'].map(compiledTest))),
      { EXMEM_POLICY: 'prefer' },
    );
    await stages.run('API tests without any backend', [
      ...['node', 'test/vm/run.mjs', '--timeout', TIMEOUT, '--no-module', '--'],
      ...mocha(compiledTest('api-fallback/*')),
    ]);
    await stages.run('tour', ['npm', 'run', '--silent', 'start']);
    await stages.run('VM runner tests', mocha('test/vm/test/*.test.mjs'));
    await stages.run('witness tests', mocha('build/ts/test/witness/**/*.test.js'));
  }
  return stages.finish('summary');
});
