// SPDX-License-Identifier: MIT

/** What hostile.c exports: the results of system calls, negative for an errno. */
export interface Hostile {
  call(...words: (bigint | Uint8Array)[]): number;
  callOnNewThread(...words: (bigint | Uint8Array)[]): number;
  callInPool(...words: bigint[]): Promise<number>;
  callOfI386(number: bigint): number;
  strictThread(): void;
  addressOf(bytes: Uint8Array): bigint;
  /** See LockedGuest. */
  steer(run: bigint, rip: bigint, rax: bigint): void;
}

/** 64 bits of an argument, in a form that JSON has. */
export type Word = number | string;
