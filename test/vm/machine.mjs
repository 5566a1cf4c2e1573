// SPDX-License-Identifier: MIT
// One run of QEMU.

import { spawn } from 'node:child_process';
import path from 'node:path';

/**
 * @typedef {object} MachineOptions
 * @property {number} memory MiB
 * @property {number} cpus
 * @property {boolean} oneThread
 * @property {string} append
 * @property {string | undefined} qmp
 */

/**
 * @param {import('../../scripts/setup/kernel.mjs').Kernel} kernel
 * @param {string} initramfs
 * @param {{ socket: string, console: string }} files
 * @param {MachineOptions} options
 */
export function startMachine(kernel, initramfs, files, options) {
  const args = [
    '-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none',
    '-machine', 'q35', '-accel', `tcg,thread=${options.oneThread ? 'single' : 'multi'}`,
    // The emulated AMD processor can be a host for virtual machines itself.
    '-cpu', 'max,+svm', '-smp', String(options.cpus), '-m', `${options.memory}M`,
    '-kernel', kernel.image, '-initrd', initramfs, '-append', commandLine(options.append),
    '-chardev', `file,id=console,path=${escape(files.console)}`, '-serial', 'chardev:console',
    '-chardev', `socket,id=channel,path=${escape(files.socket)}`,
    '-device', 'virtio-serial-pci', '-device', 'virtserialport,chardev=channel,nr=1',
    '-device', 'virtio-rng-pci',
    // "remap": inode numbers stay unique although the host's tree has more than one file system.
    '-fsdev', 'local,id=host,path=/,security_model=none,readonly=on,multidevs=remap',
    '-device', 'virtio-9p-pci,fsdev=host,mount_tag=host',
    ...(options.qmp === undefined ? [] : ['-qmp', `unix:${escape(path.resolve(options.qmp))},server=on,wait=off`]),
  ];
  // QEMU must not outlive the runner, however that ends.
  return spawn('setpriv', ['--pdeathsig', 'KILL', 'qemu-system-x86_64', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    // Ctrl-C is for the runner, which then ends QEMU.
    detached: true,
  });
}

/** @param {string} append */
function commandLine(append) {
  return [
    'console=ttyS0 ignore_loglevel printk.devkmsg=on',
    // Nothing is left to be done after an oops: go down at once, with the report on the console.
    'oops=panic panic=-1',
    // Emulation is slow, and the host may have other things to do.
    'rcupdate.rcu_cpu_stall_timeout=60 watchdog_thresh=30 workqueue.watchdog_thresh=120',
    // All emulated processors count the host's ticks; other clocks are several times slower to read.
    'tsc=reliable',
    'random.trust_cpu=on rcupdate.rcu_expedited=1 no_timer_check 8250.nr_uarts=1',
    append,
  ].join(' ');
}

/** @param {string} value for a list of QEMU's options */
const escape = (value) => value.replaceAll(',', ',,');
