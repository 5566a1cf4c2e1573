// SPDX-License-Identifier: MIT
// From the start of a virtual machine to the status of the command that it ran.

import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';

import { moduleDirectory } from '../../scripts/setup/module.mjs';
import { Conversation } from './conversation.mjs';
import { findReport, lastLines } from './kernel-log.mjs';
import { startMachine } from './machine.mjs';
import { isInteractive } from './streams.mjs';

/**
 * @typedef {import('../../scripts/setup/kernel.mjs').Kernel} Kernel
 * @typedef {NonNullable<ReturnType<typeof import('./options.mjs').parseOptions>['options']>} Options
 *
 * @typedef {object} Outcome
 * @property {number | undefined} status of COMMAND
 * @property {boolean} timedOut
 * @property {string} log of the kernel
 * @property {string} complaints of QEMU
 */

const STATUS_KERNEL_REPORT = 86;
const STATUS_NO_STATUS = 87;
const STATUS_TIMEOUT = 124;

/** How long a guest may take to switch off after it has said its status. */
const POWER_OFF_MS = 10_000;

/** Devices that the package's udev rule gives to a group. */
const USER_DEVICES = ['exclusive_memory', 'exclusive_guest', 'memory-view', 'kvm'];

/**
 * @param {Kernel} kernel
 * @param {string} initramfs
 * @param {string[]} command
 * @param {Options} options
 * @returns {Promise<number>} the runner's status
 */
export async function runInMachine(kernel, initramfs, command, options) {
  const files = makeFiles(options.console);
  process.once('exit', files.remove);
  try {
    return verdict(await converse(kernel, initramfs, files, command, options), options);
  } finally {
    process.off('exit', files.remove);
    files.remove();
  }
}

/**
 * What QEMU needs outside of itself, for the time of one run.
 *
 * @param {string | undefined} keptConsole
 */
function makeFiles(keptConsole) {
  const directory = mkdtempSync(path.join(tmpdir(), 'exmem-vm-'));
  return {
    socket: path.join(directory, 'channel'),
    console: keptConsole === undefined ? path.join(directory, 'console') : path.resolve(keptConsole),
    remove: () => { rmSync(directory, { recursive: true, force: true }); },
  };
}

/**
 * Runs the machine until it is gone.
 *
 * @param {Kernel} kernel
 * @param {string} initramfs
 * @param {ReturnType<typeof makeFiles>} files
 * @param {string[]} command
 * @param {Options} options
 * @returns {Promise<Outcome>}
 */
async function converse(kernel, initramfs, files, command, options) {
  const server = createServer().listen(files.socket);
  await once(server, 'listening');
  const machine = startMachine(kernel, initramfs, files, options);
  const kill = () => { machine.kill('SIGKILL'); };

  /** @type {Outcome} */
  const outcome = { status: undefined, timedOut: false, log: '', complaints: '' };
  for (const stream of [machine.stdout, machine.stderr]) {
    stream.setEncoding('utf8').on('data', (/** @type {string} */ text) => { outcome.complaints += text; });
  }

  /** @type {Conversation | undefined} */
  let conversation;
  server.once('connection', (socket) => {
    conversation = new Conversation(socket, request(kernel, command, options), (status) => {
      outcome.status = status;
      setTimeout(kill, POWER_OFF_MS).unref();
    });
  });

  /** @param {NodeJS.Signals} signal */
  const endBySignal = (signal) => {
    conversation?.close();
    files.remove();
    // By its default action, so that a shell sees what ended the runner; QEMU follows the runner.
    process.kill(process.pid, signal);
  };
  const signals = /** @type {const} */ (['SIGINT', 'SIGTERM', 'SIGHUP']);
  signals.forEach((signal) => process.once(signal, endBySignal));

  const timer = options.timeout === undefined ? undefined : setTimeout(() => {
    outcome.timedOut = true;
    kill();
  }, options.timeout * 1000);

  try {
    await once(machine, 'close');
  } catch (error) {
    outcome.complaints += `Cannot run QEMU: ${/** @type {Error} */ (error).message}\n`;
  }
  clearTimeout(timer);
  signals.forEach((signal) => process.off(signal, endBySignal));
  server.close();
  if (!outcome.timedOut) {
    await conversation?.flushed();
  }
  conversation?.close();
  if (existsSync(files.console)) {
    outcome.log = readFileSync(files.console, 'latin1');
  }
  return outcome;
}

/**
 * What to ask the guest's first process for; init/request.h describes it.
 *
 * @param {Kernel} kernel
 * @param {string[]} command
 * @param {Options} options
 */
function request(kernel, command, options) {
  const modules = moduleDirectory(kernel.name);
  const environment = {
    ...process.env,
    // A user's search path has no place for modprobe.
    PATH: `${process.env.PATH ?? '/usr/bin:/bin'}:/usr/sbin:/sbin`,
    EXMEM_KERNEL: kernel.name,
    EXMEM_MODULES: modules,
  };
  const strings = [
    ...command.map((argument) => `A${argument}`),
    ...Object.entries(environment).map(([name, value]) => `E${name}=${value}`),
    `C${process.cwd()}`,
    `L${kernel.modules}`,
    ...(options.module ? [`M${path.join(modules, 'exclusive_memory.ko')}`, `P${options.moduleParameters}`] : []),
    ...(options.unprivileged ? ['U', ...USER_DEVICES.map((name) => `D${name}`)] : []),
    ...(isInteractive() ? ['T'] : []),
  ];
  return Buffer.from(strings.map((string) => `${string}\0`).join(''));
}

/**
 * @param {Outcome} outcome
 * @param {Options} options
 */
function verdict({ status, timedOut, log, complaints }, options) {
  const where = options.console === undefined
    ? 'Run again with --console FILE to keep the whole log.'
    : `The whole log: ${options.console}`;
  const report = findReport(log);
  if (report !== undefined) {
    say(`exmem-vm: the kernel reports trouble:\n${report}\n${where}`);
    return STATUS_KERNEL_REPORT;
  }
  if (timedOut) {
    say(`exmem-vm: not done after ${options.timeout} seconds. The end of the kernel's log:\n${lastLines(log, 5)}\n${where}`);
    return STATUS_TIMEOUT;
  }
  if (status === undefined) {
    const end = log === '' ? '' : ` The end of the kernel's log:\n${lastLines(log, 20)}\n${where}`;
    say(`${complaints}exmem-vm: the machine went down without a status.${end}`);
    return STATUS_NO_STATUS;
  }
  return status;
}

/** @param {string} text */
const say = (text) => process.stderr.write(`${text}\n`);
