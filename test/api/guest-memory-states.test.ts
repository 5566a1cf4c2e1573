// SPDX-License-Identifier: MIT
// Every method of GuestMemory in every state: a value, or the exact error.
import { closeSync } from 'node:fs';
import { expect } from 'chai';
import { GuestMemory, sendDescriptors } from 'exclusive-memory';
import { outcome } from '../support/failures.js';
import type { GuestRequest } from '../support/guest-peer-process.js';
import { Peer } from '../support/peer.js';
import { gone as nothing, look, page } from '../support/views.js';

const states = [
  'private',
  'shared',
  'mapped here',
  'mapped elsewhere',
  'content sealed',
  'layout sealed',
  'destroyed',
  'closed',
] as const;
type State = (typeof states)[number];

const size = 2 * page;

const methods = {
  fd: (memory: GuestMemory) => memory.fd > 2,
  size: (memory: GuestMemory) => memory.size,
  populate: (memory: GuestMemory) => memory.populate(Buffer.alloc(3)),
  'populate, nothing': (memory: GuestMemory) => memory.populate(Buffer.alloc(0)),
  share: (memory: GuestMemory) => {
    memory.share(0, page);
    return memory.info().sharedBytes;
  },
  unshare: (memory: GuestMemory) => {
    memory.unshare(0, size);
    return memory.info().sharedBytes;
  },
  seal: (memory: GuestMemory) => {
    memory.seal();
    const { contentSealed, layoutSealed } = memory.info();
    return contentSealed && layoutSealed;
  },
  'bind, no VM': (memory: GuestMemory) => { memory.bind(0); },
  map: (memory: GuestMemory) => {
    using mapping = memory.map();
    return mapping.size;
  },
  window: (memory: GuestMemory) => {
    using window = memory.window();
    using handle = window.handle();
    return look(handle, 0);
  },
  info: (memory: GuestMemory) => {
    const { mapped, destroyed } = memory.info();
    return { mapped, destroyed };
  },
  destroy: (memory: GuestMemory) => {
    memory.destroy();
    return memory.info().destroyed;
  },
  release: (memory: GuestMemory) => {
    closeSync(memory.release());
    return 'released';
  },
  close: (memory: GuestMemory) => {
    memory.close();
    return 'closed';
  },
} as const;

const disposed = 'ERR_EXMEM_DISPOSED';
const still = { mapped: false, destroyed: false };
const busy = { mapped: true, destroyed: false };
const over = { mapped: false, destroyed: true };
const noContent = 'EPERM ioctl EXMEM_POPULATE';
const noLayout = 'EPERM ioctl EXMEM_SET_SHARED';
const noVm = 'EINVAL ioctl EXMEM_BIND_VM';

/** In the order of `states`. A string that begins with E is an error's code and system call. */
const expected: Record<keyof typeof methods, readonly unknown[]> = {
  fd: [true, true, true, true, true, true, true, disposed],
  size: [size, size, size, size, size, size, size, size],
  populate: [3, 3, 3, 3, noContent, 3, 'ENXIO ioctl EXMEM_POPULATE', disposed],
  'populate, nothing': [0, 0, 0, 0, 0, 0, 0, disposed],
  share: [page, size, page, page, page, noLayout, 'ENXIO ioctl EXMEM_SET_SHARED', disposed],
  unshare: [0, 0, 0, 0, 0, noLayout, 'ENXIO ioctl EXMEM_SET_SHARED', disposed],
  seal: [true, true, true, true, true, true, 'ENXIO ioctl EXMEM_SEAL', disposed],
  'bind, no VM': [noVm, noVm, noVm, noVm, noVm, noVm, noVm, disposed],
  map: [size, size, 'EBUSY mmap', 'EBUSY mmap', size, size, 'ENXIO mmap', disposed],
  window: [nothing, 0, nothing, nothing, nothing, nothing, 'ENXIO ioctl MEMVIEW_MAP_FD', disposed],
  info: [still, still, busy, busy, still, still, over, disposed],
  destroy: [true, true, true, true, true, true, true, disposed],
  release: [...new Array<string>(7).fill('released'), disposed],
  close: new Array<string>(8).fill('closed'),
};

describe('GuestMemory, method by state', () => {
  let peer: Peer<GuestRequest>;
  before(() => {
    peer = new Peer('guest-peer-process');
  });
  after(async () => {
    await peer[Symbol.asyncDispose]();
  });

  /** Memory in that state, and how to leave it. */
  async function enter(state: State): Promise<readonly [GuestMemory, () => Promise<unknown>]> {
    const memory = GuestMemory.create({ size });
    let leave: () => Promise<unknown> = () => Promise.resolve();
    switch (state) {
      case 'private':
        break;
      case 'shared':
        memory.share(0, size);
        break;
      case 'mapped here': {
        const mapping = memory.map();
        leave = () => {
          mapping.unmap();
          return Promise.resolve();
        };
        break;
      }
      case 'mapped elsewhere':
        sendDescriptors(peer.socket, [memory.fd]);
        expect(await peer.do('adopt')).to.equal(`${size} bytes`);
        expect(await peer.do('map')).to.equal('mapped');
        leave = () => peer.do('unmap');
        break;
      case 'content sealed':
        memory.seal({ content: true });
        break;
      case 'layout sealed':
        memory.seal({ layout: true });
        break;
      case 'destroyed':
        memory.destroy();
        break;
      case 'closed':
        memory.close();
        break;
    }
    return [memory, leave];
  }

  for (const [name, results] of Object.entries(expected)) {
    const method = methods[name as keyof typeof methods];
    states.forEach((state, column) => {
      const result = results[column];
      it(`${name}, ${state}: ${JSON.stringify(result)}`, async () => {
        const [memory, leave] = await enter(state);
        try {
          expect(await outcome(() => method(memory))).to.deep.equal(result);
        } finally {
          await leave();
          memory.close();
        }
      });
    });
  }
});
