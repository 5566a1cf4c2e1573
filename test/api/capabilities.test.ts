// SPDX-License-Identifier: MIT
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { totalmem } from 'node:os';
import { expect } from 'chai';
import { capabilities } from 'exclusive-memory';

describe('capabilities()', () => {
  it('report the module, and all that it promises', () => {
    const { apiVersion, backends } = capabilities();
    expect(apiVersion).to.equal(1);
    expect(backends.module).to.include({ available: true }).and.not.to.have.property('problem');
    expect(new Set(Object.values(backends.module.guarantees))).to.deep.equal(new Set([true]));
  });

  it('report the kernel and the limits as others do', () => {
    const { kernelRelease, limits } = capabilities();
    const shell = (command: string) =>
      execFileSync('sh', ['-c', command], { encoding: 'utf8' }).trim();
    expect(kernelRelease).to.equal(shell('uname -r'));
    const soft = shell('ulimit -S -l');
    expect(limits.memlock.soft).to.equal(soft === 'unlimited' ? Infinity : Number(soft) * 1024);
    expect(limits.memlockExempt).to.equal(process.getuid?.() === 0);
  });

  it('report what the machine may hold', () => {
    const parameter = '/sys/module/exclusive_memory/parameters/limit_bytes';
    const before = readFileSync(parameter, 'utf8');
    try {
      writeFileSync(parameter, '0');
      expect(capabilities().limits.machineBytes).to.equal(totalmem() / 2);
      writeFileSync(parameter, '12345678');
      expect(capabilities().limits.machineBytes).to.equal(12_345_678);
    } finally {
      writeFileSync(parameter, before);
    }
  });
});
