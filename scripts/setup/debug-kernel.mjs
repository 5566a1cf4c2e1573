// SPDX-License-Identifier: MIT
// A kernel that checks itself, built from Debian's sources of 6.1 and a fragment of configuration.

import { createHash } from 'node:crypto';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import path from 'node:path';

import { Failure } from './failure.mjs';
import { debugKernelPackages, ensurePackages, kernelSourcePackages } from './packages.mjs';
import { inCache, root } from './paths.mjs';
import { ensure, ensureKeyed } from './steps.mjs';

/**
 * @typedef {import('./kernel.mjs').Kernel} Kernel
 * @typedef {import('./steps.mjs').Run} Run
 */

const FRAGMENT = path.join(root, 'test/vm/debug.config');
const ARCHIVE = '/usr/src/linux-source-6.1.tar.xz';

/**
 * Debian's sources of the kernel 6.1, unpacked.
 *
 * @returns {Promise<{ source: string, version: string }>}
 */
export async function ensureKernelSource() {
  await ensurePackages(kernelSourcePackages);
  const version = sourceVersion();
  const source = inCache(`linux-source-6.1_${version}`);
  await ensure({
    title: 'sources of the kernel 6.1',
    name: 'kernel-source',
    lock: `${source}.lock`,
    isDone: () => existsSync(source),
    work: async (run) => {
      const unpacked = `${source}.new`;
      rmSync(unpacked, { recursive: true, force: true });
      mkdirSync(unpacked, { recursive: true });
      await run('tar', ['--extract', '--file', ARCHIVE, '--directory', unpacked, '--strip-components', '1']);
      renameSync(unpacked, source);
    },
  });
  return { source, version };
}

/** @returns {Promise<Kernel>} */
export async function ensureDebugKernel() {
  await ensurePackages(debugKernelPackages);
  const { source, version } = await ensureKernelSource();
  const key = createHash('sha256').update(readFileSync(FRAGMENT)).update(version).digest('hex');
  const directory = inCache(`debug_${key.slice(0, 16)}`);
  const build = path.join(directory, 'build');
  const releaseFile = path.join(build, 'include/config/kernel.release');
  const image = path.join(build, 'arch/x86/boot/bzImage');

  await ensureKeyed({
    title: 'debug kernel (takes several minutes, once)',
    name: 'kernel-debug',
    lock: `${directory}.lock`,
    stamp: path.join(directory, 'stamp'),
    key,
    outputs: [image, releaseFile, path.join(build, 'Module.symvers')],
    work: (run) => buildKernel(run, source, directory, build),
  });

  const release = readFileSync(releaseFile, 'utf8').trim();
  return { name: 'debug', release, image, modules: path.join(directory, 'lib/modules'), build };
}

function sourceVersion() {
  const { stdout } = spawnSync('dpkg-query', ['--show', '--showformat', '${Version}', 'linux-source-6.1'], {
    encoding: 'utf8',
  });
  return stdout;
}

/**
 * @param {Run} run
 * @param {string} source
 * @param {string} directory
 * @param {string} build
 */
async function buildKernel(run, source, directory, build) {
  /** @param {string[]} args */
  const make = (...args) =>
    run('nice', ['make', '-C', source, `O=${build}`, ...args], {
      env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
    });
  const config = path.join(build, '.config');

  mkdirSync(build, { recursive: true });
  await make('tinyconfig');
  await run('scripts/kconfig/merge_config.sh', ['-m', '-O', build, config, FRAGMENT], { cwd: source });
  await make('olddefconfig');
  checkConfig(readFileSync(config, 'utf8'));
  await make(`-j${availableParallelism()}`, 'bzImage', 'modules');
  await make(`INSTALL_MOD_PATH=${directory}`, 'modules_install');
}

/**
 * Options whose needs are not met fall out of a configuration without a word.
 *
 * @param {string} config
 */
function checkConfig(config) {
  const effective = config.split('\n');
  const lost = readFileSync(FRAGMENT, 'utf8').split('\n').filter((line) => {
    if (line.startsWith('CONFIG_')) {
      return !effective.includes(line);
    }
    const [, off] = /^# (CONFIG_\w+) is not set$/.exec(line) ?? [];
    return off !== undefined && effective.some((other) => other.startsWith(`${off}=`));
  });
  if (lost.length > 0) {
    throw new Failure(`expected every line of ${FRAGMENT} to take effect, received a configuration without:\n${lost.join('\n')}`);
  }
}
