// SPDX-License-Identifier: MIT
// Every method of the classes of views in every state: a value, or the exact error.
import { closeSync } from 'node:fs';
import { expect } from 'chai';
import { AddressSpace, MemoryView, type ViewHandle } from 'exclusive-memory';
import { outcome } from '../support/failures.js';
import type { LossyFile } from '../support/lossy-file.js';
import { sharedPages } from '../support/shared-pages.js';
import { gone, numberedFile, page, refused } from '../support/views.js';

const disposed = 'ERR_EXMEM_DISPOSED';
const argument = 'ERR_EXMEM_ARGUMENT';

/** In the order of the states. A string that begins with E is an error's code and system call. */
type Expected<M> = Record<keyof M, readonly unknown[]>;

describe('MemoryView, method by state', () => {
  const states = ['empty', 'mapped', 'own memory', 'refusing', 'closed'] as const;
  let file: LossyFile;
  before(() => {
    file = numberedFile(2);
  });
  after(() => {
    file[Symbol.dispose]();
  });

  function enter(state: (typeof states)[number]): MemoryView {
    const view = MemoryView.create({ size: 2 * page });
    const access = state === 'refusing' ? 'none' : 'read';
    if (state === 'own memory') view.mapMemory(sharedPages(2), { at: 0, access });
    else if (state !== 'empty') view.map(file.fd, { at: 0, access });
    if (state === 'closed') view.close();
    return view;
  }

  const methods = {
    size: (view: MemoryView) => view.size,
    map: (view: MemoryView) => {
      view.map(file.fd, { at: 0, size: page, access: 'read' });
      return view.ranges().length;
    },
    'map, replacing': (view: MemoryView) => {
      view.map(file.fd, { at: 0, size: page, access: 'read-write', replace: true });
      return view.ranges().length;
    },
    mapMemory: (view: MemoryView) => {
      view.mapMemory(sharedPages(1), { at: page, access: 'read' });
      return view.ranges().length;
    },
    unmap: (view: MemoryView) => {
      view.unmap(0, page);
      return view.ranges().length;
    },
    protect: (view: MemoryView) => {
      view.protect(0, page, 'read-write');
      return view.ranges().map(({ access }) => access);
    },
    ranges: (view: MemoryView) => view.ranges().map(({ kind }) => kind),
    sync: (view: MemoryView) => view.sync(),
    handle: (view: MemoryView) => {
      using handle = view.handle();
      return handle.size;
    },
    close: (view: MemoryView) => {
      view.close();
    },
  } as const;

  const exists = 'EEXIST ioctl MEMVIEW_MAP_FD';
  const memoryExists = 'EEXIST ioctl MEMVIEW_MAP_MEM';
  const expected: Expected<typeof methods> = {
    size: [2 * page, 2 * page, 2 * page, 2 * page, 2 * page],
    map: [1, exists, exists, exists, disposed],
    'map, replacing': [1, 2, 2, 2, disposed],
    mapMemory: [1, memoryExists, memoryExists, memoryExists, disposed],
    unmap: [0, 1, 1, 1, disposed],
    protect: [[], ['read-write', 'read'], ['read-write', 'read'], ['read-write', 'none'], disposed],
    ranges: [[], ['file'], ['process'], ['file'], disposed],
    sync: [undefined, undefined, undefined, undefined, disposed],
    handle: [2 * page, 2 * page, 2 * page, 2 * page, disposed],
    close: [undefined, undefined, undefined, undefined, undefined],
  };

  for (const [name, results] of Object.entries(expected)) {
    const method = methods[name as keyof typeof methods];
    states.forEach((state, column) => {
      it(`${name}, ${state}: ${JSON.stringify(results[column])}`, async () => {
        using view = enter(state);
        expect(await outcome(() => method(view))).to.deep.equal(results[column]);
      });
    });
  }
});

