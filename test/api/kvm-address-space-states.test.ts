// SPDX-License-Identifier: MIT
// What AddressSpace does to a VM, in every state: a value, or the exact error.
import { expect } from 'chai';
import { AddressSpace, GuestMemory } from 'exclusive-memory';
import { Kvm, type Vm } from 'exclusive-memory/kvm';
import { outcome } from '../support/failures.js';
import { mappedMemory } from '../support/process.js';
import { requireKvm } from '../support/real-mode-guest.js';
import { page } from '../support/views.js';

const states = ['detached', 'attached', 'attached, VM closed', 'closed'] as const;
type State = (typeof states)[number];

const disposed = 'ERR_EXMEM_DISPOSED';
const busy = 'ERR_EXMEM_BUSY';

describe('AddressSpace under KVM, method by state', () => {
  before(requireKvm);

  let kvm: Kvm;
  let ram: GuestMemory;
  let vm: Vm;
  beforeEach(() => {
    kvm = Kvm.open();
    ram = GuestMemory.create({ size: page });
    vm = kvm.createVm();
  });
  afterEach(() => {
    vm.close();
    ram.close();
    kvm.close();
  });

  function enter(state: State): AddressSpace {
    const space = AddressSpace.create({ size: 4 * page });
    space.add('part', ram, { at: 0, access: 'read' });
    if (state !== 'detached') space.attach(vm, { firstSlot: 3 });
    if (state === 'attached, VM closed') vm.close();
    if (state === 'closed') space.close();
    return space;
  }

  /** How many slots there are is how many mappings there are. */
  const slots = () => mappedMemory().length;

  const methods = {
    attach: (space: AddressSpace) => {
      using other = kvm.createVm();
      space.attach(other);
      return space.slotOf('part');
    },
    detach: (space: AddressSpace) => {
      space.detach();
      return slots();
    },
    slotOf: (space: AddressSpace) => space.slotOf('part'),
    add: (space: AddressSpace) => {
      space.add('more', ram, { at: page, access: 'read' });
      return slots();
    },
    remove: (space: AddressSpace) => {
      space.remove('part');
      return slots();
    },
    move: (space: AddressSpace) => {
      space.move('part', 2 * page);
      return slots();
    },
    protect: (space: AddressSpace) => space.protect('part', 'read-write').access,
    close: (space: AddressSpace) => {
      space.close();
      return slots();
    },
  } as const;

  /** In the order of `states`. A string that begins with E is an error's code. */
  const expected: Record<keyof typeof methods, readonly unknown[]> = {
    attach: [0, busy, busy, disposed],
    detach: [0, 0, 0, disposed],
    slotOf: [undefined, 3, 3, disposed],
    add: [0, 2, disposed, disposed],
    remove: [0, 0, 0, disposed],
    move: [0, 1, disposed, disposed],
    protect: ['read-write', 'read-write', 'read-write', disposed],
    close: [0, 0, 0, 0],
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
