// SPDX-License-Identifier: MIT
// What is compiled from C: scripts/setup/monitor.mjs.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export function built(name: 'init' | 'intruder.node'): string {
  const path = fileURLToPath(new URL(`../../../monitor/${name}`, import.meta.url));
  if (!existsSync(path)) throw new Error(`Expected ${path}: "npm run example:monitor" builds it`);
  return path;
}
