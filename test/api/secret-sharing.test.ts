// SPDX-License-Identifier: MIT
// A secret that moves to another process, or another thread.
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { expect } from 'chai';
import { Descriptor, receiveDescriptors, RestrictedMemfd, Secret, socketPair } from 'exclusive-memory';
import { expectErrno, expectMisuse, thrown } from '../support/failures.js';
import { programOfSupport } from '../support/paths.js';
import { Peer } from '../support/peer.js';
import { backend, policy } from '../support/policy.js';
import { mappedMemory, openMemory, settle } from '../support/process.js';

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

describe(`a Secret that moves (${backend})`, () => {
  afterEach(async () => {
    await settle();
    expect(openMemory()).to.deep.equal([]);
    expect(mappedMemory()).to.deep.equal([]);
  });

  describe('sendTo()', () => {
    it('gives it to the other process alone, and it can come back', async () => {
      await using peer = new Peer();
      const secret = Secret.random(5000, { policy });
      const hash = secret.use(sha256);
      secret.sendTo(peer.socket);
      expect(secret.disposed).to.equal(true);
      expect(openMemory()).to.deep.equal([]);
      expectMisuse(thrown(() => secret.use(() => 1)), 'ERR_EXMEM_DISPOSED', /was given away/);

      expect(await peer.do('receive')).to.equal('received');
      expect(await peer.do('adoptSecret')).to.equal(`<Secret 5000 bytes> of ${backend}`);
      expect(await peer.do('hashSecret')).to.equal(hash);

      expect(await peer.do('sendSecretBack')).to.equal('sent');
      expect(await peer.do('hashSecret')).to.equal('ERR_EXMEM_DISPOSED');
      const handle = receiveDescriptors(peer.socket)?.descriptors[0] ?? expect.fail('nothing');
      using back = Secret.fromHandle(handle);
      expect(back.use(sha256)).to.equal(hash);
    });

    it('changes nothing if it fails', () => {
      using secret = Secret.random(32, { policy });
      const hash = secret.use(sha256);
      const [here, there] = socketPair();
      there.close();
      expectErrno(thrown(() => { secret.sendTo(here); }), 'EPIPE', 'sendmsg');
      here.close();
      expect(secret.disposed).to.equal(false);
      expect(secret.use(sha256)).to.equal(hash);
      const empty = () => { secret.sendTo(0, new Uint8Array()); };
      expectMisuse(thrown(empty), 'ERR_EXMEM_ARGUMENT', /payload/);
      expect(secret.use(sha256)).to.equal(hash);
    });
  });

  describe('fromHandle()', () => {
    it('refuses what is mapped elsewhere, and leaves it to the caller', async function () {
      if (backend !== 'module') this.skip();
      await using peer = new Peer();
      const secret = Secret.random(32, { policy });
      secret.sendTo(peer.socket);
      await peer.do('receive');
      await peer.do('adopt');
      await peer.do('map');
      // The peer keeps it mapped and sends the descriptor all the same.
      expect(await peer.do('sendBack')).to.equal('sent');
      using handle = receiveDescriptors(peer.socket)?.descriptors[0] ?? expect.fail('nothing');
      expectErrno(thrown(() => Secret.fromHandle(handle)), 'EBUSY', 'mmap');
      expect(handle.fd).to.be.above(2);
      await peer.do('unmap');
      using adopted = Secret.fromHandle(handle);
      expect(adopted.byteLength).to.equal(32);
    });

    it('refuses what has no size yet', function () {
      if (backend !== 'module') this.skip();
      using handle = new Descriptor(RestrictedMemfd.create().release());
      expectMisuse(thrown(() => Secret.fromHandle(handle)), 'ERR_EXMEM_SIZE', /at least 1 byte/);
    });
  });

  describe('a worker thread', () => {
    it('adopts it by number', async () => {
      const secret = Secret.random(32, { policy });
      const sum = secret.use((bytes) => bytes.reduce((total, byte) => total + byte, 0));
      const fd = secret.release().release();
      const worker = new Worker(programOfSupport('secret-worker'), { workerData: { fd } });
      const [answer] = (await once(worker, 'message')) as [number];
      expect(answer).to.equal(sum);
      await once(worker, 'exit');
    });

    it('leaves nothing behind when it is terminated in the middle of a use', async () => {
      for (let i = 0; i < 5; i++) {
        const worker = new Worker(programOfSupport('secret-worker'), { workerData: {} });
        const [length] = (await once(worker, 'message')) as [number];
        expect(length).to.equal(32);
        expect(openMemory()).to.have.length(1);
        await worker.terminate();
        expect(openMemory()).to.deep.equal([]);
        expect(mappedMemory()).to.deep.equal([]);
      }
    });

    it('works beside others that have secrets of their own', async () => {
      using mine = Secret.random(32, { policy });
      const workers = Array.from(
        { length: 3 },
        () => new Worker(programOfSupport('secret-worker'), { workerData: {} }),
      );
      await Promise.all(workers.map((worker) => once(worker, 'message')));
      expect(openMemory()).to.have.length(4);
      expect(mine.use((bytes) => bytes.byteLength)).to.equal(32);
      await Promise.all(workers.map((worker) => worker.terminate()));
      expect(openMemory()).to.have.length(1);
    });
  });

  it('is not inherited by a program that is started: the descriptor is close-on-exec', () => {
    using _secret = Secret.random(32, { policy });
    const { stdout } = spawnSync('ls', ['-l', '/proc/self/fd'], { encoding: 'utf8' });
    expect(stdout).to.match(/0 -> /).and.not.match(/restricted_memfd|secretmem/);
  });
});
