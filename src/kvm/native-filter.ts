// SPDX-License-Identifier: MIT

/** The addon's exports that are about system call filters: see addon/seccomp.cc. */
export interface NativeFiltering {
  readonly installFilter: (filter: NativeFilter) => void;
  readonly filterNumbers: Readonly<Record<FilterNumberName, number>>;
}

type FilterNumberName =
  | 'CLONE_NEWCGROUP'
  | 'CLONE_NEWIPC'
  | 'CLONE_NEWNET'
  | 'CLONE_NEWNS'
  | 'CLONE_NEWPID'
  | 'CLONE_NEWUSER'
  | 'CLONE_NEWUTS'
  | 'KVMIO'
  | 'KVM_GET_DIRTY_LOG'
  | 'KVM_IOEVENTFD'
  | 'KVM_IRQFD'
  | 'KVM_IRQ_LINE'
  | 'KVM_RUN'
  | 'KVM_SIGNAL_MSI'
  | 'EXMEM_IOC_MAGIC'
  | 'EXMEM_GET_VERSION'
  | 'EXMEM_CREATE'
  | 'EXMEM_SET_SIZE'
  | 'EXMEM_GET_INFO'
  | 'EXMEM_WAIT_IDLE'
  | 'EXMEM_DESTROY'
  | 'EXMEM_SEAL'
  | 'EXMEM_SET_SHARED'
  | 'MEMVIEW_SET_SIZE'
  | 'MEMVIEW_MAP_FD'
  | 'MEMVIEW_UNMAP_FD'
  | 'MEMVIEW_GET_VIEWFD'
  | 'MEMVIEW_MAP_MEM'
  | 'MEMVIEW_PROTECT'
  | 'MEMVIEW_GET_RANGES'
  | 'MEMVIEW_SYNC'
  | 'TIOCLINUX'
  | 'TIOCSTI';

/** What becomes of system calls, for good. */
export interface NativeFilter {
  readonly rules: readonly NativeRule[];
  /** Those up to this one without a rule are allowed. */
  readonly reviewedUpTo: string;
  /** The errno of what matches no rule. */
  readonly otherwise: number;
}

export interface NativeRule {
  readonly syscall: string;
  /** An errno; 0: the call is made; -1: the end of the process. */
  readonly action: number;
  /** The rule is for calls whose argument has this value where the mask, of 32 bits, has ones. */
  readonly argument?: { readonly index: number; readonly mask: number; readonly value: number };
}
