// SPDX-License-Identifier: MIT
// Where the bytes of a secret are not. Each search is shown to find something
// first: in a process that makes a careless copy.
import { fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { format, inspect } from 'node:util';
import { expect } from 'chai';
import { Secret, socketPair } from 'exclusive-memory';
import { occurrences, scanMemory } from '../support/memory-scan.js';
import { programOfSupport } from '../support/paths.js';
import { backend, policy } from '../support/policy.js';

/** Letters, so that a heap snapshot, which is JSON, would show them as they are. */
const needle = Buffer.from(randomBytes(24).toString('hex'), 'latin1');

async function withHolder<T>(args: string[], body: (pid: number) => T): Promise<T> {
  const [here, there] = socketPair();
  const child = fork(programOfSupport('holder-process'), args, {
    stdio: ['ignore', 'inherit', 'inherit', there.fd, 'ipc'],
    env: { ...process.env, NODE_NO_WARNINGS: '1' },
  });
  there.close();
  writeSync(here.fd, needle);
  here.close();
  await once(child, 'message');
  const gone = once(child, 'exit');
  try {
    return body(child.pid ?? expect.fail('no child'));
  } finally {
    child.kill('SIGKILL');
    await gone;
  }
}

describe(`the bytes of a Secret (${backend})`, function () {
  this.timeout(300_000);

  describe('in the memory of the process, as root sees it', () => {
    it('are found if the program copies them', async () => {
      const { hits } = await withHolder(['careless'], (pid) => scanMemory(pid, needle));
      expect(hits).to.be.above(0);
    });

    it('are nowhere else', async () => {
      const scan = await withHolder(['careful'], (pid) => scanMemory(pid, needle));
      expect(scan.hits).to.equal(0);
      expect(scan.readable).to.be.above(10 << 20);
      const name = backend === 'module' ? '/restricted_memfd:secret' : '/secretmem (deleted)';
      expect(scan.refused, 'both secrets, and nothing but them').to.deep.equal([name, name]);
    });
  });

  describe('in a heap snapshot', () => {
    let folder: string;
    beforeEach(() => {
      folder = mkdtempSync(join(tmpdir(), 'exmem-'));
    });
    afterEach(() => {
      rmSync(folder, { recursive: true });
    });
    for (const [mode, found] of [['careless', true], ['careful', false]] as const) {
      it(`are ${found ? 'found if the program copies them' : 'not otherwise'}`, async () => {
        const file = join(folder, 'heap.heapsnapshot');
        await withHolder([mode, file], () => undefined);
        const snapshot = readFileSync(file);
        expect(occurrences(snapshot, Buffer.from('holder-process'))).to.be.above(0);
        expect(occurrences(snapshot, needle) > 0).to.equal(found);
      });
    }
  });

  describe('in text', () => {
    const forms: Readonly<Record<string, (secret: Secret) => string>> = {
      'String()': (secret) => String(secret),
      concatenation: (secret) => ''.concat(secret as unknown as string),
      'inspect()': (secret) => inspect(secret, { showHidden: true, depth: 9 }),
      'format() %s': (secret) => format('%s', secret),
      'format() %o': (secret) => format('%o', secret),
      'format() %O': (secret) => format('%O', secret),
    };
    for (const [name, form] of Object.entries(forms)) {
      it(`of ${name} are only counted`, () => {
        const secret = Secret.random(32, { policy });
        expect(form(secret)).to.equal('<Secret 32 bytes>');
        secret[Symbol.dispose]();
        expect(form(secret)).to.equal('<Secret 32 bytes, disposed>');
      });
    }

    it('of JSON are only counted', () => {
      using secret = Secret.random(32, { policy });
      expect(JSON.stringify({ secret })).to.equal('{"secret":"<Secret 32 bytes>"}');
      expect(format('%j', secret)).to.equal('"<Secret 32 bytes>"');
    });

    it('of a clone are left out', () => {
      using secret = Secret.random(32, { policy });
      expect(structuredClone(secret)).to.deep.equal({ byteLength: 32, backend });
    });
  });
});
