// SPDX-License-Identifier: MIT
// Every method of RestrictedMemfd in every state: a value, or the exact error.
import { closeSync } from 'node:fs';
import { expect } from 'chai';
import { RestrictedMemfd, sendDescriptors } from 'exclusive-memory';
import { outcome } from '../support/failures.js';
import { Peer } from '../support/peer.js';

const size = 5000;

const states = ['no size', 'unmapped', 'mapped here', 'mapped elsewhere', 'destroyed', 'closed'] as const;
type State = (typeof states)[number];

const methods = {
  fd: (memfd: RestrictedMemfd) => memfd.fd > 2,
  size: (memfd: RestrictedMemfd) => memfd.size,
  setSize: (memfd: RestrictedMemfd) => {
    memfd.setSize(size);
    return memfd.size;
  },
  map: (memfd: RestrictedMemfd) => {
    using mapping = memfd.map();
    return mapping.bytes.length;
  },
  info: (memfd: RestrictedMemfd) => {
    const { mapped, destroyed } = memfd.info();
    return { mapped, destroyed };
  },
  waitIdle: (memfd: RestrictedMemfd) => memfd.waitIdle({ timeoutMs: 0 }),
  destroy: (memfd: RestrictedMemfd) => {
    memfd.destroy();
    return memfd.info().destroyed;
  },
  release: (memfd: RestrictedMemfd) => {
    closeSync(memfd.release());
    return 'released';
  },
  close: (memfd: RestrictedMemfd) => {
    memfd.close();
    return 'closed';
  },
} as const;

const gone = 'ERR_EXMEM_DISPOSED';
const still = { mapped: false, destroyed: false };
const busy = { mapped: true, destroyed: false };
const setSizeTwice = 'EINVAL ioctl EXMEM_SET_SIZE';

/** In the order of `states`. A string that begins with E is an error's code and system call. */
const expected: Record<keyof typeof methods, readonly unknown[]> = {
  fd: [true, true, true, true, true, gone],
  size: [0, size, size, size, size, gone],
  setSize: [size, setSizeTwice, setSizeTwice, setSizeTwice, 'ENXIO ioctl EXMEM_SET_SIZE', gone],
  map: ['EINVAL mmap', size, 'EBUSY mmap', 'EBUSY mmap', 'ENXIO mmap', gone],
  info: [still, still, busy, busy, { mapped: false, destroyed: true }, gone],
  waitIdle: [true, true, false, false, true, gone],
  destroy: [true, true, true, true, true, gone],
  release: ['released', 'released', 'released', 'released', 'released', gone],
  close: ['closed', 'closed', 'closed', 'closed', 'closed', 'closed'],
};

describe('RestrictedMemfd, method by state', () => {
  let peer: Peer;
  before(() => {
    peer = new Peer();
  });
  after(async () => {
    await peer[Symbol.asyncDispose]();
  });

  /** An object in that state, and how to leave it. */
  async function enter(state: State): Promise<readonly [RestrictedMemfd, () => Promise<unknown>]> {
    const nothing = () => Promise.resolve();
    const memfd = RestrictedMemfd.create(state === 'no size' ? {} : { size });
    switch (state) {
      case 'no size':
      case 'unmapped':
        return [memfd, nothing];
      case 'mapped here': {
        const mapping = memfd.map();
        return [memfd, () => { mapping.unmap(); return nothing(); }];
      }
      case 'mapped elsewhere':
        sendDescriptors(peer.socket, [memfd.fd]);
        expect(await peer.do('receive')).to.equal('received');
        expect(await peer.do('adopt')).to.equal(`${size} bytes`);
        expect(await peer.do('map')).to.equal('mapped');
        return [memfd, () => peer.do('unmap')];
      case 'destroyed':
        memfd.destroy();
        return [memfd, nothing];
      case 'closed':
        memfd.close();
        return [memfd, nothing];
    }
  }

  for (const [name, results] of Object.entries(expected)) {
    const method = methods[name as keyof typeof methods];
    states.forEach((state, column) => {
      const result = results[column];
      it(`${name}, ${state}: ${JSON.stringify(result)}`, async () => {
        const [memfd, leave] = await enter(state);
        try {
          expect(await outcome(() => method(memfd))).to.deep.equal(result);
        } finally {
          await leave();
          memfd.close();
        }
      });
    });
  }
});
