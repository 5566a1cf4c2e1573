// SPDX-License-Identifier: MIT
// Thousands of secrets come and go, and the process is as before.
import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { Secret } from 'exclusive-memory';
import { backend, policy } from '../support/policy.js';
import { mappedMemory, openFiles, openMemory, settle } from '../support/process.js';

/** A kernel that checks itself takes a hundred times as long. */
const rounds = process.env.EXMEM_KERNEL === 'debug' ? 300 : 10_000;

const mappings = () => readFileSync('/proc/self/maps', 'utf8').split('\n').length;

/** Bytes of address space. */
const addressSpace = () => Number(readFileSync('/proc/self/statm', 'utf8').split(' ')[0]) * 4096;

function comeAndGo(): void {
  using secret = Secret.random(32, { policy });
  secret.use((bytes) => bytes.fill(1));
}

describe(`${rounds} secrets (${backend})`, function () {
  this.timeout(600_000);

  it('leave no descriptor, no mapping and no address space behind', async () => {
    // The first fill what is bounded, and not a leak: caches, the quarantine of ranges.
    for (let i = 0; i < 1500; i++) comeAndGo();
    await settle();
    const before = { files: openFiles(), mappings: mappings(), addressSpace: addressSpace() };

    for (let i = 0; i < rounds; i++) {
      comeAndGo();
      if (i % 100 === 0) await settle();
    }
    await settle();
    expect(openMemory()).to.deep.equal([]);
    expect(mappedMemory()).to.deep.equal([]);
    expect(openFiles()).to.equal(before.files);
    // The heap of V8 breathes; a leak of one page each would be 40 MiB and more.
    expect(addressSpace() - before.addressSpace).to.be.below(16 << 20);
    expect(mappings() - before.mappings).to.be.below(100);
  });
});
