// SPDX-License-Identifier: MIT
// Does what its second argument says, one step after the other, and prints what
// came of each: it locks itself down, and then is code that has taken it over.
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { lockdown } from '#internal/kvm/lockdown.js';
import { ExclusiveMemoryError } from 'exclusive-memory';
import { CallingWorker } from './calling-worker.js';
import type { Hostile, Word } from './hostile.js';
import { LockedGuest } from './locked-guest.js';
import type { Place, Step } from './lockdown-steps.js';
import { nodeWorks } from './node-works.js';

const [addon = '', stepsText = '[]'] = process.argv.slice(2);
const hostile = createRequire(import.meta.url)(addon) as Hostile;
const wordsOf = (words: readonly Word[]) => words.map((word) => BigInt(word));

// These threads are there when the lockdown comes.
const worker = new CallingWorker(addon);
await Promise.all([worker.call([39n]), readFile('/proc/self/stat')]);

let laterWorker: CallingWorker | undefined;

async function callFrom(place: Place, words: bigint[]): Promise<number> {
  switch (place) {
    case 'main':
      return hostile.call(...words);
    case 'worker':
      return worker.call(words);
    case 'later worker':
      laterWorker ??= new CallingWorker(addon);
      return await laterWorker.call(words);
    case 'pool':
      return hostile.callInPool(...words);
    case 'new thread':
      return hostile.callOnNewThread(...words);
  }
}

/** In memory that all threads have. */
const kvmPath = new Uint8Array(new SharedArrayBuffer(16));
kvmPath.set(Buffer.from('/dev/kvm\0'));
const openForBoth = 2n;

const open = (place: Place) => callFrom(place, [2n, hostile.addressOf(kvmPath), openForBoth]);

let guest: LockedGuest | undefined;

function theGuest(): LockedGuest {
  if (guest === undefined) throw new Error('the test forgot a step');
  return guest;
}

async function perform(step: Step): Promise<unknown> {
  switch (step.do) {
    case 'lockdown':
      lockdown(step.options);
      return 'locked';
    case 'call':
      return callFrom(step.from, wordsOf(step.words));
    case 'every ioctl': {
      const others = BigInt(step.others);
      const ioctl = (low: number) => hostile.call(16n, -1n, others | BigInt(low), 0n);
      return Array.from({ length: 0x1_0000 }, (_, low) => ioctl(low));
    }
    case 'call of i386':
      return hostile.callOfI386(BigInt(step.number));
    case 'strict thread':
      hostile.strictThread();
      return 'started';
    case 'threads':
      return readdirSync('/proc/self/task').map((task) => {
        const status = readFileSync(`/proc/self/task/${task}/status`, 'utf8');
        return [/^NoNewPrivs:\t(.*)$/m, /^Seccomp:\t(.*)$/m].map((line) => line.exec(status)?.[1]);
      });
    case 'exec':
      return spawnSync('/bin/true').error?.message ?? 'ran';
    case 'in a child': {
      const args = [process.argv[1] ?? '', addon, JSON.stringify(step.steps)];
      const { stdout, error } = spawnSync(process.execPath, args, { encoding: 'utf8' });
      if (error) throw error;
      return JSON.parse(`[${stdout.trim().split('\n').join(',')}]`) as unknown;
    }
    case 'use Node':
      return nodeWorks();
    case 'become nobody':
      process.setgroups?.([]);
      process.setgid?.(65534);
      process.setuid?.(65534);
      return 'nobody';
    case 'open /dev/kvm':
      return open(step.from);
    case 'start the guest':
      guest = await LockedGuest.start();
      return 'started';
    case 'guest goes on':
      return theGuest().goesOn();
    case 'KVM call': {
      const fd = step.of === 'kvm' ? await open('main') : theGuest().descriptor(step.of);
      return callFrom(step.from, [16n, BigInt(fd), BigInt(step.ioctl), 0n]);
    }
    case 'use the API':
      return theGuest().tryAll();
    case 'steer the guest':
      return theGuest().steered((...registers) => {
        hostile.steer(...registers);
      });
    case 'end the guest':
      return theGuest().end();
  }
}

for (const step of JSON.parse(stepsText) as Step[]) {
  try {
    console.log(JSON.stringify(await perform(step)));
  } catch (error) {
    if (!(error instanceof ExclusiveMemoryError)) throw error;
    console.log(JSON.stringify([error.code, error.syscall].join(' ').trim()));
  }
}
// Workers, and a thread that waits for ever, are not waited for.
process.exit();
