// SPDX-License-Identifier: MIT
// A virtual machine monitor whose guest's memory nobody on the host can read, the
// monitor included: npm run example:monitor
import { arch } from 'node:os';
import { setTimeout } from 'node:timers/promises';
import { lockdown } from 'exclusive-memory/kvm';
import { counters } from '../evidence.js';
import { Report } from '../report.js';
import { attempts, attemptsOnKvm, attemptsOnSeals, type Secret } from './attempts.js';
import { commandLine } from './command-line.js';
import { ScriptedTypist, Terminal } from './console.js';
import { reportAttempts, reportMemory, reportSight } from './findings.js';
import { GuestLink } from './guest-link.js';
import { buildInitramfs } from './initramfs.js';
import { ensureInstructionBytes } from './instruction-bytes.js';
import { openKernelImage } from './kernel-image.js';
import { type Ending, Machine } from './machine.js';
import { memoryMap } from './memory-map.js';
import { help, type MonitorOptions, parseOptions } from './options.js';
import { OutsideWitness } from './outside-witness.js';
import { GuestGone, patiently } from './patience.js';
import { type GuestRam, KernelOnlyRam, PlainRam } from './ram.js';

/** EX_TEMPFAIL of sysexits.h: what happened has nothing to do with what is shown, and may not happen again. */
const tryAgain = 75;
const bootLimitMs = 240_000;
const answerLimitMs = 120_000;
const mib = 1 << 20;

async function run(options: MonitorOptions): Promise<number> {
  const report = new Report();
  const countersAtFirst = counters();
  report.section('The machine');
  const kernel = openKernelImage(options.kernel);
  const initramfs = buildInitramfs();
  const map = memoryMap(options.memoryBytes, initramfs.length);
  report.fact('kernel, as it is', kernel.path);
  report.fact('memory', `${options.memoryBytes / mib} MiB, ${options.plain ? 'ordinary, to compare' : 'kernel-only'}`);
  report.fact('processors', `${options.processors}, ${arch()}`);
  if (!options.plain) report.fact('instructions that KVM emulates are decoded', ensureInstructionBytes());

  {
    using ram: GuestRam = (options.plain ? PlainRam : KernelOnlyRam).create(options.memoryBytes);
    await using machine = new Machine({ processors: options.processors, ram });
    await machine.load(kernel, map, initramfs, commandLine(machine.tscKhz, map));
    using link = new GuestLink(machine, ram, map.window);
    await live(options, report, ram, machine, link);
  }
  report.section('Afterwards');
  report.claim('nothing is left', counters() === countersAtFirst, counters());
  return report.finish();
}

/** From the first instruction to the last. */
async function live(
  options: MonitorOptions,
  report: Report,
  ram: GuestRam,
  machine: Machine,
  link: GuestLink,
): Promise<void> {
  const ended = new Promise<Ending>((resolve) => machine.once('end', resolve));
  const gone = ended.then((ending): never => {
    throw new GuestGone(`The guest is gone: ${ending.kind === 'failure' ? ending.reason : ending.kind}`);
  });
  gone.catch(() => undefined);
  machine.on('serial', (bytes) => process.stdout.write(bytes));

  const started = performance.now();
  const hello = link.next('hello');
  machine.start();
  const system = await patiently('the guest boots', hello, bootLimitMs, gone);
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  report.claim('Linux boots, and says hello through the window', true, `${system}, after ${seconds} s`);

  const answer = await patiently('the guest makes a secret', link.ask('secret', 'secret'), answerLimitMs, gone);
  const secret = parseSecret(answer);
  report.claim(
    'its init has made a secret of 4096 random bytes',
    true,
    `at 0x${secret.address.toString(16)} of its memory`,
  );
  if (ram instanceof KernelOnlyRam) {
    reportMemory(report, ram);
    reportAttempts(report, await attemptsOnSeals(ram, secret));
  }
  report.section(`The monitor ${options.plain ? 'reads' : 'tries to read'} the guest’s secret`);
  reportAttempts(report, await attempts(ram, secret), options.plain);
  const witness = OutsideWitness.find();
  if (witness) reportSight(report, await witness.look(secret.inverted), secret, options.plain);
  else report.fact('a witness from outside', 'none: this machine is not in another one');

  report.section('The monitor gives up what only the launch needed');
  lockdown();
  reportAttempts(report, await attemptsOnKvm(machine));

  const ending = await converse(options, machine, link, ended);
  report.section('The end');
  const how = ending.kind === 'failure' ? ending.reason : ending.kind;
  report.claim('the guest has ended its machine', ending.kind !== 'failure', how);
}

/** The guest's shell, until the machine is off. */
async function converse(
  { commands }: MonitorOptions,
  machine: Machine,
  link: GuestLink,
  ended: Promise<Ending>,
): Promise<Ending> {
  const type = (bytes: Uint8Array) => { machine.type(bytes); };
  console.log(`\nThe guest's shell; "poweroff" ends it${commands ? '' : ', and so does Ctrl-]'}.\n`);
  link.onSay = (text) => { process.stdout.write(`\r\n[through the window: ${text}]\r\n`); };
  if (commands) {
    const typist = new ScriptedTypist(commands, type);
    machine.on('serial', (bytes) => { typist.saw(bytes); });
    await link.send('shell');
    return patiently('the guest runs commands', ended, answerLimitMs);
  }
  await link.send('shell');
  using terminal = new Terminal(type);
  return await Promise.race([ended, terminal.escaped.then(() => powerOff(link, ended))]);
}

/** Whatever state the guest is in. */
async function powerOff(link: GuestLink, ended: Promise<Ending>): Promise<Ending> {
  const inVain = setTimeout(answerLimitMs, { kind: 'failure', reason: 'it does not listen' } as const, { ref: false });
  return Promise.race([inVain, link.send('power-off').then(() => ended)]);
}

function parseSecret(message: string): Secret {
  const [, address, inverted] = /^([0-9a-f]+) ([0-9a-f]{8192})$/.exec(message) ?? [];
  if (address === undefined || inverted === undefined) {
    throw new Error(`Expected a secret of the guest, received ${message.length} characters`);
  }
  return { address: parseInt(address, 16), inverted };
}

try {
  const options = parseOptions(process.argv.slice(2));
  if (options) process.exitCode = await run(options);
  else console.log(help);
} catch (error) {
  if (!(error instanceof GuestGone)) throw error;
  console.error(`\n${error.message}`);
  process.exitCode = tryAgain;
}
