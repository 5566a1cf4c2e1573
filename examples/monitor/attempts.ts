// SPDX-License-Identifier: MIT
// What the monitor itself gets when it tries to read the guest's secret: in every
// way that a process has.
import { closeSync, openSync, readSync } from 'node:fs';
import { SlotMapping } from 'exclusive-memory/kvm';
import { lookAt } from '../evidence.js';
import { loadIntruder } from './intruder.js';
import type { Machine } from './machine.js';
import type { GuestRam, KernelOnlyRam } from './ram.js';
import { slotAddress } from './slot-address.js';

export interface Attempt {
  /** What is attempted. */
  readonly claim: string;
  readonly call: string;
  /** The name of the errno or signal, or `'the secret'`, or what else was found. */
  readonly outcome: string;
  /** What it is where the secret stays where it is. */
  readonly refusal: string;
}

export interface Secret {
  /** Guest-physical. */
  readonly address: number;
  /** Hexadecimal. */
  readonly inverted: string;
}

const pageSize = 4096;

export async function attempts(ram: GuestRam, secret: Secret): Promise<Attempt[]> {
  const address = slotAddress(ram.mapName, ram.size) + BigInt(secret.address);
  const firstByte = ~parseInt(secret.inverted.slice(0, 2), 16) & 0xff;
  const name = (found: number | string) =>
    typeof found === 'string' ? found
    : found === firstByte ? 'the secret'
    : `the byte 0x${found.toString(16)}`;

  const intrude = loadIntruder();
  const [other] = await lookAt([address.toString(16)]);
  const byte = Buffer.alloc(1);
  return [
    {
      claim: 'a load of its own',
      call: 'mov',
      outcome: name(intrude('load', address)),
      refusal: 'SIGSEGV',
    },
    {
      claim: 'a store',
      call: 'lock or',
      outcome: name(intrude('store', address)),
      refusal: 'SIGSEGV',
    },
    {
      claim: 'writing it to a pipe',
      call: 'write(2)',
      outcome: name(intrude('write', address)),
      refusal: 'EFAULT',
    },
    {
      claim: 'reading other bytes to its place',
      call: 'read(2)',
      outcome: name(intrude('read', address)),
      refusal: 'EFAULT',
    },
    {
      claim: 'copying it from the process to itself',
      call: 'process_vm_readv(2)',
      outcome: name(intrude('process_vm_readv', address)),
      refusal: 'EFAULT',
    },
    {
      claim: 'more rights on its mapping',
      call: 'mprotect(2)',
      outcome: name(intrude('mprotect', address)),
      refusal: 'EACCES',
    },
    {
      claim: 'the process’s memory as a file',
      call: '/proc/self/mem',
      outcome: name(attempt(() => readAt('/proc/self/mem', byte, address))),
      refusal: 'EIO',
    },
    {
      claim: 'the descriptor as a file',
      call: 'pread(2)',
      outcome: name(attempt(() => readAt(ram.fd, byte, BigInt(secret.address)))),
      refusal: 'ESPIPE',
    },
    {
      claim: 'another mapping, for reading',
      call: 'mmap(2)',
      outcome: name(attempt(() => mapAgain(ram, secret))),
      refusal: 'EBUSY',
    },
    {
      claim: 'a window on what is not shared',
      call: 'memory view',
      outcome: name(attempt(() => (ram.window.read(secret.address, byte), byte))),
      refusal: 'ERR_EXMEM_REVOKED',
    },
    ...(
      [
        ['proc_mem', '/proc/PID/mem', 'EIO'],
        ['process_vm_readv', 'process_vm_readv(2)', 'EFAULT'],
        ['ptrace', 'ptrace(2)', 'EIO'],
      ] as const
    ).map(([way, call, refusal]) => ({
      claim: 'another process of root',
      call,
      outcome: other?.[way] === 'read' ? 'the secret' : (other?.[way] ?? 'nothing'),
      refusal,
    })),
  ];
}

/** To put a page of its own over one of the guest's, and to make that shared. */
export async function attemptsOnSeals({ memory }: KernelOnlyRam, secret: Secret): Promise<Attempt[]> {
  const page = secret.address - (secret.address % pageSize);
  const populated = memory.populate(Buffer.alloc(pageSize), { at: page });
  return [
    {
      claim: 'after the seal, putting something into it',
      call: 'EXMEM_POPULATE',
      outcome: await populated.then(() => 'done', codeOf),
      refusal: 'EPERM',
    },
    {
      claim: 'and making it shared',
      call: 'EXMEM_SET_SHARED',
      outcome: outcomeOf(() => { memory.share(page, pageSize); }),
      refusal: 'EPERM',
    },
  ];
}

/** What it can do no more after it has locked itself down, with the guest running. */
export async function attemptsOnKvm(machine: Machine): Promise<Attempt[]> {
  return [
    {
      claim: 'another virtual machine',
      call: 'KVM_CREATE_VM',
      outcome: outcomeOf(() => { machine.createAnother(); }),
      refusal: 'EPERM',
    },
    {
      claim: 'the registers of the guest’s processor',
      call: 'KVM_GET_REGS',
      outcome: await machine.readRegisters().then(() => 'done', codeOf),
      refusal: 'EPERM',
    },
  ];
}

function outcomeOf(work: () => void): string {
  try {
    work();
    return 'done';
  } catch (error) {
    return codeOf(error);
  }
}

/** The first byte of what an attempt finds, or the code of its error. */
function attempt(work: () => Uint8Array): number | string {
  try {
    return work()[0] ?? 'nothing';
  } catch (error) {
    return codeOf(error);
  }
}

/** Of a system call that failed; what else is wrong is no outcome. */
function codeOf(error: unknown): string {
  const { code } = error as { code?: unknown };
  if (typeof code === 'string') return code;
  throw error;
}

function readAt(file: string | number, into: Buffer, position: bigint): Buffer {
  const fd = typeof file === 'number' ? file : openSync(file, 'r');
  try {
    return into.subarray(0, readSync(fd, into, 0, into.length, position));
  } finally {
    if (typeof file === 'string') closeSync(fd);
  }
}

/** If there can be a second mapping to read, it shows what the window of ordinary memory does. */
function mapAgain(ram: GuestRam, secret: Secret): Buffer {
  using _mapping = SlotMapping.of(ram, { size: ram.size, access: 'read' });
  const byte = Buffer.alloc(1);
  ram.window.read(secret.address, byte);
  return byte;
}
