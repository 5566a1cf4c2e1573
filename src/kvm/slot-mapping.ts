// SPDX-License-Identifier: MIT
import { type DescriptorLike, fdOf } from '../descriptor.js';
import { Lifetime } from '../lifetime.js';
import { pageSize } from '../page.js';
import { checkOneOf, checkOptions, checkPages } from '../validate.js';
import type { NativeSlotRegion } from './native.js';
import { kvmSystem } from './system.js';

const accesses = ['none', 'read', 'read-write'] as const;

export interface SlotMappingOptions {
  /** Bytes, whole pages. */
  readonly size: number;
  /** Byte offset in the source, of a page. Default: 0. */
  readonly offset?: number;
  /**
   * What this process may do there. `'none'` is for guest memory and for views
   * of it, which KVM finds all the same.
   */
  readonly access: (typeof accesses)[number];
}

export let regionOf: (mapping: SlotMapping) => NativeSlotRegion;

/**
 * A mapping of this process that is good for one thing: a slot of a {@link Vm}.
 * JavaScript gets neither a buffer nor the address.
 *
 * It stays where it is for as long as a slot uses it, whatever becomes of this
 * object; a forgotten one is unmapped when it is collected.
 */
export class SlotMapping implements Disposable {
  /** Bytes. */
  readonly size: number;
  readonly #lifetime = new Lifetime('SlotMapping');
  readonly #region: NativeSlotRegion;

  static {
    regionOf = (mapping) => {
      mapping.#lifetime.check();
      return mapping.#region;
    };
  }

  private constructor(region: NativeSlotRegion, size: number) {
    this.#region = region;
    this.size = size;
  }

  /**
   * mmap(2), shared. The source stays the caller's, who may close it at once.
   *
   * @throws ExclusiveMemoryError `EACCES` if the source is not for that access:
   *   guest memory without host access is for `'none'` only; what else mmap(2)
   *   says.
   */
  static of(source: DescriptorLike, options: SlotMappingOptions): SlotMapping {
    const fd = fdOf(source, 'source');
    checkOptions(options, 'options');
    const size = checkPages(options.size, 'size', pageSize, Number.MAX_SAFE_INTEGER);
    const offset = checkPages(options.offset ?? 0, 'offset', 0, Number.MAX_SAFE_INTEGER - size);
    const access = accesses.indexOf(checkOneOf(options.access, 'access', accesses)) as 0 | 1 | 2;
    return new SlotMapping(kvmSystem.mapSlot(fd, size, offset, access), size);
  }

  /** munmap(2), once no slot uses it any more. Idempotent. */
  unmap(): void {
    if (this.#lifetime.end('unmapped')) this.#region.release();
  }

  [Symbol.dispose](): void {
    this.unmap();
  }
}
