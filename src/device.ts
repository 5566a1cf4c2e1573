// SPDX-License-Identifier: MIT
import { Descriptor } from './descriptor.js';
import { native } from './native.js';
import { system } from './system.js';
import { unexpected } from './validate.js';

/** Opening it makes a new, still empty exclusive memory object. */
export const devicePath = '/dev/exclusive_memory';

/** Opening it makes a new memory view, without a size: its control file. */
export const viewDevicePath = '/dev/memory-view';

/** What EXMEM_CREATE takes. */
export interface CreateRequest {
  /** Bytes; 0 to set it later. */
  readonly size: number;
  readonly name: string;
  readonly huge?: boolean;
  /** For a KVM guest; and whether the monitor may access it, too. */
  readonly guest?: { readonly hostAccess: boolean };
}

/**
 * Runs `body` with a device open. In a worker thread Node.js keeps account of
 * what `node:fs` opens, so that is what has to close it; no Descriptor may.
 */
export function withDevice<T>(body: (fd: number) => T, path = devicePath): T {
  const fd = system.open(path);
  try {
    return body(fd);
  } finally {
    system.close(fd);
  }
}

export function createRestrictedMemfd({ size, name, huge = false, guest }: CreateRequest): Descriptor {
  const { CREATE_HUGE, CREATE_GUEST, CREATE_HOST_ACCESS } = native.constants;
  const flags =
    (huge ? CREATE_HUGE : 0) |
    (guest ? CREATE_GUEST : 0) |
    (guest?.hostAccess ? CREATE_HOST_ACCESS : 0);
  return new Descriptor(withDevice((fd) => system.create(fd, size, flags, name)));
}

/** The control file of a new view. */
export function createView(size: number): Descriptor {
  using control = new Descriptor(withDevice(system.duplicate, viewDevicePath));
  system.viewSetSize(control.fd, size);
  return Descriptor.take(control);
}

export function checkName(name: string): string {
  const limit = native.constants.NAME_SIZE - 1;
  if (Buffer.byteLength(name) <= limit && !name.includes('\0')) return name;
  throw unexpected(`at most ${limit} bytes of UTF-8 without NUL`, 'name', name);
}
