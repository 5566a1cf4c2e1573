// SPDX-License-Identifier: MIT
// A witness that does not trust our module: QEMU, which reads the machine's physical memory from outside.

import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';

import { expect } from 'chai';

import { WitnessedMachine } from './witnessed-machine.js';

const KERNEL = process.env.EXMEM_WITNESS_KERNEL ?? '6.1';
const SECRET_SIZE = 4096;
/** Aligned words in a page of random bytes. */
const WORDS = SECRET_SIZE / 8;
/** Ordinary memory need not begin with a page: the page with most of it has one of these. */
const MIDDLES = [
  [SECRET_SIZE / 2 - 64, SECRET_SIZE / 2],
  [SECRET_SIZE / 2, SECRET_SIZE / 2 + 64],
] as const;
const NOT_MAPPED = /^Invalid addr /;

const C_KEEPER = 'build/test-witness/keeper';
const TS_KEEPER = ['node', 'build/ts/test/witness/keeper.js'];

/** The file that the virtual machine boots. */
function kernelImage(): string {
  const program = `import('./scripts/setup/kernel.mjs')
    .then(({ ensureKernel }) => ensureKernel('${KERNEL}')).then(({ image }) => console.log(image))`;
  return execFileSync(process.execPath, ['--eval', program], { encoding: 'utf8' }).trim();
}

/** The page that holds most of what was looked for. */
function largest(pages: Map<number, number>): [page: number, words: number] {
  return [...pages].reduce((a, b) => (b[1] > a[1] ? b : a), [0, 0]);
}

describe('a witness outside the machine', function () {
  this.timeout(300_000);

  before('build the keeper', () => {
    mkdirSync('build/test-witness', { recursive: true });
    execFileSync('gcc', [
      ...['-O2', '-fno-tree-vectorize', '-Wall', '-Wextra', '-Werror', '-Ikmod/include/uapi'],
      ...['-o', C_KEEPER, 'test/witness/keeper.c'],
    ]);
  });

  for (const [language, keeper] of [
    ['C', [C_KEEPER]],
    ['TypeScript', TS_KEEPER],
  ] as const) {
    it(`finds a secret of a ${language} program in one page, without an address in the kernel, and gone after destroy`, async () => {
      await using machine = new WitnessedMachine(KERNEL, keeper);
      const control = await machine.told('control');
      const secret = await machine.told('secret');
      expect(secret.length).to.equal(SECRET_SIZE);

      const [secretPages, controlPages] = await machine.find(secret, control);
      expect([...(secretPages?.values() ?? [])], 'words of the secret, by page').to.deep.equal([WORDS]);
      const [secretPage = 0] = secretPages?.keys() ?? [];
      expect(await machine.readDirectMap(secretPage)).to.match(NOT_MAPPED);

      // The same eyes do see ordinary memory.
      const [controlPage] = largest(controlPages ?? new Map<number, number>());
      const seen = await machine.readDirectMap(controlPage);
      expect(seen).to.be.instanceOf(Buffer);
      expect(MIDDLES.some((middle) => Buffer.from(seen).includes(control.subarray(...middle)))).to.equal(true);

      machine.proceed();
      expect(await machine.line()).to.deep.equal(['destroyed', '']);
      const [after] = await machine.find(secret);
      expect(after).to.deep.equal(new Map());
      expect(await machine.readDirectMap(secretPage), 'the page is back').to.be.instanceOf(Buffer);

      machine.proceed();
      expect(await machine.status()).to.equal(0);
    });
  }

  it('finds nothing in the memory that the next kernel gets by kexec, but what was in ordinary memory', async () => {
    await using machine = new WitnessedMachine(KERNEL, [C_KEEPER, 'kexec', kernelImage()]);
    const control = await machine.told('control');
    const secret = await machine.told('secret');
    machine.proceed();
    await machine.logged('not syncing: VFS');
    const [secretPages, controlPages] = await machine.find(secret, control);
    expect(secretPages).to.deep.equal(new Map());
    expect(largest(controlPages ?? new Map<number, number>())[1]).to.equal(WORDS);
    const qmp = await machine.qmp();
    await qmp.execute('quit');
    expect(await machine.status(), 'the kernel panicked').to.equal(86);
  });

  it('finds nothing in the memory of a machine that was rebooted with the secret in use', async () => {
    await using machine = new WitnessedMachine(KERNEL, [C_KEEPER, 'reboot']);
    await machine.told('control');
    const secret = await machine.told('secret');
    const [before] = await machine.find(secret);
    expect(before?.size).to.equal(1);

    const qmp = await machine.qmp();
    await qmp.execute('set-action', { reboot: 'shutdown', shutdown: 'pause' });
    machine.proceed();
    await qmp.event('SHUTDOWN');
    const [after] = await machine.find(secret);
    expect(after).to.deep.equal(new Map());
    await qmp.execute('quit');
    expect(await machine.status(), 'the machine died without a status').to.equal(87);
  });
});
