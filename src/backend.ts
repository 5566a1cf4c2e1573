// SPDX-License-Identifier: MIT
import { existsSync } from 'node:fs';
import { Descriptor } from './descriptor.js';
import { createRestrictedMemfd, devicePath, viewDevicePath, withDevice } from './device.js';
import { ExclusiveMemoryError, misuse } from './errors.js';
import type { BackendName } from './guarantees.js';
import { native } from './native.js';
import { system } from './system.js';
import { checkOneOf } from './validate.js';

/**
 * `require`: the kernel module or an error. `prefer`: the kernel module, or
 * memfd_secret(2) with a warning, or an error.
 */
export type Policy = 'require' | 'prefer';

/** Why a backend cannot be used, and what changes that. */
export interface Problem {
  /** The errno's name, or `ERR_EXMEM_UNAVAILABLE`. */
  readonly code: string;
  readonly reason: string;
  /** A command, or what to do. */
  readonly remedy: string;
}

export interface Backend {
  readonly name: BackendName;
  /** Undefined if it can be used. */
  problem(): Problem | undefined;
  /** New memory of `size` bytes. */
  create(size: number, name: string): Descriptor;
  /** Takes the memory from every holder, where the backend can. */
  destroy(fd: number): void;
}

export const moduleBackend: Backend = {
  name: 'module',
  problem() {
    try {
      const version = withDevice(system.getVersion);
      const wanted = native.constants.API_VERSION;
      if (version >= wanted) return undefined;
      return {
        code: 'ERR_EXMEM_UNAVAILABLE',
        reason: `the module speaks version ${version} of the API, and ${wanted} is needed`,
        remedy: 'load the module of this version of the package: rmmod, then modprobe exclusive_memory',
      };
    } catch (error) {
      return problemOf(error, deviceRemedy(devicePath));
    }
  },
  create: (size, name) => createRestrictedMemfd({ size, name }),
  destroy: system.destroy,
};

/** Why memory views cannot be used; undefined if they can. */
export function memoryViewProblem(): Problem | undefined {
  try {
    withDevice(() => undefined, viewDevicePath);
    return undefined;
  } catch (error) {
    return problemOf(error, deviceRemedy(viewDevicePath));
  }
}

function deviceRemedy(path: string) {
  return (code: string): readonly [reason: string, remedy: string] => {
    if (code === 'EACCES' || code === 'EPERM') {
      return [
        `this user may not open ${path}`,
        'usermod --append --groups exclusive_memory USER, then log in again; or run as root',
      ];
    }
    if (code === 'ENOENT' && path !== devicePath && existsSync(devicePath)) {
      return [
        `the loaded module is older than ${path}`,
        'load the module of this version of the package: rmmod, then modprobe exclusive_memory',
      ];
    }
    if (code === 'ENOENT' && existsSync('/sys/module/exclusive_memory')) {
      return [`the module is loaded, but ${path} is missing here`, 'make /dev available'];
    }
    if (code === 'ENOENT' || code === 'ENXIO' || code === 'ENODEV') {
      return ['the kernel module is not loaded', 'modprobe exclusive_memory'];
    }
    return [`${path} does not work`, 'look for "exclusive_memory" in the kernel log: dmesg'];
  };
}

export const memfdSecretBackend: Backend = {
  name: 'memfd_secret',
  problem() {
    try {
      new Descriptor(system.memfdSecret()).close();
      return undefined;
    } catch (error) {
      return problemOf(error, memfdSecretRemedy);
    }
  },
  create(size) {
    using memory = new Descriptor(system.memfdSecret());
    system.ftruncate(memory.fd, size);
    return Descriptor.take(memory);
  },
  // It has no such call: the last close() frees it.
  destroy: () => undefined,
};

function memfdSecretRemedy(code: string): readonly [reason: string, remedy: string] {
  if (code === 'ENOSYS') {
    return [
      'the kernel has memfd_secret(2) neither built in nor enabled',
      'boot with "secretmem.enable=1" on the kernel command line',
    ];
  }
  return ['memfd_secret(2) is refused', 'allow the system call in the sandbox of this process'];
}

function problemOf(
  error: unknown,
  explain: (code: string) => readonly [reason: string, remedy: string],
): Problem {
  if (!(error instanceof ExclusiveMemoryError)) throw error;
  const [reason, remedy] = explain(error.code);
  return { code: error.code, reason, remedy };
}

export function checkPolicy(policy: Policy): Policy {
  return checkOneOf(policy, 'policy', ['require', 'prefer']);
}

/** The best backend that the policy allows and the machine has. */
export function chooseBackend(
  policy: Policy,
  [strong, weak]: readonly [Backend, Backend] = [moduleBackend, memfdSecretBackend],
): Backend {
  const problem = strong.problem();
  if (problem === undefined) return strong;
  if (policy === 'require') throw unavailable([[strong, problem]]);
  const second = weak.problem();
  if (second !== undefined) {
    throw unavailable([
      [strong, problem],
      [weak, second],
    ]);
  }
  warnOnce(problem);
  return weak;
}

function unavailable(problems: readonly (readonly [Backend, Problem])[]): ExclusiveMemoryError {
  const lines = problems.map(
    ([{ name }, { code, reason, remedy }]) => `\n  ${name}: ${reason} (${code}). To fix: ${remedy}`,
  );
  return misuse(
    'ERR_EXMEM_UNAVAILABLE',
    `No exclusive memory that the policy allows can be had on this machine:${lines.join('')}`,
  );
}

let warned = false;

function warnOnce({ reason, remedy }: Problem): void {
  if (warned) return;
  warned = true;
  process.emitWarning(
    `Secrets fall back to memfd_secret(2), which promises less: ${reason}. To fix: ${remedy}`,
    { type: 'ExclusiveMemoryWarning', code: 'EXMEM_FALLBACK' },
  );
}
