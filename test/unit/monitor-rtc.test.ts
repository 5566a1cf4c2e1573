// SPDX-License-Identifier: MIT
import { expect } from 'chai';
import { rtcRegister } from '../../examples/monitor/rtc.js';

describe('monitor: the clock', () => {
  const sunday = new Date(Date.UTC(2031, 10, 9, 23, 5, 48));

  it('tells the time in BCD', () => {
    const registers = [0, 2, 4, 6, 7, 8, 9].map((index) => rtcRegister(index, sunday));
    expect(registers).to.deep.equal([0x48, 0x05, 0x23, 1, 0x09, 0x11, 0x31]);
  });

  it('is not being updated, counts 24 hours, and has a battery', () => {
    expect([0x0a, 0x0b, 0x0d].map((index) => rtcRegister(index, sunday))).to.deep.equal([0x26, 0x02, 0x80]);
  });

  it('ignores the bit that masks the NMI, and has zeros elsewhere', () => {
    expect(rtcRegister(0x80, sunday)).to.equal(0x48);
    expect(rtcRegister(0x40, sunday)).to.equal(0);
  });
});
