// SPDX-License-Identifier: MIT
// What the guest's kernel starts with: the first process, and the modules to reach the host's files.

import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { spawnSync } from 'node:child_process';

import { inBuild } from '../../scripts/setup/paths.mjs';
import { ensureKeyed, filesUnder, keyOf } from '../../scripts/setup/steps.mjs';

/** @typedef {import('../../scripts/setup/kernel.mjs').Kernel} Kernel */

const INIT_SOURCES = fileURLToPath(new URL('init', import.meta.url));

const NEEDED_MODULES = ['virtio_pci', 'virtio_console', 'virtio_rng', '9pnet_virtio', '9p', 'overlay'];

/** Not every emulated processor has what these want. */
const OPTIONAL_MODULES = ['kvm-amd'];

/**
 * @param {Kernel} kernel
 * @returns {Promise<string>} the file
 */
export async function ensureInitramfs(kernel) {
  const sources = filesUnder(INIT_SOURCES);
  const program = inBuild('vm', 'init');
  await ensureKeyed({
    title: 'first process of the virtual machine',
    name: 'vm-init',
    key: keyOf(sources),
    outputs: [program],
    work: async (run) => {
      const compiled = sources.filter((file) => file.endsWith('.c'));
      await run('mkdir', ['-p', path.dirname(program)]);
      await run('gcc', [
        '-static', '-Os', '-std=gnu11', '-D_GNU_SOURCE', '-Wall', '-Wextra', '-Werror', '-o', program, ...compiled,
      ]);
    },
  });

  const file = inBuild('vm', `initramfs-${kernel.name}.cpio`);
  const index = path.join(kernel.modules, kernel.release, 'modules.dep');
  await ensureKeyed({
    title: `initramfs for kernel ${kernel.name}`,
    name: `vm-initramfs-${kernel.name}`,
    key: keyOf([program, index, fileURLToPath(import.meta.url)]),
    outputs: [file],
    work: () => {
      writeFileSync(file, makeInitramfs(program, kernel));
    },
  });
  return file;
}

/**
 * @param {string} program
 * @param {Kernel} kernel
 */
function makeInitramfs(program, kernel) {
  const directory = path.join(kernel.modules, kernel.release);
  const needed = loadOrder(directory, NEEDED_MODULES);
  const optional = loadOrder(directory, OPTIONAL_MODULES).filter((file) => !needed.includes(file));
  const order = [...needed.map(moduleFile), ...optional.map((file) => `?${moduleFile(file)}`)];
  return archive([
    { name: 'init', mode: 0o100755, data: readFileSync(program) },
    { name: 'modules', mode: 0o040755 },
    { name: 'modules/order', mode: 0o100644, data: Buffer.from(order.map((line) => `${line}\n`).join('')) },
    ...[...needed, ...optional].map((file) => ({
      name: `modules/${moduleFile(file)}`,
      mode: 0o100644,
      data: readModule(path.join(directory, file)),
    })),
  ]);
}

/**
 * The files to load for some modules, each after those that it needs; none for what is built in.
 *
 * @param {string} directory of one kernel's modules
 * @param {string[]} names
 */
function loadOrder(directory, names) {
  /** @type {Map<string, { file: string, needs: string[] }>} */
  const index = new Map();
  for (const line of readFileSync(path.join(directory, 'modules.dep'), 'utf8').split('\n')) {
    const [file, needs] = line.split(':');
    if (file && needs !== undefined) {
      index.set(moduleName(file), { file, needs: needs.trim().split(' ').filter(Boolean) });
    }
  }
  const builtIn = new Set(
    readFileSync(path.join(directory, 'modules.builtin'), 'utf8').split('\n').map(moduleName),
  );
  /** @type {Set<string>} */
  const order = new Set();
  for (const name of names.map(moduleName)) {
    const found = index.get(name);
    if (found) {
      // depmod lists what a module needs with the last to load first.
      [...found.needs].reverse().forEach((file) => order.add(file));
      order.add(found.file);
    } else if (!builtIn.has(name)) {
      throw new Error(`Expected the kernel in ${directory} to have the module ${name}; it has none, not even built in`);
    }
  }
  return [...order];
}

/** @param {string} file */
const moduleFile = (file) => path.basename(file).replace(/\.ko.*/, '.ko');

/** @param {string} file */
const moduleName = (file) => path.basename(file).replace(/\.ko.*/, '').replaceAll('-', '_');

/** @param {string} file possibly compressed, as later kernels have them */
function readModule(file) {
  if (!file.endsWith('.xz')) {
    return readFileSync(file);
  }
  const { status, stdout, stderr } = spawnSync('xz', ['--decompress', '--stdout', file], { maxBuffer: 2 ** 26 });
  if (status !== 0) {
    throw new Error(`Expected ${file} to be a compressed module: ${stderr.toString()}`);
  }
  return stdout;
}

/**
 * A cpio archive of the format "newc".
 *
 * @param {{ name: string, mode: number, data?: Buffer }[]} entries
 */
function archive(entries) {
  /** @type {Buffer[]} */
  const parts = [];
  /** @param {Buffer} part */
  const addAligned = (part) => parts.push(part, Buffer.alloc(-part.length & 3));

  [...entries, { name: 'TRAILER!!!', mode: 0 }].forEach(({ name, mode, data = Buffer.alloc(0) }, index) => {
    const fields = [index + 1, mode, 0, 0, 1, 0, data.length, 0, 0, 0, 0, name.length + 1, 0];
    const header = `070701${fields.map((field) => field.toString(16).padStart(8, '0')).join('')}`;
    addAligned(Buffer.from(`${header}${name}\0`));
    addAligned(data);
  });
  return Buffer.concat(parts);
}
