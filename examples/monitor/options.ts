// SPDX-License-Identifier: MIT
import { release } from 'node:os';
import { parseArgs } from 'node:util';

export const help = `Usage: npm run example:monitor -- [OPTION...]

Boots a Linux kernel on memory that only it can read, shows what everybody else gets, and gives you its shell. Without a
terminal, it types some commands there. Ctrl-] ends it at any time.

  --kernel FILE      a bzImage (default: the one that runs)
  --memory MIB       (default: 160)
  --cpus N           (default: 1)
  --command COMMAND  type this in the guest's shell; can be repeated (default: some that show something)
  --plain            ordinary memory, to compare
  --help
`;

const defaults = [
  'uname -sr',
  'grep MemTotal /proc/meminfo',
  'echo Greetings from the shell > /run/monitor',
  'poweroff',
];

export interface MonitorOptions {
  readonly kernel: string;
  readonly memoryBytes: number;
  readonly processors: number;
  /** None: somebody is at the terminal. */
  readonly commands: readonly string[] | undefined;
  readonly plain: boolean;
}

/** Undefined: only the help is wanted. */
export function parseOptions(args: string[]): MonitorOptions | undefined {
  const { values } = parseArgs({
    args,
    options: {
      kernel: { type: 'string', default: `/boot/vmlinuz-${release()}` },
      memory: { type: 'string', default: '160' },
      cpus: { type: 'string', default: '1' },
      command: { type: 'string', multiple: true },
      interactive: { type: 'boolean', default: process.stdin.isTTY && process.stdout.isTTY },
      plain: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return undefined;
  return {
    kernel: values.kernel,
    memoryBytes: wholeNumber('--memory', values.memory, 96, 3072) << 20,
    processors: wholeNumber('--cpus', values.cpus, 1, 64),
    commands: values.command ?? (values.interactive ? undefined : defaults),
    plain: values.plain,
  };
}

function wholeNumber(option: string, value: string, least: number, most: number): number {
  const number = /^\d+$/.test(value) ? Number(value) : NaN;
  if (number >= least && number <= most) return number;
  throw new RangeError(`Expected a whole number from ${least} to ${most} for ${option}, received "${value}"`);
}
