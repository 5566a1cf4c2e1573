// SPDX-License-Identifier: MIT
// The guest's memory: out of everybody's reach, or, to compare, like any other.
import { closeSync, ftruncateSync, openSync, readSync, unlinkSync, writeSync } from 'node:fs';
import { GuestMemory, type MemoryView, ViewHandle } from 'exclusive-memory';
import { SlotMapping, type Vm } from 'exclusive-memory/kvm';
import type { MemoryMap } from './memory-map.js';

/** A part of a file, or bytes. */
export type Image = Uint8Array | { readonly path: string; readonly offset: number; readonly size: number };

export interface GuestRam extends Disposable {
  readonly fd: number;
  readonly size: number;
  /** How /proc/PID/maps calls the mapping that is the guest's slot. */
  readonly mapName: string;
  /** What the monitor reads and writes of it: addresses are the guest's. */
  readonly window: ViewHandle;
  populate(image: Image, address: number): Promise<void>;
  /** Slot 0 of the machine. */
  attach(vm: Vm): void;
  /** From here on only the window is common to guest and monitor. */
  seal(window: MemoryMap['window']): void;
}

const writable = { access: 'read-write' } as const;

/** Memory that only the guest's processor reaches. */
export class KernelOnlyRam implements GuestRam {
  readonly mapName = '/restricted_memfd:guest';
  readonly #view: MemoryView;
  readonly window: ViewHandle;

  private constructor(readonly memory: GuestMemory) {
    this.#view = memory.window(writable);
    this.window = this.#view.handle();
  }

  static create(size: number): KernelOnlyRam {
    return new KernelOnlyRam(GuestMemory.create({ size, name: 'guest' }));
  }

  get fd(): number {
    return this.memory.fd;
  }

  get size(): number {
    return this.memory.size;
  }

  async populate(image: Image, address: number): Promise<void> {
    if (image instanceof Uint8Array) await this.memory.populate(image, { at: address });
    else {
      const { path, offset, size } = image;
      await this.memory.populate(path, { at: address, offset, length: size });
    }
  }

  attach(vm: Vm): void {
    this.memory.bind(vm);
    this.memory.attach(vm, { slot: 0, gpa: 0 });
  }

  seal({ address, size }: MemoryMap['window']): void {
    this.memory.share(address, size, { wipe: true });
    this.memory.seal({ content: true, layout: true });
  }

  [Symbol.dispose](): void {
    this.window.close();
    this.#view.close();
    this.memory.close();
  }
}

/** What every other monitor has: memory that it can read itself. */
export class PlainRam implements GuestRam {
  readonly mapName: string;
  readonly window: ViewHandle;

  private constructor(path: string, readonly size: number) {
    const fd = openSync(path, 'wx+');
    unlinkSync(path);
    ftruncateSync(fd, size);
    this.mapName = `${path} (deleted)`;
    this.window = ViewHandle.fromFd(fd);
  }

  static create(size: number): PlainRam {
    return new PlainRam(`/dev/shm/guest-${process.pid}`, size);
  }

  get fd(): number {
    return this.window.fd;
  }

  populate(image: Image, address: number): Promise<void> {
    if (image instanceof Uint8Array) this.window.write(address, image);
    else this.#copyFile(image, address);
    return Promise.resolve();
  }

  attach(vm: Vm): void {
    using memory = SlotMapping.of(this.window, { size: this.size, ...writable });
    vm.setSlot({ slot: 0, gpa: 0, memory });
  }

  seal(): void {
    // There is nothing that could be sealed.
  }

  [Symbol.dispose](): void {
    this.window.close();
  }

  #copyFile({ path, offset, size }: Exclude<Image, Uint8Array>, address: number): void {
    const file = openSync(path, 'r');
    const chunk = Buffer.alloc(1 << 20);
    try {
      for (let done = 0; done < size; ) {
        const length = readSync(file, chunk, 0, Math.min(chunk.length, size - done), offset + done);
        if (length === 0) throw new Error(`Expected ${size} bytes at ${offset} of ${path}`);
        writeSync(this.fd, chunk, 0, length, address + done);
        done += length;
      }
    } finally {
      closeSync(file);
    }
  }
}
