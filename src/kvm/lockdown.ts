// SPDX-License-Identifier: MIT
// What a monitor gives up once its guest is set up: see docs/threat-model.md.
import { constants } from 'node:os';
import { native } from '../native.js';
import { system } from '../system.js';
import { checkArray, checkBoolean, checkOneOf, checkOptions } from '../validate.js';
import { blocksOf } from './ioctl-masks.js';
import type { NativeRule } from './native-filter.js';

const numbers = native.filterNumbers;

/** Calls of KVM that a running guest needs; every other one is refused, on any descriptor. */
const runningGuest = [
  // The guest runs. A vCPU thread makes no other call.
  numbers.KVM_RUN,
  // A device interrupts it: which it is for the monitor to do.
  numbers.KVM_IRQ_LINE,
];

/** Calls of this package's devices that reach no object of a guest, or only take away. */
const harmless = [
  // Secrets and windows of the monitor's own. A new object can be in no slot: there are no new ones.
  ...[numbers.EXMEM_GET_VERSION, numbers.EXMEM_CREATE, numbers.EXMEM_SET_SIZE],
  ...[numbers.MEMVIEW_SET_SIZE, numbers.MEMVIEW_GET_VIEWFD],
  ...[numbers.EXMEM_GET_INFO, numbers.EXMEM_WAIT_IDLE, numbers.MEMVIEW_GET_RANGES],
  ...[numbers.MEMVIEW_SYNC, numbers.EXMEM_DESTROY, numbers.EXMEM_SEAL, numbers.MEMVIEW_UNMAP_FD],
];

/** Calls that some monitors need later, by the names of the option `allow`. */
const onRequest = {
  KVM_GET_DIRTY_LOG: numbers.KVM_GET_DIRTY_LOG,
  KVM_IOEVENTFD: numbers.KVM_IOEVENTFD,
  KVM_IRQFD: numbers.KVM_IRQFD,
  KVM_SIGNAL_MSI: numbers.KVM_SIGNAL_MSI,
  EXMEM_SET_SHARED: numbers.EXMEM_SET_SHARED,
  MEMVIEW_MAP_FD: numbers.MEMVIEW_MAP_FD,
  MEMVIEW_MAP_MEM: numbers.MEMVIEW_MAP_MEM,
  MEMVIEW_PROTECT: numbers.MEMVIEW_PROTECT,
};

/** What the option `allow` of {@link lockdown} can name. */
export type LockdownException = keyof typeof onRequest | 'execve';

const exceptions = [...(Object.keys(onRequest) as (keyof typeof onRequest)[]), 'execve'] as const;

/** Refused in every case, whoever calls. */
const refusedCalls = [
  // Other processes' memory, registers and descriptors.
  ...['ptrace', 'process_vm_readv', 'process_vm_writev', 'process_madvise', 'pidfd_getfd', 'kcmp'],
  ...['perf_event_open'],
  // Code in the kernel, or another kernel.
  ...['bpf', 'init_module', 'finit_module', 'delete_module', 'kexec_load', 'kexec_file_load'],
  ...['reboot', 'iopl', 'ioperm'],
  // Holding the kernel still between its check and its use of memory: a tool of exploits.
  ...['userfaultfd'],
  // Another view of the file system, with a /dev/kvm in it, or files without their paths.
  ...['mount', 'umount2', 'move_mount', 'open_tree', 'mount_setattr', 'pivot_root', 'chroot'],
  ...['fsopen', 'fsconfig', 'fsmount', 'fspick', 'open_by_handle_at', 'setns', 'unshare'],
  // Memory of the monitor on a disk of one's choice. Guest memory is never swapped.
  ...['swapon', 'swapoff'],
];

/** Refused as if the kernel did not have them, since libraries then use what it has instead. */
const absentCalls = [
  // They make system calls that no filter sees.
  ...['io_uring_setup', 'io_uring_enter', 'io_uring_register'],
  // Its flags are in memory, where no filter sees them: glibc falls back to clone(2).
  ...['clone3'],
];

/** Rights over a namespace of one's own, and with them much more of the kernel to attack. */
const namespaces = [
  ...[numbers.CLONE_NEWUSER, numbers.CLONE_NEWNS, numbers.CLONE_NEWPID, numbers.CLONE_NEWNET],
  ...[numbers.CLONE_NEWIPC, numbers.CLONE_NEWUTS, numbers.CLONE_NEWCGROUP],
];

