// SPDX-License-Identifier: MIT
import { ExclusiveMemoryError } from './errors.js';
import { SlotMapping } from './kvm/slot-mapping.js';
import type { Vm } from './kvm/vm.js';
import type { MemoryView } from './memory-view.js';
import { ViewHandle } from './view-handle.js';

/** What of an address space one slot shows. */
export interface SlotPart {
  readonly name: string;
  readonly at: number;
  readonly size: number;
  /** Guest memory, which KVM alone may see. */
  readonly guest: boolean;
}

interface PartSlot {
  readonly slot: number;
  readonly mapping: SlotMapping;
}

/**
 * The memory slots of a VM that show parts of an address space, each by a
 * mapping of its range of the view. So what the view loses, the guest loses, and
 * what the view does not allow, the guest may not: that needs no other slot.
 */
export class PartSlots implements Disposable {
  readonly #vm: Vm;
  readonly #handle: ViewHandle;
  readonly #first: number;
  readonly #slots = new Map<string, PartSlot>();

  constructor(vm: Vm, view: MemoryView, firstSlot: number) {
    this.#vm = vm;
    this.#handle = view.handle();
    this.#first = firstSlot;
  }

  slotOf(name: string): number | undefined {
    return this.#slots.get(name)?.slot;
  }

  /** The view shows the part already. */
  set({ name, at, size, guest }: SlotPart): void {
    const slot = this.#free();
    const mapping = SlotMapping.of(this.#handle, {
      size,
      offset: at,
      // KVM takes private pages of guest memory from a mapping that nobody can
      // read. What others may be allowed later, the mapping must allow now.
      access: guest ? 'none' : 'read-write',
    });
    try {
      this.#vm.setSlot({ slot, gpa: at, memory: mapping });
    } catch (error) {
      mapping.unmap();
      throw error;
    }
    this.#slots.set(name, { slot, mapping });
  }

  /** A guest finds nothing at its addresses when it returns: what it does there is an exit. */
  clear(name: string): void {
    const found = this.#slots.get(name);
    if (found === undefined) return;
    try {
      this.#vm.removeSlot(found.slot);
    } catch (error) {
      // Once the VM is closed, it has no slots.
      if (!isDisposed(error)) throw error;
    }
    this.#slots.delete(name);
    found.mapping.unmap();
  }

  /** Takes all parts from the VM. */
  [Symbol.dispose](): void {
    using _handle = this.#handle;
    for (const name of [...this.#slots.keys()]) this.clear(name);
  }

  #free(): number {
    const taken = new Set(Array.from(this.#slots.values(), ({ slot }) => slot));
    let slot = this.#first;
    while (taken.has(slot)) slot++;
    return slot;
  }
}

const isDisposed = (error: unknown): boolean =>
  error instanceof ExclusiveMemoryError && error.code === 'ERR_EXMEM_DISPOSED';
