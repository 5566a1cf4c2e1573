// SPDX-License-Identifier: MIT
// The program that the tests of Secret.prompt() run on a pseudo-terminal. It
// writes "= " and the secret's bytes in hex, or "! " and the error's code; once,
// or until it is told "bye".
import { Secret } from 'exclusive-memory';
import { policy } from './policy.js';

const [mode] = process.argv.slice(2);

async function ask(): Promise<string> {
  const controller = new AbortController();
  if (mode === 'abort') setTimeout(() => { controller.abort(); }, 300);
  if (mode === 'exit') setTimeout(() => process.exit(7), 300);
  if (mode === 'listen') process.on('SIGTERM', () => process.exit(9));
  if (mode === 'survive') process.on('SIGHUP', () => undefined);
  const ticks = mode === 'ticks' ? setInterval(() => process.stderr.write('tick '), 20) : undefined;
  try {
    using secret = await Secret.prompt({
      policy,
      message: 'Say it: ',
      signal: controller.signal,
      ...(mode === 'fd' && { fd: 1 }),
    });
    return `= ${secret.use((bytes) => Buffer.from(bytes).toString('hex'))}`;
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const { code, syscall } = error as NodeJS.ErrnoException;
    return `! ${code ?? error.name} ${syscall ?? ''}`;
  } finally {
    clearInterval(ticks);
  }
}

let result;
do {
  result = await ask();
  process.stdout.write(`${result}\n`);
} while (mode === 'again' && result !== `= ${Buffer.from('bye').toString('hex')}`);
