// SPDX-License-Identifier: MIT
// The kernels that a virtual machine can boot.

import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import path from 'node:path';

import { ensureDebugKernel } from './debug-kernel.mjs';
import { Failure } from './failure.mjs';
import { ensurePackages, installPackages, machinePackages, modulePackages } from './packages.mjs';
import { inCache } from './paths.mjs';
import { ensure } from './steps.mjs';

/**
 * @typedef {object} Kernel
 * @property {string} name as given to --kernel
 * @property {string} release as uname -r says it
 * @property {string} image to boot
 * @property {string} modules its /lib/modules
 * @property {string} build to build modules against
 */

const UNSUPPORTED = ['6.12', '7.2'];

/** @type {Map<string, () => Promise<Kernel>>} */
const KERNELS = new Map([['6.1', ensureDebianKernel], ['debug', ensureDebugKernel]]);

const names = [...KERNELS.keys()].join(', ');

/**
 * A kernel's name from the command line, or what is wrong with it.
 *
 * @param {string} name
 */
export function checkKernelName(name) {
  if (UNSUPPORTED.includes(name)) {
    throw new Failure(`Kernel ${name} is not supported yet. Use one of: ${names}.`, 2);
  }
  if (!KERNELS.has(name)) {
    throw new Failure(`Expected a kernel of ${names}, received "${name}".`, 2);
  }
  return name;
}

/**
 * Gets a kernel and what is needed to boot it and to build modules for it.
 *
 * @param {string} name
 */
export async function ensureKernel(name) {
  const ensureIt = KERNELS.get(checkKernelName(name)) ?? ensureDebianKernel;
  await ensurePackages([...machinePackages, ...modulePackages]);
  return ensureIt();
}

/** Debian 12's own kernel, of the version that the installed headers are for. */
async function ensureDebianKernel() {
  let found = describe();
  await ensure({
    title: `kernel ${found.kernel.release}`,
    name: 'kernel-6.1',
    lock: inCache('6.1.lock'),
    isDone: () => existsSync(found.directory),
    work: async (run) => {
      const unpacked = inCache('6.1.new');
      rmSync(unpacked, { recursive: true, force: true });
      mkdirSync(unpacked, { recursive: true });
      const download = () =>
        run('apt-get', ['download', `linux-image-${found.kernel.release}=${found.version}`], { cwd: unpacked });
      try {
        await download();
      } catch (error) {
        // A later version has taken its place in the archive: take that, and the headers for it.
        if (!(error instanceof Failure)) {
          throw error;
        }
        await installPackages(run, ['linux-headers-amd64'], { listsAreStale: true });
        found = describe();
        await download();
      }
      await run('sh', ['-c', 'dpkg-deb -x ./*.deb . && rm ./*.deb'], { cwd: unpacked });
      await run('/sbin/depmod', ['-b', unpacked, found.kernel.release]);
      renameSync(unpacked, found.directory);
    },
  });
  return found.kernel;
}

/** Where Debian's kernel is, or will be. */
function describe() {
  // linux-headers-amd64 is an empty package that depends on one for a certain kernel.
  const { stdout } = spawnSync('dpkg-query', ['--show', '--showformat', '${Depends}', 'linux-headers-amd64'], {
    encoding: 'utf8',
  });
  const [, release, version] = /^linux-headers-(\S+) \(= (\S+)\)/.exec(stdout) ?? [];
  if (release === undefined || version === undefined || !release.startsWith('6.1.')) {
    throw new Failure(
      `Expected linux-headers-amd64 to depend on one linux-headers-6.1.* of a certain version, received "${stdout}". ` +
        'Debian 12 is needed.',
    );
  }
  const directory = inCache(`${release}_${version}`);
  return {
    version,
    directory,
    /** @type {Kernel} */
    kernel: {
      name: '6.1',
      release,
      image: path.join(directory, 'boot', `vmlinuz-${release}`),
      modules: path.join(directory, 'lib/modules'),
      build: `/usr/src/linux-headers-${release}`,
    },
  };
}
