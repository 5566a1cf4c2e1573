// SPDX-License-Identifier: MIT
// Runs the monitor in a virtual machine, with a witness outside.
import { isEmulatorFailure, MachineWithWitness } from './machine-with-witness.js';

const attempts = 3;
/** The machine goes first, and then its files. */
const signals = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;

async function run(args: readonly string[]): Promise<number> {
  await using machine = new MachineWithWitness(args, {
    onOutput: (bytes) => process.stdout.write(bytes),
  });
  const end = (signal: NodeJS.Signals) => { machine.kill(signal); };
  const onKey = (bytes: Buffer) => { machine.type(bytes); };
  signals.forEach((signal) => process.once(signal, end));
  const interactive = process.stdin.isTTY && process.stdout.isTTY;
  if (interactive) {
    process.stdin.setRawMode(true);
    process.stdin.on('data', onKey).resume();
  }
  try {
    return await machine.status();
  } finally {
    signals.forEach((signal) => process.off(signal, end));
    if (interactive) {
      process.stdin.setRawMode(false);
      process.stdin.off('data', onKey).pause();
    }
  }
}

const args = process.argv.slice(2);
const interactive = process.stdin.isTTY && process.stdout.isTTY ? ['--interactive'] : [];
let status = 0;
for (let left = attempts; left > 0; left--) {
  status = await run([...interactive, ...args]);
  if (!isEmulatorFailure(status)) break;
  if (left > 1) {
    console.error(`\nThe emulated processor failed, as it does on any memory (status ${status}): once more.`);
  }
}
process.exitCode = status;
