// SPDX-License-Identifier: MIT
// Debian packages.

import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';

import { Failure } from './failure.mjs';
import { ensure } from './steps.mjs';

/** @typedef {import('./steps.mjs').Run} Run */

/** To build the addon. */
export const addonPackages = ['cmake', 'g++', 'libseccomp-dev', 'make'];

/** To build a module for Debian's kernel 6.1. */
export const modulePackages = ['gcc', 'libc6-dev', 'linux-headers-amd64', 'make'];

/** To unpack a kernel and to boot it. */
export const machinePackages = ['gcc', 'kmod', 'libc6-dev', 'qemu-system-x86', 'xz-utils'];

/** What the tour and the tests run as others: peers, a file system. */
export const peerPackages = ['e2fsprogs', 'python3'];

/** What a guest's first file system is made of. */
export const guestPackages = ['busybox-static', 'gcc', 'libc6-dev'];

/** To unpack the kernel's sources. */
export const kernelSourcePackages = ['linux-source-6.1', 'tar', 'xz-utils'];

/** To build the debug kernel. */
export const debugKernelPackages = [
  ...['bc', 'bison', 'flex', 'gcc', 'kmod', 'libc6-dev', 'libelf-dev', 'make'],
  ...kernelSourcePackages,
];

/** To check the module as the kernel's own code is checked. */
export const stylePackages = ['perl', 'sparse', ...kernelSourcePackages];

/** @param {string[]} packages */
export async function ensurePackages(packages) {
  const wanted = [...new Set(packages)].sort();
  await ensure({
    title: 'system packages',
    name: 'packages',
    isDone: () => missing(wanted).length === 0,
    work: (run) => installPackages(run, missing(wanted)),
  });
}

/** @param {string[]} packages */
function missing(packages) {
  if (!existsSync('/usr/bin/dpkg-query')) {
    throw new Failure(
      `Expected a Debian 12 system, received one without dpkg. Install what corresponds to: ${packages.join(' ')}`,
    );
  }
  // Its status is not zero when a package is unknown: what it prints is the answer.
  const { stdout } = spawnSync(
    'dpkg-query',
    ['--show', '--showformat', '${Package} ${db:Status-Status}\n', ...packages],
    { encoding: 'utf8' },
  );
  const installed = new Set(
    stdout.split('\n').filter((line) => line.endsWith(' installed')).map((line) => line.split(' ')[0]),
  );
  return packages.filter((name) => !installed.has(name));
}

/**
 * Installs packages, or their latest version.
 *
 * @param {Run} run
 * @param {string[]} packages
 * @param {{ listsAreStale?: boolean }} [options]
 */
export async function installPackages(run, packages, { listsAreStale = false } = {}) {
  const prefix = rootPrefix(packages);
  /** @param {string[]} args */
  const aptGet = (...args) => {
    const [command = '', ...rest] = [
      ...prefix, 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', '-o', 'DPkg::Lock::Timeout=120', ...args,
    ];
    return run(command, rest);
  };
  const install = () => aptGet('install', '--yes', '--no-install-recommends', ...packages);
  if (!listsAreStale && hasCandidates(packages)) {
    try {
      await install();
      return;
    } catch (error) {
      if (!(error instanceof Failure)) {
        throw error;
      }
      // Lists that are older than the archive name files that are no longer there: read them anew.
    }
  }
  await aptGet('update');
  await install();
}

/** @param {string[]} packages */
function hasCandidates(packages) {
  const { stdout } = spawnSync('apt-cache', ['policy', ...packages], { encoding: 'utf8' });
  return (stdout.match(/^ {2}Candidate: (?!\(none\))/gm) ?? []).length === packages.length;
}

/**
 * What to put before a command that needs root.
 *
 * @param {string[]} packages
 */
function rootPrefix(packages) {
  if (process.getuid?.() === 0) {
    return [];
  }
  // On a terminal sudo may ask for the password now; later it would have nobody to ask.
  const mayUseSudo = spawnSync('sudo', ['-n', 'true']).status === 0
    || (process.stdin.isTTY && spawnSync('sudo', ['-v'], { stdio: 'inherit' }).status === 0);
  if (!mayUseSudo) {
    const command = `apt-get update && apt-get install --yes --no-install-recommends ${packages.join(' ')}`;
    throw new Failure(`expected to be root or to be allowed to use sudo. Run this as root, then start again:\n\n    ${command}`);
  }
  return ['sudo', '-n'];
}