/** Keys pressed on the terminal by the program, which a shell would read once it is over. */
const typing = [numbers.TIOCSTI, numbers.TIOCLINUX];

/** The last system call of Linux 6.1. Nobody has looked at later ones: they are not there. */
const reviewedUpTo = 'set_mempolicy_home_node';

const { EPERM, ENOSYS } = constants.errno;
const allow = 0;
const kill = -1;

export interface LockdownOptions {
  /**
   * What stays possible of that which is refused by default. Each costs
   * something: with `EXMEM_SET_SHARED`, whatever takes the monitor over can ask
   * for private pages, unless the object's layout is sealed; with
   * `MEMVIEW_MAP_FD`, it can change what a view shows a guest; with `execve`, it
   * can start any program, which is as locked down as the monitor.
   */
  readonly allow?: readonly LockdownException[];
  /**
   * A refused call ends the process with SIGSYS, rather than fail with EPERM.
   * So does closing a `Vm`, whose slots are removed.
   */
  readonly kill?: boolean;
}

/**
 * Gives up, for every thread of this process and everything it will ever start,
 * what a running guest does not need and what reaches it: new virtual machines,
 * slots and vCPUs, KVM's access to registers and MSRs, debugging, kernel
 * modules, and more. It cannot be undone. Refused calls fail with `EPERM`.
 *
 * Call it when all guests are set up and sealed; vCPUs run on. Before it, close
 * the descriptors of their memory, and become a user with no other process who
 * may not open `/dev/kvm` (`process.setuid()`). What no filter can take away is
 * in docs/threat-model.md: read that first.
 *
 * @throws ExclusiveMemoryError `ESRCH` if a thread has a seccomp filter of its
 *   own: then none of them got this one.
 */
export function lockdown(options: LockdownOptions = {}): void {
  checkOptions(options, 'options');
  system.installFilter({ rules: rulesFor(options), reviewedUpTo, otherwise: ENOSYS });
}

function rulesFor({ allow: wanted = [], kill: killing = false }: LockdownOptions): NativeRule[] {
  checkArray(wanted, 'options.allow');
  checkBoolean(killing, 'options.kill');
  const allowed = new Set(
    wanted.map((name, i) => checkOneOf(name, `options.allow[${i}]`, exceptions)),
  );
  const refuse = killing ? kill : EPERM;
  const refused = allowed.has('execve') ? refusedCalls : [...refusedCalls, 'execve', 'execveat'];
  return [
    ...refused.map((syscall) => ({ syscall, action: refuse })),
    ...absentCalls.map((syscall) => ({ syscall, action: ENOSYS })),
    ...cloneRules(refuse),
    ...ioctlRules(allowed, refuse),
  ];
}

function cloneRules(refuse: number): NativeRule[] {
  const any = namespaces.reduce((flags, flag) => flags | flag, 0);
  const flags = (mask: number, value: number) => ({ index: 0, mask, value });
  return [
    { syscall: 'clone', action: allow, argument: flags(any, 0) },
    ...namespaces.map((flag) => ({
      syscall: 'clone',
      action: refuse,
      argument: flags(flag, flag),
    })),
  ];
}

/** The low half of an ioctl's number is its device's type and its number there; the rest, a size. */
const identityBits = 16;
const identityOf = (ioctl: number) => ioctl & 0xffff;

function ioctlRules(allowed: ReadonlySet<LockdownException>, refuse: number): NativeRule[] {
  const kept = new Set([...runningGuest, ...harmless].map(identityOf));
  for (const [name, number] of Object.entries(onRequest)) {
    if (allowed.has(name as LockdownException)) kept.add(identityOf(number));
  }
  const refusedElsewhere = new Set(typing.map(identityOf));
  const guarded = new Set([numbers.KVMIO, numbers.EXMEM_IOC_MAGIC]);
  const isAllowed = (identity: number) =>
    guarded.has(identity >> 8) ? kept.has(identity) : !refusedElsewhere.has(identity);

  // The kernel looks at 32 of the argument's 64 bits: a filter that compared all of them would
  // let a number through that has others set.
  const rule = (action: number) => (block: { mask: number; value: number }) => ({
    syscall: 'ioctl',
    action,
    argument: { index: 1, ...block },
  });
  return [
    ...blocksOf(isAllowed, identityBits).map(rule(allow)),
    ...blocksOf((identity) => !isAllowed(identity), identityBits).map(rule(refuse)),
  ];
}
