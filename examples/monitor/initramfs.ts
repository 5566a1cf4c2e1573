// SPDX-License-Identifier: MIT
// The guest's first file system: busybox, and an init of our own (guest/).
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { built } from './built.js';
import { characterDevice, cpio, directory, program, symlink } from './cpio.js';

const busybox = '/bin/busybox';

/** The commands that busybox is. */
function applets(): string[] {
  try {
    return execFileSync(busybox, ['--list'], { encoding: 'utf8' }).trim().split('\n');
  } catch (cause) {
    throw new Error('Expected /bin/busybox: apt-get install busybox-static', { cause });
  }
}

export function buildInitramfs(): Buffer {
  return cpio([
    directory('bin'),
    directory('dev'),
    // Before init mounts anything, the kernel opens this as its standard streams.
    characterDevice('dev/console', 5, 1),
    directory('root'),
    program('init', readFileSync(built('init'))),
    program('bin/busybox', readFileSync(busybox)),
    ...applets()
      .filter((name) => name !== 'busybox')
      .map((name) => symlink(`bin/${name}`, 'busybox')),
  ]);
}
