// SPDX-License-Identifier: MIT
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { loadNative, native } from '#internal/native.js';
import { expectMisuse, thrown } from '../support/failures.js';

describe('loading the addon', () => {
  it('explains that it is not built, and how to build it', () => {
    const error = thrown(() => loadNative('/nonexistent/exclusive_memory.node'));
    expectMisuse(error, 'ERR_EXMEM_ADDON', /is not built: .*exclusive_memory\.node does not exist/);
    expect(error.message).to.contain(process.version).and.contain('npm run build:addon');
    expect(error.cause).to.be.instanceOf(Error);
  });

  it('explains that it cannot be loaded', () => {
    const folder = mkdtempSync(join(tmpdir(), 'exmem-'));
    try {
      const file = join(folder, 'broken.node');
      writeFileSync(file, 'not an object file');
      const error = thrown(() => loadNative(file));
      expectMisuse(error, 'ERR_EXMEM_ADDON', /cannot be loaded .*: .*broken\.node/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('gives the same addon each time', () => {
    expect(loadNative().constants).to.deep.equal(native.constants);
  });
});

describe('the addon', () => {
  it('has the numbers of the header', () => {
    expect(native.constants).to.include({ API_VERSION: 1, NAME_SIZE: 32, STATE_DESTROYED: 2 });
  });

  it('refuses what is no mapping', () => {
    for (const value of [undefined, {}, new native.Descriptor(1_000_000)]) {
      expect(() => {
        native.wipe(value as never);
      }).to.throw(TypeError, 'Expected a mapping');
    }
  });
});
