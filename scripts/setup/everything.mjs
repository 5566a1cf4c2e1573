// SPDX-License-Identifier: MIT
// What the commands need, in the order in which one part needs the other.

import { ensureAddon } from './addon.mjs';
import { ensureKernel } from './kernel.mjs';
import { ensureModules } from './module.mjs';
import { ensureNodeModules, ensureTypeScript } from './node.mjs';
import {
  addonPackages,
  ensurePackages,
  guestPackages,
  machinePackages,
  modulePackages,
  peerPackages,
} from './packages.mjs';

/** What a program needs where the module is loaded. */
export async function ensureLibrary() {
  await ensurePackages(addonPackages);
  await ensureNodeModules();
  await ensureAddon();
  await ensureTypeScript();
}

/**
 * What a virtual machine needs in addition.
 *
 * @param {string} kernelName
 */
export async function ensureMachine(kernelName) {
  await ensureModules(await ensureKernel(kernelName));
}

/** @param {string} kernelName */
export async function ensureEverything(kernelName) {
  // All packages at once: apt-get takes its time for each call.
  const packages = [addonPackages, modulePackages, machinePackages, peerPackages, guestPackages];
  await ensurePackages(packages.flat());
  await ensureLibrary();
  await ensureMachine(kernelName);
}
