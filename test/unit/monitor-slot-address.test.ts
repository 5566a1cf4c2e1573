// SPDX-License-Identifier: MIT
import { expect } from 'chai';
import { slotAddress } from '../../examples/monitor/slot-address.js';

const maps = `55d0e0000000-55d0e0021000 rw-p 00000000 00:00 0                          [heap]
7f0000000000-7f0000100000 rw-s 00100000 00:18 42                         /dev/shm/guest-7 (deleted)
7f0000100000-7f0000200000 rw-s 00000000 00:18 42                         /dev/shm/guest-7 (deleted)
7f0000200000-7f0000400000 rw-s 00000000 00:18 42                         /dev/shm/guest-7 (deleted)
7f0000400000-7f0000600000 rw-s 00000000 00:18 43                         /dev/shm/guest-77 (deleted)
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0
`;

describe('monitor: the address of its slot', () => {
  it('is that of the mapping of the whole, among windows', () => {
    expect(slotAddress('/dev/shm/guest-7 (deleted)', 2 << 20, maps)).to.equal(0x7f00_0020_0000n);
    expect(slotAddress('/dev/shm/guest-77 (deleted)', 2 << 20, maps)).to.equal(0x7f00_0040_0000n);
  });

  it('is missed if there is none', () => {
    expect(() => slotAddress('/dev/shm/guest-7 (deleted)', 4 << 20, maps)).to.throw(
      /Expected a mapping of 4194304 bytes of/,
    );
  });
});
