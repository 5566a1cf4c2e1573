// SPDX-License-Identifier: MIT
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../../..', import.meta.url));

/** A file of test/peers/ that is not compiled. */
export const sourceOfPeer = (name: string) => path.join(root, 'test/peers', name);

/** A C program of test/peers/, which `make -C test/peers` has built. */
export const programOfPeer = (name: string) => path.join(root, 'build/test-peers', name);
