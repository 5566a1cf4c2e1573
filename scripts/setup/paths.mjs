// SPDX-License-Identifier: MIT
// Where things are: in the checkout, and in the cache that several checkouts share.

import { homedir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The checkout, without a trailing slash. */
export const root = path.resolve(fileURLToPath(new URL('../..', import.meta.url)));

/** Everything that is built in this checkout. */
export const buildDirectory = path.join(root, 'build');

const { EXMEM_CACHE, XDG_CACHE_HOME = path.join(homedir(), '.cache') } = process.env;

/** Kernels: large, slow to get, and the same for every checkout. */
export const cacheDirectory = path.resolve(EXMEM_CACHE ?? path.join(XDG_CACHE_HOME, 'exclusive-memory'));

/** @param {...string} parts */
export const inBuild = (...parts) => path.join(buildDirectory, ...parts);

/** @param {...string} parts */
export const inCache = (...parts) => path.join(cacheDirectory, ...parts);
