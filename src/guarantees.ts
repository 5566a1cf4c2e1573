// SPDX-License-Identifier: MIT

/** What a backend promises; a program that needs one of these can check it and refuse. */
export interface Guarantees {
  /** The pages are not in the kernel's direct map: kernel code cannot read them by mistake. */
  readonly outOfDirectMap: boolean;
  /** process_vm_readv(2), ptrace(2), /proc/PID/mem and every other get_user_pages user fail. */
  readonly refusedToOtherProcesses: boolean;
  /** A core dump has no page of it. */
  readonly noCoreDump: boolean;
  /** Neither swapped nor written to a hibernation image. */
  readonly neverOnDisk: boolean;
  /** The pages are zeroed before they return to the allocator. */
  readonly wipedOnFree: boolean;
  /** fork(2) gives the child no access. */
  readonly noForkCopy: boolean;
  /**
   * While one mapping exists, nobody on the machine can make another, not even
   * with the file descriptor (which root can take with pidfd_getfd(2)).
   */
  readonly singleMapping: boolean;
  /** The mapping cannot be split, moved or resized. */
  readonly noSplit: boolean;
  /** The owner can take the memory back from every holder: destroy(). */
  readonly destroyable: boolean;
}

/** By backend; `module` is the kernel module, `memfd_secret` is memfd_secret(2). */
export const guarantees = {
  module: {
    outOfDirectMap: true,
    refusedToOtherProcesses: true,
    noCoreDump: true,
    neverOnDisk: true,
    wipedOnFree: true,
    noForkCopy: true,
    singleMapping: true,
    noSplit: true,
    destroyable: true,
  },
  memfd_secret: {
    outOfDirectMap: true,
    refusedToOtherProcesses: true,
    noCoreDump: true,
    neverOnDisk: true,
    wipedOnFree: true,
    noForkCopy: false,
    singleMapping: false,
    noSplit: false,
    destroyable: false,
  },
} as const satisfies Readonly<Record<string, Guarantees>>;

/** Where the memory of a secret comes from. */
export type BackendName = keyof typeof guarantees;
