// SPDX-License-Identifier: MIT
import { spawnSync } from 'node:child_process';
import { expect } from 'chai';
import { Lifetime } from '#internal/lifetime.js';
import { expectMisuse, thrown } from '../support/failures.js';

describe('Lifetime', () => {
  it('lets everything pass until its end', () => {
    const lifetime = new Lifetime('Thing');
    lifetime.check();
    expect(lifetime.over).to.equal(false);
  });

  it('ends once', () => {
    const lifetime = new Lifetime('Thing');
    expect(lifetime.end()).to.equal(true);
    expect(lifetime.end()).to.equal(false);
    expect(lifetime.over).to.equal(true);
  });

  it('says what the object was, and how it ended first', () => {
    const lifetime = new Lifetime('Thing');
    lifetime.end('given away');
    lifetime.end('disposed');
    const error = thrown(() => {
      lifetime.check();
    });
    expectMisuse(error, 'ERR_EXMEM_DISPOSED', /^This Thing was given away and cannot be used/);
    expect(error).not.to.have.property('cause');
  });

  it('says where the object was made, in debug mode', () => {
    const program = `
      import { Lifetime } from '#internal/lifetime.js';
      function makeThing() { return new Lifetime('Thing'); }
      const thing = makeThing();
      thing.end();
      try { thing.check(); } catch (error) { console.log(error.cause.stack); }`;
    const { stdout } = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
      encoding: 'utf8',
      env: { ...process.env, NODE_DEBUG: 'exclusive-memory' },
    });
    expect(stdout).to.match(/this Thing was made here[^]*at makeThing/);
  });
});
