// SPDX-License-Identifier: MIT
// The driver's side of a split virtqueue: section 2.7 of the virtio 1.2
// specification. It lies in guest memory, which the device reaches by
// guest-physical addresses.

/** A buffer of a request. */
export interface Buffer {
  /** Guest-physical address. */
  readonly address: number;
  /** Bytes. */
  readonly size: number;
  /** Whether the device writes it, rather than reads it. */
  readonly write: boolean;
}

const descriptorSize = 16;
const flagNext = 1;
const flagWrite = 2;

export class Virtqueue {
  readonly descriptorTable: number;
  readonly available: number;
  readonly used: number;
  /** Bytes from the address of the queue on. */
  readonly byteLength: number;
  readonly #ram: DataView;
  #seen = 0;

  /**
   * @param ram Guest memory from address 0.
   * @param address Guest-physical address, of a page.
   * @param size How many descriptors: a power of 2.
   */
  constructor(ram: Uint8Array, address: number, readonly size: number) {
    this.#ram = new DataView(ram.buffer, ram.byteOffset, ram.byteLength);
    this.descriptorTable = address;
    this.available = address + size * descriptorSize;
    this.used = (this.available + 6 + 2 * size + 3) & ~3;
    this.byteLength = this.used + 6 + 8 * size - address;
    ram.fill(0, address, address + this.byteLength);
  }

  /** Offers the device a chain of buffers, which begins at descriptor 0: one request at a time. */
  offer(buffers: readonly Buffer[]): void {
    buffers.forEach(({ address, size, write }, i) => {
      const at = this.descriptorTable + i * descriptorSize;
      const isLast = i === buffers.length - 1;
      this.#ram.setBigUint64(at, BigInt(address), true);
      this.#ram.setUint32(at + 8, size, true);
      this.#ram.setUint16(at + 12, (write ? flagWrite : 0) | (isLast ? 0 : flagNext), true);
      this.#ram.setUint16(at + 14, isLast ? 0 : i + 1, true);
    });
    const index = this.#ram.getUint16(this.available + 2, true);
    this.#ram.setUint16(this.available + 4 + 2 * (index % this.size), 0, true);
    this.#ram.setUint16(this.available + 2, (index + 1) & 0xffff, true);
  }

  /** Whether the device is done with the chain, and gave it back. */
  takeUsed(): boolean {
    const index = this.#ram.getUint16(this.used + 2, true);
    if (index === this.#seen) return false;
    this.#seen = index;
    return true;
  }
}
