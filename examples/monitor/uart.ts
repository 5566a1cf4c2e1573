// SPDX-License-Identifier: MIT
// A 16550 serial port. It is never busy: whatever the guest sends is sent at once.

export const uartRegisters = 8;

const register = {
  data: 0, // and, with DLAB, the divisor's low byte
  interruptEnable: 1, // and its high byte
  interruptIdentity: 2, // written: FIFO control
  lineControl: 3,
  modemControl: 4,
  lineStatus: 5,
  modemStatus: 6,
  scratch: 7,
} as const;

const enable = { received: 1, transmitted: 2 } as const;
const identity = { none: 1, transmitted: 2, received: 4, fifo: 0xc0 } as const;
const fifoEnable = 1;
const divisorLatch = 0x80;
const loopback = 0x10;
const status = { dataReady: 1, transmitterEmpty: 0x60 } as const;
/** Carrier, data set and clear to send: somebody is there. */
const connected = 0xb0;

export interface UartPeer {
  /** Bytes that the guest sends. */
  transmit(bytes: Uint8Array): void;
  /** The level of the interrupt line. */
  interrupt(level: boolean): void;
}

export class Uart {
  readonly #peer: UartPeer;
  readonly #received: number[] = [];
  #interruptEnable = 0;
  #fifoControl = 0;
  #lineControl = 0;
  #modemControl = 0;
  #scratch = 0;
  #divisor = 0;

  constructor(peer: UartPeer) {
    this.#peer = peer;
  }

  /** Bytes for the guest. */
  receive(bytes: Iterable<number>): void {
    for (const byte of bytes) this.#received.push(byte);
    this.#signal();
  }

  /** What the guest reads at a register, without what reading it does. */
  peek(offset: number): number {
    const latch = (this.#lineControl & divisorLatch) !== 0;
    switch (offset) {
      case register.data:
        return latch ? this.#divisor & 0xff : (this.#received[0] ?? 0);
      case register.interruptEnable:
        return latch ? this.#divisor >> 8 : this.#interruptEnable;
      case register.interruptIdentity:
        return this.#identity | ((this.#fifoControl & fifoEnable) !== 0 ? identity.fifo : 0);
      case register.lineControl:
        return this.#lineControl;
      case register.modemControl:
        return this.#modemControl;
      case register.lineStatus:
        return status.transmitterEmpty | (this.#received.length > 0 ? status.dataReady : 0);
      case register.modemStatus:
        return (this.#modemControl & loopback) !== 0 ? this.#loopedModem : connected;
      case register.scratch:
        return this.#scratch;
      default:
        throw new RangeError(`Expected a register from 0 to 7, received ${offset}`);
    }
  }

  read(offset: number): number {
    const value = this.peek(offset);
    if (offset === register.data && (this.#lineControl & divisorLatch) === 0) {
      this.#received.shift();
      this.#signal();
    }
    return value;
  }

  /** @param values one after the other */
  write(offset: number, values: Uint8Array): void {
    const value = values.at(-1) ?? 0;
    const latch = (this.#lineControl & divisorLatch) !== 0;
    switch (offset) {
      case register.data:
        if (latch) this.#divisor = (this.#divisor & 0xff00) | value;
        else if ((this.#modemControl & loopback) === 0) this.#peer.transmit(values);
        break;
      case register.interruptEnable:
        if (latch) this.#divisor = (this.#divisor & 0xff) | (value << 8);
        else this.#interruptEnable = value & 0x0f;
        break;
      case register.interruptIdentity:
        this.#fifoControl = value;
        break;
      case register.lineControl:
        this.#lineControl = value;
        break;
      case register.modemControl:
        this.#modemControl = value & 0x1f;
        break;
      case register.scratch:
        this.#scratch = value;
        break;
      default: // what tells a status is not written
    }
    this.#signal();
  }

  /**
   * The transmitter being empty is reported for as long as it is asked for, and not only until the report was read: the
   * guest's driver then sends all that it has on one interrupt.
   */
  get #identity(): number {
    if ((this.#interruptEnable & enable.received) !== 0 && this.#received.length > 0) {
      return identity.received;
    }
    return (this.#interruptEnable & enable.transmitted) !== 0 ? identity.transmitted : identity.none;
  }

  /** In loopback the modem's inputs are its outputs: DTR, RTS, OUT1, OUT2 for DSR, CTS, RI, DCD. */
  get #loopedModem(): number {
    const control = this.#modemControl;
    return (
      ((control & 1) << 5) | ((control & 2) << 3) | ((control & 4) << 4) | ((control & 8) << 4)
    );
  }

  /** The interrupt controller looks for edges: each cause that is there makes one anew. */
  #signal(): void {
    this.#peer.interrupt(false);
    if (this.#identity !== identity.none) this.#peer.interrupt(true);
  }
}
