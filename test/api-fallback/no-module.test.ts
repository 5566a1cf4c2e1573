// SPDX-License-Identifier: MIT
// A machine without the module. Run it twice:
//
//   node test/vm/run.mjs --no-module --append secretmem.enable=1 -- \
//     npx mocha 'build/ts/test/api-fallback/**/*.test.js'
//   node test/vm/run.mjs --no-module -- npx mocha 'build/ts/test/api-fallback/**/*.test.js'
//
// and, with the first kernel command line, the tests of Secret on memfd_secret(2):
//
//   EXMEM_POLICY=prefer node test/vm/run.mjs --no-module --append secretmem.enable=1 -- \
//     npx mocha 'build/ts/test/api/secret*.test.js' build/ts/test/api/leak.test.js
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { capabilities, MemoryView, RestrictedMemfd, Secret } from 'exclusive-memory';
import { expectErrno, expectMisuse, rejection, thrown } from '../support/failures.js';

/** What the kernel itself says; 6.1 has it disabled unless told otherwise. */
function memfdSecretEnabled(): boolean {
  try {
    return readFileSync('/sys/module/secretmem/parameters/enable', 'utf8').startsWith('Y');
  } catch {
    return readFileSync('/proc/cmdline', 'utf8').includes('secretmem.enable=1');
  }
}

const enabled = memfdSecretEnabled();

describe('without the module', () => {
  it('capabilities() say so, and how to load it', () => {
    const { apiVersion, backends, limits } = capabilities();
    expect(apiVersion).to.equal(undefined);
    expect(limits.machineBytes).to.equal(undefined);
    expect(backends.module.available).to.equal(false);
    const problem = {
      code: 'ENOENT',
      reason: 'the kernel module is not loaded',
      remedy: 'modprobe exclusive_memory',
    };
    expect(backends.module.problem).to.deep.equal(problem);
    expect(capabilities().memoryViews).to.deep.equal({ available: false, problem });
  });

  it('"require", the default, is refused', async () => {
    const wanted = /module: the kernel module is not loaded \(ENOENT\)\. To fix: modprobe exclu/;
    for (const options of [{}, { policy: 'require' }] as const) {
      expectMisuse(thrown(() => Secret.random(32, options)), 'ERR_EXMEM_UNAVAILABLE', wanted);
      const read = Secret.fromFile('/proc/version', options);
      expectMisuse(await rejection(read), 'ERR_EXMEM_UNAVAILABLE', wanted);
    }
  });

  it('a restricted memfd cannot be had', () => {
    const error = thrown(() => RestrictedMemfd.create({ size: 1 }));
    expectErrno(error, 'ENOENT', 'open');
    expect(error.message).to.contain('modprobe exclusive_memory');
  });

  it('a memory view cannot be had', () => {
    const error = thrown(() => MemoryView.create({ size: 4096 }));
    expectErrno(error, 'ENOENT', 'open');
    expect(error.message).to.contain('/dev/memory-view').and.contain('modprobe exclusive_memory');
  });

  if (enabled) {
    it('"prefer" falls back to memfd_secret(2)', () => {
      expect(capabilities().backends.memfd_secret).to.include({ available: true });
      using secret = Secret.random(32, { policy: 'prefer' });
      expect(secret.backend).to.equal('memfd_secret');
    });

    it('"prefer" warns once', () => {
      const program = `
        import { Secret } from 'exclusive-memory';
        Secret.random(1, { policy: 'prefer' });
        Secret.random(1, { policy: 'prefer' });`;
      const { stderr, status } = spawnSync(
        process.execPath,
        ['--input-type=module', '--eval', program],
        { encoding: 'utf8' },
      );
      expect(status).to.equal(0);
      expect(stderr.match(/\[EXMEM_FALLBACK\] ExclusiveMemoryWarning/g)).to.have.length(1);
    });

    it('capabilities() tell the two apart', () => {
      const { module, memfd_secret: weaker } = capabilities().backends;
      expect(Object.values(module.guarantees)).not.to.include(false);
      expect(weaker.guarantees).to.include({
        outOfDirectMap: true,
        singleMapping: false,
        noForkCopy: false,
        destroyable: false,
      });
    });
  } else {
    it('"prefer" is refused where memfd_secret(2) is disabled, and says how to enable it', () => {
      const error = thrown(() => Secret.random(32, { policy: 'prefer' }));
      expectMisuse(error, 'ERR_EXMEM_UNAVAILABLE', /memfd_secret: .* \(ENOSYS\).*secretmem\.enable=1/);
      expect(capabilities().backends.memfd_secret.problem).to.include({ code: 'ENOSYS' });
    });
  }
});
