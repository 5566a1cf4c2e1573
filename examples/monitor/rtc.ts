// SPDX-License-Identifier: MIT
// A clock like the MC146818's, as far as a kernel asks it once for the time of
// day: two ports, a register's number and its value.

export const rtcPorts = { index: 0x70, data: 0x71 } as const;

/** What a register says at a time; numbers are in BCD, as x86 kernels expect them. */
export function rtcRegister(index: number, now: Date): number {
  switch (index & 0x7f) {
    case 0x00:
      return bcd(now.getUTCSeconds());
    case 0x02:
      return bcd(now.getUTCMinutes());
    case 0x04:
      return bcd(now.getUTCHours());
    case 0x06:
      return now.getUTCDay() + 1;
    case 0x07:
      return bcd(now.getUTCDate());
    case 0x08:
      return bcd(now.getUTCMonth() + 1);
    case 0x09:
      return bcd(now.getUTCFullYear() % 100);
    case 0x0a:
      return 0x26; // no update in progress; 32,768 Hz
    case 0x0b:
      return 0x02; // 24 hours
    case 0x0d:
      return 0x80; // its battery is good
    default:
      return 0;
  }
}

const bcd = (value: number) => (Math.floor(value / 10) << 4) | (value % 10);
