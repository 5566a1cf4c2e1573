// SPDX-License-Identifier: MIT
import { readFileSync } from 'node:fs';
import { release, totalmem } from 'node:os';
import {
  type Backend,
  memfdSecretBackend,
  memoryViewProblem,
  moduleBackend,
  type Problem,
} from './backend.js';
import { withDevice } from './device.js';
import { type BackendName, type Guarantees, guarantees } from './guarantees.js';
import { system } from './system.js';

export interface Availability {
  readonly available: boolean;
  /** Why not, and the command that fixes it. */
  readonly problem?: Problem;
}

export interface BackendReport extends Availability {
  /** What holds for memory of this backend, where it is available. */
  readonly guarantees: Guarantees;
}

export interface Capabilities {
  /** As `uname -r` prints it. */
  readonly kernelRelease: string;
  /** Of the loaded module. */
  readonly apiVersion: number | undefined;
  readonly backends: Readonly<Record<BackendName, BackendReport>>;
  /** Whether {@link MemoryView}s can be made; a {@link ViewHandle} works everywhere. */
  readonly memoryViews: Availability;
  readonly limits: Limits;
}

export interface Limits {
  /** RLIMIT_MEMLOCK in bytes, which mappings count against: getrlimit(2). */
  readonly memlock: { readonly soft: number; readonly hard: number };
  /** With CAP_IPC_LOCK the limit above does not apply: capabilities(7). */
  readonly memlockExempt: boolean;
  /**
   * What the module lets the whole machine hold: its parameter `limit_bytes`,
   * or half of the memory if that is 0, the default. Undefined without it.
   */
  readonly machineBytes: number | undefined;
}

/** What this machine offers, probed anew at every call. */
export function capabilities(): Capabilities {
  const module = report(moduleBackend);
  return {
    kernelRelease: release(),
    apiVersion: module.available ? withDevice(system.getVersion) : undefined,
    backends: { module, memfd_secret: report(memfdSecretBackend) },
    memoryViews: availability(memoryViewProblem()),
    limits: {
      memlock: system.memlockLimit(),
      memlockExempt: hasIpcLock(),
      machineBytes: machineLimit(),
    },
  };
}

function report(backend: Backend): BackendReport {
  return { ...availability(backend.problem()), guarantees: guarantees[backend.name] };
}

function availability(problem: Problem | undefined): Availability {
  return { available: problem === undefined, ...(problem && { problem }) };
}

/** CAP_IPC_LOCK of linux/capability.h. */
const ipcLockBit = 14n;

function hasIpcLock(): boolean {
  const mask = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
  return mask !== undefined && ((BigInt(`0x${mask}`) >> ipcLockBit) & 1n) === 1n;
}

function machineLimit(): number | undefined {
  let parameter;
  try {
    parameter = readFileSync('/sys/module/exclusive_memory/parameters/limit_bytes', 'utf8');
  } catch {
    return undefined;
  }
  return Number(parameter) === 0 ? totalmem() / 2 : Math.min(Number(parameter), totalmem());
}
