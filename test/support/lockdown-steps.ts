// SPDX-License-Identifier: MIT
// What lockdown-process.ts understands.
import type { LockdownOptions } from '#internal/kvm/lockdown.js';
import type { Word } from './hostile.js';

/** Where a call comes from. */
export const places = ['main', 'worker', 'later worker', 'pool', 'new thread'] as const;
export type Place = (typeof places)[number];

export type Step =
  | { readonly do: 'lockdown'; readonly options?: LockdownOptions }
  /** A system call: its result, negative for an errno. */
  | { readonly do: 'call'; readonly from: Place; readonly words: readonly Word[] }
  /** ioctl(-1) with each value of the low 16 bits, and these others. */
  | { readonly do: 'every ioctl'; readonly others: Word }
  | { readonly do: 'call of i386'; readonly number: number }
  /** A thread with a filter of its own. */
  | { readonly do: 'strict thread' }
  /** Modes of seccomp, and no_new_privs, of all threads. */
  | { readonly do: 'threads' }
  | { readonly do: 'exec' }
  /** The same in a child, which is another program. */
  | { readonly do: 'in a child'; readonly steps: readonly Step[] }
  | { readonly do: 'use Node' }
  /** Gives up root. */
  | { readonly do: 'become nobody' }
  /** A descriptor, or negative for an errno. */
  | { readonly do: 'open /dev/kvm'; readonly from: Place }
  | { readonly do: 'start the guest' }
  | { readonly do: 'guest goes on' }
  /** An ioctl of the real thing. */
  | {
      readonly do: 'KVM call';
      readonly from: Place;
      readonly of: 'kvm' | 'vm' | 'vcpu';
      readonly ioctl: Word;
    }
  | { readonly do: 'use the API' }
  /** Lets it run what it has at another place, through struct kvm_run. */
  | { readonly do: 'steer the guest' }
  | { readonly do: 'end the guest' };
