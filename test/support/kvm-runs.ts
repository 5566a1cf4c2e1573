// SPDX-License-Identifier: MIT
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { programOfSupport } from './paths.js';

export type Ending = 'exit' | 'exit-in-handler' | 'throw' | 'kill' | 'stop-later';

/** Runs kvm-process.ts, and says how it ended. */
export async function runKvmProcess(how: Ending) {
  const child = spawn(process.execPath, [programOfSupport('kvm-process'), how]);
  let said = '';
  const hear = (chunk: Buffer) => { said += chunk.toString(); };
  child.stdout.on('data', hear);
  child.stderr.on('data', hear);
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  return { code, signal, said };
}
