// SPDX-License-Identifier: MIT
import { expect } from 'chai';
import { Secret } from 'exclusive-memory';
import { type Backend, chooseBackend, type Problem } from '#internal/backend.js';
import { expectMisuse, rejection, thrown } from '../support/failures.js';

const missing: Problem = { code: 'ENOENT', reason: 'it is away', remedy: 'fetch it' };
const disabled: Problem = { code: 'ENOSYS', reason: 'it is off', remedy: 'switch it on' };

function fake(name: Backend['name'], problem?: Problem): Backend {
  return { name, problem: () => problem, create: () => expect.fail('not to be called'), destroy: () => undefined };
}

async function warningsDuring(action: () => unknown): Promise<Error[]> {
  const warnings: Error[] = [];
  const listen = (warning: Error) => warnings.push(warning);
  process.on('warning', listen);
  action();
  await new Promise(setImmediate);
  process.off('warning', listen);
  return warnings;
}

describe('the policy', () => {
  for (const policy of ['require', 'prefer'] as const) {
    it(`"${policy}" takes the module where it can, without a word`, async () => {
      const warnings = await warningsDuring(() => {
        const backend = chooseBackend(policy, [fake('module'), fake('memfd_secret')]);
        expect(backend.name).to.equal('module');
      });
      expect(warnings).to.deep.equal([]);
    });
  }

  it('"require" takes nothing else', () => {
    const backends = [fake('module', missing), fake('memfd_secret')] as const;
    const error = thrown(() => chooseBackend('require', backends));
    expectMisuse(error, 'ERR_EXMEM_UNAVAILABLE', /module: it is away \(ENOENT\)\. To fix: fetch it$/);
  });

  it('"prefer" falls back, and warns once in the process', async () => {
    const backends = [fake('module', missing), fake('memfd_secret')] as const;
    const warnings = await warningsDuring(() => {
      expect(chooseBackend('prefer', backends).name).to.equal('memfd_secret');
      expect(chooseBackend('prefer', backends).name).to.equal('memfd_secret');
    });
    expect(warnings).to.have.length(1);
    expect(warnings[0]).to.include({ name: 'ExclusiveMemoryWarning', code: 'EXMEM_FALLBACK' });
    expect(warnings[0]?.message).to.match(/it is away\. To fix: fetch it/);
  });

  it('"prefer" fails where there is neither, and says how to get each', () => {
    const backends = [fake('module', missing), fake('memfd_secret', disabled)] as const;
    const error = thrown(() => chooseBackend('prefer', backends));
    expectMisuse(error, 'ERR_EXMEM_UNAVAILABLE', /fetch it\n {2}memfd_secret: it is off .*switch it on$/);
  });

  it('is one of two words', async () => {
    const options = { policy: 'hope' as 'prefer' };
    const wanted = /one of 'require', 'prefer' for policy but received a string of 4 characters/;
    expectMisuse(thrown(() => Secret.random(1, options)), 'ERR_EXMEM_ARGUMENT', wanted);
    expectMisuse(await rejection(Secret.fromFd(0, options)), 'ERR_EXMEM_ARGUMENT', wanted);
    expectMisuse(await rejection(Secret.fromFile('/dev/null', options)), 'ERR_EXMEM_ARGUMENT', wanted);
    const prompt = Secret.prompt({ message: '', ...options });
    expectMisuse(await rejection(prompt), 'ERR_EXMEM_ARGUMENT', wanted);
  });
});
