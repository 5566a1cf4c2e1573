// SPDX-License-Identifier: MIT
import { native } from './native.js';
import { system } from './system.js';

/** What the kernel says of an object: `EXMEM_GET_INFO`. */
export interface MemoryInfo {
  /** Bytes; 0 while it is not set. */
  readonly size: number;
  /** Bytes of physical memory held; whole pages. */
  readonly residentBytes: number;
  /** Bytes of guest memory that are in the shared state. */
  readonly sharedBytes: number;
  /** Outstanding in-kernel page references. */
  readonly references: number;
  /** In-kernel users bound to it, such as memory views. */
  readonly notifiers: number;
  /** Made for a KVM guest. */
  readonly guest: boolean;
  /** Made of whole 2 MiB blocks. */
  readonly huge: boolean;
  /** Guest memory that the monitor may access too. */
  readonly hostAccess: boolean;
  /** Mapped by some process. */
  readonly mapped: boolean;
  readonly destroyed: boolean;
  readonly contentSealed: boolean;
  readonly layoutSealed: boolean;
  /** Tied to one KVM virtual machine. */
  readonly bound: boolean;
  /** It holds pages, and every private one is out of the kernel's direct map. */
  readonly outOfDirectMap: boolean;
}

export function memoryInfo(fd: number): MemoryInfo {
  const { constants } = native;
  const info = system.getInfo(fd);
  const made = (flag: number) => (info.flags & flag) !== 0;
  const is = (state: number) => (info.state & state) !== 0;
  return {
    size: info.size,
    residentBytes: info.resident,
    sharedBytes: info.shared,
    references: info.references,
    notifiers: info.notifiers,
    guest: made(constants.CREATE_GUEST),
    huge: made(constants.CREATE_HUGE),
    hostAccess: made(constants.CREATE_HOST_ACCESS),
    mapped: is(constants.STATE_MAPPED),
    destroyed: is(constants.STATE_DESTROYED),
    contentSealed: is(constants.STATE_CONTENT_SEALED),
    layoutSealed: is(constants.STATE_LAYOUT_SEALED),
    bound: is(constants.STATE_BOUND),
    outOfDirectMap: is(constants.STATE_DIRECT_MAP_REMOVED),
  };
}
