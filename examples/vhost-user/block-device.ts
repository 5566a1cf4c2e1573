// SPDX-License-Identifier: MIT
// A driver for a virtio block device: section 5.2 of the virtio 1.2
// specification. One request at a time.
import type { FrontEnd } from './front-end.js';
import type { DeviceMemory } from './guest-ram.js';
import type { Buffer, Virtqueue } from './virtqueue.js';

export const sectorSize = 512;

const typeIn = 0;
const typeOut = 1;
/** Bytes of a request's header. */
export const headerSize = 16;
const statusPending = 0xff;

/** Where a request lies in guest memory: each part on pages of its own. */
export interface Places {
  readonly header: number;
  readonly data: number;
  readonly status: number;
}

/** What the device says of a request; 0 is success. */
export type Status = number;

export class BlockDevice {
  readonly #ram: Uint8Array;
  readonly #memory: DeviceMemory;
  readonly #queue: Virtqueue;
  readonly #frontEnd: FrontEnd;

  constructor(ram: Uint8Array, memory: DeviceMemory, queue: Virtqueue, frontEnd: FrontEnd) {
    this.#ram = ram;
    this.#memory = memory;
    this.#queue = queue;
    this.#frontEnd = frontEnd;
  }

  /** Bytes, as the device's configuration has it. */
  async capacity(): Promise<number> {
    const config = await this.#frontEnd.config(8);
    const sectors = new DataView(config.buffer, config.byteOffset).getBigUint64(0, true);
    return Number(sectors) * sectorSize;
  }

  /**
   * Lets the device write `size` bytes of the disk, from a sector on, to `places.data`.
   *
   * @param reachable What it can reach meanwhile. Default: what the request needs.
   */
  read(
    sector: number,
    size: number,
    places: Places,
    reachable?: readonly Buffer[],
  ): Promise<Status> {
    const data = { address: places.data, size, write: true };
    return this.#request(typeIn, sector, data, places, reachable);
  }

  /** Lets the device write `size` bytes at `places.data` to the disk; otherwise as {@link read}. */
  write(
    sector: number,
    size: number,
    places: Places,
    reachable?: readonly Buffer[],
  ): Promise<Status> {
    const data = { address: places.data, size, write: false };
    return this.#request(typeOut, sector, data, places, reachable);
  }

  async #request(
    type: number,
    sector: number,
    data: Buffer,
    places: Places,
    reachable?: readonly Buffer[],
  ): Promise<Status> {
    const header = { address: places.header, size: headerSize, write: false };
    const status = { address: places.status, size: 1, write: true };
    this.#fillHeader(places.header, type, sector);
    this.#ram[places.status] = statusPending;
    await this.#memory.during(reachable ?? [header, data, status], async () => {
      this.#queue.offer([header, data, status]);
      await this.#frontEnd.kick();
      while (!this.#queue.takeUsed()) await this.#frontEnd.called();
    });
    return this.#ram[places.status] ?? statusPending;
  }

  #fillHeader(at: number, type: number, sector: number): void {
    const header = new DataView(this.#ram.buffer, this.#ram.byteOffset + at, headerSize);
    header.setUint32(0, type, true);
    header.setUint32(4, 0, true);
    header.setBigUint64(8, BigInt(sector), true);
  }
}