describe('ViewHandle, method by state', () => {
  const states = [
    'writable',
    'readable',
    'refusing',
    'unmapped',
    'truncated',
    'capped',
    'ownerless',
    'closed',
  ] as const;
  type State = (typeof states)[number];

  /** Does something with a handle in that state. */
  async function within(state: State, body: (handle: ViewHandle) => Promise<void>): Promise<void> {
    using file = numberedFile(1);
    using view = MemoryView.create({ size: page });
    const access = state === 'readable' ? 'read' : state === 'refusing' ? 'none' : 'read-write';
    if (state !== 'unmapped') view.map(file.fd, { at: 0, access });
    using handle = view.handle(state === 'capped' ? { cap: 'read' } : {});
    if (state === 'truncated') {
      file.resize(0);
      await view.sync();
    }
    if (state === 'ownerless') view.close();
    if (state === 'closed') handle.close();
    await body(handle);
  }

  const range = { offset: 0, size: page };
  const methods = {
    fd: (handle: ViewHandle) => handle.fd > 2,
    size: (handle: ViewHandle) => handle.size,
    read: (handle: ViewHandle) => handle.read(0, new Uint8Array(page)),
    'read, beyond': (handle: ViewHandle) => handle.read(page + 1, new Uint8Array(1)),
    'read, nothing': (handle: ViewHandle) => handle.read(0, new Uint8Array(0)),
    write: (handle: ViewHandle) => handle.write(0, new Uint8Array(page)),
    'access, reading': (handle: ViewHandle) => handle.access(range, (bytes) => bytes[0]),
    'access, writing': (handle: ViewHandle) =>
      handle.access({ ...range, write: true }, (bytes) => (bytes[0] = 9)),
    'access, idle': (handle: ViewHandle) => handle.access(range, () => 'idle'),
    release: (handle: ViewHandle) => {
      closeSync(handle.release());
      return 'released';
    },
    close: (handle: ViewHandle) => {
      handle.close();
      return 'closed';
    },
  } as const;

  const all = (value: unknown) => [...new Array<unknown>(7).fill(value), disposed];
  const expected: Expected<typeof methods> = {
    fd: all(true),
    size: all(page),
    read: [page, page, refused, gone, gone, page, gone, disposed],
    'read, beyond': all(argument),
    'read, nothing': all(0),
    write: [page, refused, refused, gone, gone, refused, gone, disposed],
    'access, reading': [1, 1, refused, gone, gone, 1, gone, disposed],
    'access, writing': [9, refused, refused, gone, gone, refused, gone, disposed],
    'access, idle': all('idle'),
    release: all('released'),
    close: [...new Array<unknown>(8).fill('closed')],
  };

  for (const [name, results] of Object.entries(expected)) {
    const method = methods[name as keyof typeof methods];
    states.forEach((state, column) => {
      it(`${name}, ${state}: ${JSON.stringify(results[column])}`, async () => {
        await within(state, async (handle) => {
          expect(await outcome(() => method(handle))).to.deep.equal(results[column]);
        });
      });
    });
  }
});

describe('AddressSpace, method by state', () => {
  const states = ['empty', 'with a part', 'closed'] as const;
  let file: LossyFile;
  before(() => {
    file = numberedFile(1);
  });
  after(() => {
    file[Symbol.dispose]();
  });

  function enter(state: (typeof states)[number]): AddressSpace {
    const space = AddressSpace.create({ size: 4 * page });
    if (state !== 'empty') space.add('part', file.fd, { at: 0, access: 'read' });
    if (state === 'closed') space.close();
    return space;
  }

  const methods = {
    size: (space: AddressSpace) => space.size,
    add: (space: AddressSpace) => space.add('part', file.fd, { at: page, access: 'read' }).at,
    remove: (space: AddressSpace) => {
      space.remove('part');
      return space.ranges().length;
    },
    move: (space: AddressSpace) => space.move('part', 2 * page).at,
    protect: (space: AddressSpace) => space.protect('part', 'read-write').access,
    find: (space: AddressSpace) => space.find(1)?.offset,
    get: (space: AddressSpace) => space.get('part')?.size,
    ranges: (space: AddressSpace) => space.ranges().length,
    handle: (space: AddressSpace) => {
      using handle = space.handle();
      return handle.size;
    },
    close: (space: AddressSpace) => {
      space.close();
    },
  } as const;

  const expected: Expected<typeof methods> = {
    size: [4 * page, 4 * page, 4 * page],
    add: [page, argument, disposed],
    remove: [argument, 0, disposed],
    move: [argument, 2 * page, disposed],
    protect: [argument, 'read-write', disposed],
    find: [undefined, 1, disposed],
    get: [undefined, page, disposed],
    ranges: [0, 1, disposed],
    handle: [4 * page, 4 * page, disposed],
    close: [undefined, undefined, undefined],
  };

  for (const [name, results] of Object.entries(expected)) {
    const method = methods[name as keyof typeof methods];
    states.forEach((state, column) => {
      it(`${name}, ${state}: ${JSON.stringify(results[column])}`, async () => {
        using space = enter(state);
        expect(await outcome(() => method(space))).to.deep.equal(results[column]);
      });
    });
  }
});
