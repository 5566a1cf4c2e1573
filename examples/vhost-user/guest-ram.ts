// SPDX-License-Identifier: MIT
// Guest memory, and how much of it a device may see: all, as is usual, or what
// an IOMMU of pages in a view lets it see.
import { ftruncateSync, openSync, unlinkSync } from 'node:fs';
import { MemoryView, ViewHandle } from 'exclusive-memory';
import type { Buffer } from './virtqueue.js';

const pageSize = 4096;

/** Guest memory: a file on tmpfs, so that it can be given away as a whole too. */
export function makeRam(folder: string, size: number): ViewHandle {
  const path = `${folder}/ram`;
  const fd = openSync(path, 'wx+');
  unlinkSync(path);
  ftruncateSync(fd, size);
  return ViewHandle.fromFd(fd);
}

/** What a device is given in place of guest memory. */
export interface DeviceMemory {
  readonly fd: number;
  /** Lets the device reach buffers for as long as `use` takes. */
  during<T>(buffers: readonly Buffer[], use: () => Promise<T>): Promise<T>;
}

/** The device may read and write all of the memory, at any time. */
export class WholeMemory implements DeviceMemory {
  constructor(readonly ram: ViewHandle) {}

  get fd(): number {
    return this.ram.fd;
  }

  during<T>(_buffers: readonly Buffer[], use: () => Promise<T>): Promise<T> {
    return use();
  }
}

/** The device finds the queue, and the buffers of the request that it serves. */
export class Iommu implements DeviceMemory, Disposable {
  readonly #view: MemoryView;
  readonly #handle: ViewHandle;

  constructor(readonly ram: ViewHandle) {
    this.#view = MemoryView.create({ size: ram.size });
    this.#handle = this.#view.handle({ cap: 'read-write' });
  }

  get fd(): number {
    return this.#handle.fd;
  }

  /** Guest-physical addresses of what the device can reach now. */
  get mapped(): readonly { readonly at: number; readonly size: number; readonly access: string }[] {
    return this.#view.ranges();
  }

  map({ address, size, write }: Buffer): void {
    const { at, length } = pagesOf(address, size);
    this.#view.map(this.ram, {
      at,
      offset: at,
      size: length,
      access: write ? 'read-write' : 'read',
      replace: true,
    });
  }

  unmap({ address, size }: Buffer): void {
    const { at, length } = pagesOf(address, size);
    this.#view.unmap(at, length);
  }

  revokeAll(): void {
    this.#view.unmap(0, this.#view.size);
  }

  async during<T>(buffers: readonly Buffer[], use: () => Promise<T>): Promise<T> {
    for (const buffer of buffers) this.map(buffer);
    try {
      return await use();
    } finally {
      for (const buffer of buffers) this.unmap(buffer);
    }
  }

  [Symbol.dispose](): void {
    this.#handle.close();
    this.#view.close();
  }
}

function pagesOf(address: number, size: number): { readonly at: number; readonly length: number } {
  const at = Math.floor(address / pageSize) * pageSize;
  return { at, length: Math.ceil((address + size) / pageSize) * pageSize - at };
}
