// SPDX-License-Identifier: MIT
// An unmodified QEMU runs an unmodified guest on memory that nobody else has.
import { execFileSync, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { native } from '#internal/native.js';
import { pagesInDirectMap } from '../support/direct-map.js';
import { guestMemory, memoryBackends, QemuGuest } from '../support/qemu-guest.js';

const {
  STATE_MAPPED: mapped,
  STATE_DIRECT_MAP_REMOVED: removed,
  CREATE_GUEST: guest,
  CREATE_HOST_ACCESS: hostAccess,
  PAGE_SIZE: pageSize,
} = native.constants;

const look = fileURLToPath(new URL('../../../../examples/peers/look.py', import.meta.url));
const device = '/dev/exclusive_guest';
const { EXMEM_GUEST_KERNEL: kernel = '' } = process.env;

describe('QEMU with KVM', function () {
  this.timeout(1_200_000);

  const counter = (name: string) =>
    Number(readFileSync(`/sys/kernel/exclusive_memory/${name}`, 'utf8'));

  /** What a process of root gets to see of an address of QEMU's. */
  const seen = (pid: number, address: bigint) =>
    JSON.parse(
      execFileSync('python3', [look, String(pid), address.toString(16)], { encoding: 'utf8' }),
    ) as unknown;

  before(() => {
    if (kernel === '') throw new Error('Expected EXMEM_GUEST_KERNEL to be a bzImage to boot');
  });

  it('on ordinary memory: whoever looks finds the guest\'s secret', async () => {
    await using machine = await QemuGuest.boot(kernel, memoryBackends.ordinary);
    expect(pagesInDirectMap(machine.inverted)).to.be.above(0);
    expect(seen(machine.pid, await machine.addressOfSecret())).to.deep.equal({
      proc_mem: 'read',
      process_vm_readv: 'read',
      ptrace: 'read',
    });
    expect(counter('pages_in_use')).to.equal(0);
    expect(await machine.switchOff('goodbye')).to.equal(0);
  });

  it('on exclusive memory: QEMU alone finds it', async () => {
    {
      await using machine = await QemuGuest.boot(kernel, memoryBackends.exclusive);
      expect(objectsOf(machine.pid)).to.deep.equal([
        { size: guestMemory, resident: guestMemory, flags: guest | hostAccess, state: mapped | removed },
      ]);
      expect(counter('pages_in_use')).to.equal(guestMemory / pageSize);

      // In this order: what QEMU writes to a file is for everybody to see.
      expect(pagesInDirectMap(machine.inverted)).to.equal(0);
      expect(seen(machine.pid, await machine.addressOfSecret())).to.deep.equal({
        proc_mem: 'EIO',
        process_vm_readv: 'EFAULT',
        ptrace: 'EIO',
      });
      expect(await machine.switchOff('goodbye')).to.equal(0);
    }
    expect(counter('pages_in_use')).to.equal(0);
  });

  it('killed: the guest\'s memory is wiped, and back', async () => {
    let inverted: Buffer;
    {
      await using machine = await QemuGuest.boot(kernel, memoryBackends.exclusive);
      ({ inverted } = machine);
    }
    expect(counter('pages_in_use')).to.equal(0);
    expect(counter('objects')).to.equal(0);
    expect(pagesInDirectMap(inverted)).to.equal(0);
  });

  it('is told what it cannot have', () => {
    const start = (memory: string) => {
      const machine = ['-machine', 'q35,memory-backend=ram', '-m', '128M', '-object', memory];
      const { status, stderr } = spawnSync(
        'qemu-system-x86_64',
        ['-nodefaults', '-no-user-config', '-display', 'none', '-accel', 'kvm', ...machine],
        { encoding: 'utf8' },
      );
      return { status, stderr };
    };
    const copyOnWrite = start(memoryBackends.exclusive.replace('share=on', 'share=off'));
    expect(copyOnWrite.status).to.equal(1);
    expect(copyOnWrite.stderr).to.match(/Invalid argument/);
    const tooMuch = start(memoryBackends.exclusive.replace(/size=\d+/, 'size=64G'));
    expect(tooMuch.status).to.equal(1);
    expect(tooMuch.stderr).to.match(/Cannot allocate memory/);
    expect(counter('objects')).to.equal(0);
  });
});

/** What the kernel says of the guest memory that a process has open. */
function objectsOf(pid: number): Record<string, number>[] {
  return readdirSync(`/proc/${pid}/fd`)
    .filter((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`) === device)
    .map((fd) => {
      const info = readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8');
      const fields = [...info.matchAll(/^exmem-(size|resident|flags|state):\t(\S+)$/gm)];
      return Object.fromEntries(fields.map(([, name = '', value]) => [name, Number(value)]));
    });
}
