// SPDX-License-Identifier: MIT
// A step of the set-up: done once for each state of its inputs, logged, and explained when it fails.

import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  createWriteStream, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { finished } from 'node:stream/promises';

import { Failure } from './failure.mjs';
import { withLock } from './lock.mjs';
import { inBuild, root } from './paths.mjs';
import { Progress } from './progress.mjs';

const SHOWN_LOG_LINES = 30;

/**
 * @typedef {object} RunOptions
 * @property {string} [cwd] default: the checkout
 * @property {NodeJS.ProcessEnv} [env] in addition to the present environment
 *
 * @typedef {(command: string, args: string[], options?: RunOptions) => Promise<string>} Run
 *   Runs a command, its output going into the step's log, and gives its standard output.
 *
 * @typedef {object} Step
 * @property {string} title what the user reads while it runs
 * @property {string} name of its lock and its log
 * @property {() => boolean} isDone
 * @property {(run: Run) => Promise<void> | void} work
 * @property {string} [lock] a lock file shared with other checkouts
 */

/**
 * Does a step unless it is done.
 *
 * @param {Step} step
 */
export async function ensure({ title, name, isDone, work, lock = inBuild('.setup', `${name}.lock`) }) {
  if (isDone()) {
    return;
  }
  await withLock(lock, async () => {
    if (!isDone()) {
      await perform(title, name, work);
    }
  });
}

/**
 * A step whose result depends on a key: done when it ended well with that key and its outputs are there.
 *
 * @param {Omit<Step, 'isDone'> & { key: string, outputs: string[], stamp?: string }} step
 */
export async function ensureKeyed({ key, outputs, stamp, ...step }) {
  const stampFile = stamp ?? inBuild('.setup', `${step.name}.stamp`);
  await ensure({
    ...step,
    isDone: () => readIfPresent(stampFile) === key && outputs.every((output) => existsSync(output)),
    work: async (run) => {
      rmSync(stampFile, { force: true });
      await step.work(run);
      const missing = outputs.filter((output) => !existsSync(output));
      if (missing.length > 0) {
        throw new Failure(`expected it to make ${missing.join(', ')}, which is not there`);
      }
      mkdirSync(path.dirname(stampFile), { recursive: true });
      writeFileSync(stampFile, key);
    },
  });
}

/**
 * @param {string} title
 * @param {string} name
 * @param {(run: Run) => Promise<void> | void} work
 */
async function perform(title, name, work) {
  const logFile = inBuild('log', `${name}.log`);
  mkdirSync(path.dirname(logFile), { recursive: true });
  const log = createWriteStream(logFile);
  const progress = new Progress(title);

  /** @type {Run} */
  const run = (command, args, { cwd = root, env = {} } = {}) =>
    new Promise((resolve, reject) => {
      log.write(`$ ${[command, ...args].join(' ')}\n`);
      const child = spawn(command, args, {
        cwd,
        env: { ...process.env, ...env },
        stdio: ['ignore', 'pipe', 'pipe'],
      });
      let stdout = '';
      child.stdout.setEncoding('utf8').on('data', (/** @type {string} */ text) => {
        stdout += text;
        log.write(text);
        progress.saw(text);
      });
      child.stderr.setEncoding('utf8').on('data', (/** @type {string} */ text) => {
        log.write(text);
        progress.saw(text);
      });
      child.on('error', (error) => { reject(new Failure(`cannot run ${command}: ${error.message}`)); });
      child.on('close', (code, signal) => {
        if (code === 0) {
          resolve(stdout);
        } else {
          const how = signal === null ? `exited with status ${code}` : `was ended by ${signal}`;
          reject(new Failure(`"${command} ${args.join(' ')}" ${how}`));
        }
      });
    });

  try {
    await work(run);
    progress.end(true);
  } catch (error) {
    progress.end(false);
    if (!(error instanceof Failure)) {
      throw error;
    }
    await finished(log.end());
    const tail = readFileSync(logFile, 'utf8').trimEnd().split('\n').slice(-SHOWN_LOG_LINES);
    const lines = [`${title} failed: ${error.message}`, '', ...tail.map((line) => `    ${line}`), '', `The whole log: ${logFile}`];
    throw new Failure(lines.join('\n'), error.status);
  } finally {
    log.end();
  }
}

/** @param {string} file */
export function readIfPresent(file) {
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined;
}

/**
 * All files below a directory that pass a filter, sorted; none if there is no such directory.
 *
 * @param {string} directory
 * @param {(name: string) => boolean} [accepts]
 * @returns {string[]}
 */
export function filesUnder(directory, accepts = () => true) {
  if (!existsSync(directory)) {
    return [];
  }
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && accepts(entry.name))
    .map((entry) => path.join(entry.parentPath, entry.name))
    .sort();
}

/**
 * A key for a state of some files. Size and time of change say enough, and reading them is quick.
 *
 * @param {string[]} files
 * @param {...string} others what else the result depends on
 */
export function keyOf(files, ...others) {
  const hash = createHash('sha256');
  for (const file of files) {
    const status = statSync(file, { throwIfNoEntry: false });
    hash.update(`${file}\0${status?.size}\0${status?.mtimeMs}\n`);
  }
  for (const other of others) {
    hash.update(`\0${other}\n`);
  }
  return hash.digest('hex');
}
