// SPDX-License-Identifier: MIT
import { closeSync, fstatSync, openSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { once } from 'node:events';
import { expect } from 'chai';
import { Descriptor } from 'exclusive-memory';
import { expectMisuse, thrown } from '../support/failures.js';
import { openFiles, settle } from '../support/process.js';

const isOpen = (fd: number) => {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
};

describe('Descriptor', () => {
  it('closes its number once', () => {
    const fd = openSync('/dev/null', 'r');
    const descriptor = new Descriptor(fd);
    expect(descriptor.fd).to.equal(fd);
    descriptor.close();
    expect(isOpen(fd)).to.equal(false);

    const reused = openSync('/dev/null', 'r');
    expect(reused).to.equal(fd);
    descriptor.close();
    descriptor[Symbol.dispose]();
    expect(isOpen(reused)).to.equal(true);
    closeSync(reused);
  });

  it('gives its number away', () => {
    const descriptor = new Descriptor(openSync('/dev/null', 'r'));
    const fd = descriptor.release();
    descriptor.close();
    expect(isOpen(fd)).to.equal(true);
    closeSync(fd);
    const wanted = /Descriptor was released/;
    expectMisuse(thrown(() => descriptor.fd), 'ERR_EXMEM_DISPOSED', wanted);
    expectMisuse(thrown(() => descriptor.release()), 'ERR_EXMEM_DISPOSED', wanted);
  });

  it('is closed when it was forgotten', async () => {
    const before = openFiles();
    const fds = (() => Array.from({ length: 10 }, () => new Descriptor(openSync('/dev/null', 'r')).fd))();
    await settle();
    expect(fds.filter(isOpen)).to.deep.equal([]);
    expect(openFiles()).to.equal(before);
  });

  it('is closed when its worker thread ends', async () => {
    const program = `
      const { parentPort } = require('node:worker_threads');
      parentPort.on('message', () => undefined); // or it would end by itself
      import('exclusive-memory').then(({ socketPair }) => {
        globalThis.kept = socketPair();
        parentPort.postMessage(globalThis.kept.map(({ fd }) => fd));
      });`;
    const worker = new Worker(program, { eval: true });
    const [fds] = (await once(worker, 'message')) as [number[]];
    expect(fds.filter(isOpen)).to.deep.equal(fds);
    await worker.terminate();
    expect(fds.filter(isOpen)).to.deep.equal([]);
  });
});
