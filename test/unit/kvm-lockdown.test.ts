// SPDX-License-Identifier: MIT
// What a process that locked itself down cannot do any more, whatever code runs
// in it. test/api/kvm-lockdown.test.ts does the same with a guest.
import { constants } from 'node:os';
import { expect } from 'chai';
import { blocksOf } from '#internal/kvm/ioctl-masks.js';
import { lockdown, type LockdownException } from '#internal/kvm/lockdown.js';
import { expectRefused } from '../support/failures.js';
import type { Word } from '../support/hostile.js';
import { LockdownProgram } from '../support/lockdown.js';
import { type Place, places, type Step } from '../support/lockdown-steps.js';
import { type SystemCallName, systemCalls } from '../support/system-calls.js';

const { EBADF, EINVAL, ENOSYS, EPERM } = constants.errno;

const call = (name: SystemCallName, from: Place, ...words: Word[]): Step => ({
  do: 'call',
  from,
  words: [systemCalls[name], ...words],
});

/** Arguments with which each of them fails, were it made. */
const nothing = [-1, -1, -1, -1, -1, -1];

const refused = [
  ...(['ptrace', 'process_vm_readv', 'process_vm_writev', 'process_madvise'] as const),
  ...(['pidfd_getfd', 'kcmp', 'perf_event_open', 'bpf', 'init_module', 'finit_module'] as const),
  ...(['delete_module', 'kexec_load', 'kexec_file_load', 'reboot', 'iopl', 'ioperm'] as const),
  ...(['userfaultfd', 'mount', 'umount2', 'move_mount', 'open_tree', 'mount_setattr'] as const),
  ...(['pivot_root', 'chroot', 'fsopen', 'fsconfig', 'fsmount', 'fspick', 'setns'] as const),
  ...(['open_by_handle_at', 'unshare', 'swapon', 'swapoff', 'execve', 'execveat'] as const),
];
const absent = ['io_uring_setup', 'io_uring_enter', 'io_uring_register', 'clone3'] as const;

/** Numbers of ioctls, their low 16 bits, of the headers. */
const kvm = { run: 0xae80, irqLine: 0xae61, irqfd: 0xae76, dirtyLog: 0xae42 };
const memory = { setShared: 0xec08, mapFd: 0xec21 };
const harmlessMemory = [
  ...[0xec00, 0xec01, 0xec02, 0xec03, 0xec04, 0xec05, 0xec07],
  ...[0xec20, 0xec22, 0xec23, 0xec25 + 1, 0xec27],
];
const typing = [0x5412, 0x541c];

function ioctlIsRefused(low: number, exceptions: readonly number[] = []): boolean {
  if ([kvm.run, kvm.irqLine, ...harmlessMemory, ...exceptions].includes(low)) return false;
  return low >> 8 === 0xae || low >> 8 === 0xec || typing.includes(low);
}

describe('blocksOf', () => {
  const numbersOf = (mask: number, value: number, bits: number) =>
    Array.from({ length: 2 ** bits }, (_, n) => n).filter((n) => (n & mask) === value);

  it('covers what is accepted, exactly, and each number once', () => {
    for (let set = 0; set < 2 ** 16; set += 13) {
      const accepts = (n: number) => (set & (1 << n)) !== 0;
      const covered = blocksOf(accepts, 4).flatMap(({ mask, value }) => numbersOf(mask, value, 4));
      const expected = Array.from({ length: 16 }, (_, n) => n).filter(accepts);
      expect(covered.sort((a, b) => a - b)).to.deep.equal(expected);
    }
  });

  it('needs few blocks', () => {
    expect(blocksOf(() => true, 16)).to.deep.equal([{ mask: 0, value: 0 }]);
    expect(blocksOf(() => false, 16)).to.deep.equal([]);
    expect(blocksOf((n) => n !== 0x1234, 16)).to.have.length(16);
    expect(blocksOf((n) => n >> 8 === 0xae, 16)).to.deep.equal([{ mask: 0xff00, value: 0xae00 }]);
  });
});

describe('lockdown()', function () {
  this.timeout(120_000);

  let program: LockdownProgram;
  before(() => {
    program = new LockdownProgram();
  });
  after(() => {
    program[Symbol.dispose]();
  });

  /** The results of the steps after the first, which locks down. */
  function lockedDown(options: Parameters<typeof lockdown>[0], ...steps: Step[]): unknown[] {
    const { results, status, signal } = program.run({ do: 'lockdown', options: options ?? {} }, ...steps);
    expect({ status, signal }).to.deep.equal({ status: 0, signal: null });
    expect(results[0]).to.equal('locked');
    return results.slice(1);
  }

  it('refuses wrong options, and changes nothing', () => {
    expectRefused(() => {
      lockdown({ allow: ['KVM_CREATE_VM' as LockdownException] });
    }, /Expected one of 'KVM_GET_DIRTY_LOG', .*'execve' for options\.allow\[0\]/);
    expectRefused(() => {
      lockdown({ allow: 'execve' as never });
    }, /Expected an array for options\.allow/);
    expectRefused(() => {
      lockdown({ kill: 1 as never });
    }, /Expected a boolean for options\.kill/);
    expectRefused(() => {
      lockdown(null as never);
    });
    const { results } = program.run({ do: 'threads' });
    expect((results[0] as string[][]).every(([, mode]) => mode === '0')).to.equal(true);
  });

  it('holds for all threads, of now and later, and for all children', () => {
    const [threads, [child]] = lockedDown(
      { allow: ['execve'] },
      { do: 'threads' },
      { do: 'in a child', steps: [{ do: 'threads' }] },
    ) as [string[][], [string[][]]];
    for (const all of [threads, child]) {
      expect(all.length).to.be.above(5);
      for (const modes of all) expect(modes).to.deep.equal(['1', '2']);
    }
  });

  for (const place of places) {
    it(`refuses what it should refuse on ${place === 'main' ? 'the main thread' : `a ${place}`}`, () => {
      const results = lockedDown(
        {},
        ...refused.map((name) => call(name, place, ...nothing)),
        ...absent.map((name) => call(name, place, ...nothing)),
        call('getpid', place),
      );
      const outcomes = Object.fromEntries([...refused, ...absent].map((name, i) => [name, results[i]]));
      expect(outcomes).to.deep.equal({
        ...Object.fromEntries(refused.map((name) => [name, -EPERM])),
        ...Object.fromEntries(absent.map((name) => [name, -ENOSYS])),
      });
      expect(results.at(-1)).to.be.above(0);
    });
  }

  it('is not undone by starting another program', () => {
    const steps = refused
      .filter((name) => !name.startsWith('execve'))
      .map((name) => call(name, 'main', ...nothing));
    const [results] = lockedDown({ allow: ['execve'] }, { do: 'in a child', steps }) as [number[]];
    expect(results).to.have.length(steps.length);
    expect([...new Set(results)]).to.deep.equal([-EPERM]);
  });

  it('starts no program, unless it may', () => {
    const exec: Step = { do: 'exec' };
    expect(lockedDown({}, exec)).to.deep.equal(['spawnSync /bin/true EPERM']);
    expect(lockedDown({ allow: ['execve'] }, exec)).to.deep.equal(['ran']);
  });

  // Only the low 32 bits of an ioctl's number count for the kernel.
  for (const others of ['0x0', '0xc0100000', '0xffffffffffff0000', '0x100000000']) {
    it(`decides on all ioctls by their type and number, whatever else is set (${others})`, () => {
      const exceptions: LockdownException[] = ['KVM_GET_DIRTY_LOG', 'KVM_IRQFD', 'EXMEM_SET_SHARED'];
      const allowed = [kvm.dirtyLog, kvm.irqfd, memory.setShared];
      for (const [allow, numbers] of [[[], []], [exceptions, allowed]] as const) {
        const [results] = lockedDown({ allow }, { do: 'every ioctl', others }) as [number[]];
        const wrong = results.flatMap((result, low) =>
          result === (ioctlIsRefused(low, numbers) ? -EPERM : -EBADF) ? [] : [[low, result]],
        );
        expect(wrong).to.deep.equal([]);
      }
    });
  }

  it('lets no call make namespaces, and every other thread or process', () => {
    const flags = [
      ...[0x10000000, 0x00020000, 0x20000000, 0x40000000],
      ...[0x08000000, 0x04000000, 0x02000000],
    ];
    const invalid = 0x0001_0000; // CLONE_THREAD without CLONE_SIGHAND
    const results = lockedDown(
      {},
      ...flags.map((flag) => call('clone', 'main', flag, 0, 0, 0, 0)),
      ...flags.map((flag) => call('clone', 'main', `0x1${flag.toString(16).padStart(8, '0')}`)),
      call('clone', 'main', 0x7e02_0000, 0, 0, 0, 0),
      call('clone', 'main', invalid, 0, 0, 0, 0),
    );
    const refusals = new Array<number>(2 * flags.length + 1).fill(-EPERM);
    expect(results).to.deep.equal([...refusals, -EINVAL]);
  });

  it('shows no system call that is newer than the list', () => {
    const newer: Step[] = [451, 452, 462, 1000].map((number) => ({
      do: 'call',
      from: 'main',
      words: [number, 0, 0, 0, 0],
    }));
    const results = lockedDown({}, ...newer, call('set_mempolicy_home_node', 'main', 0, 0, 0, 1));
    expect(results).to.deep.equal([-ENOSYS, -ENOSYS, -ENOSYS, -ENOSYS, -EINVAL]);
  });

  it('ends a process that uses another ABI', () => {
    const x32: Step = { do: 'call', from: 'main', words: [0x4000_0000 + systemCalls.getpid] };
    for (const step of [x32, { do: 'call of i386', number: 20 } satisfies Step]) {
      const { results, signal } = program.run({ do: 'lockdown' }, step);
      expect(results).to.deep.equal(['locked']);
      expect(signal).to.equal('SIGSYS');
    }
  });

  it('ends the process at a refused call, if it is to', () => {
    for (const step of [
      call('ptrace', 'worker', ...nothing),
      call('ioctl', 'pool', -1, 0xae01, 0),
      call('clone', 'main', 0x10000000, 0, 0, 0, 0),
    ]) {
      const { results, signal } = program.run(
        { do: 'lockdown', options: { kill: true } },
        { do: 'use Node' },
        step,
      );
      expect(results).to.have.length(2);
      expect(signal).to.equal('SIGSYS');
    }
  });

  it('can be called again, and only ever takes away', () => {
    const results = lockedDown(
      { allow: ['MEMVIEW_MAP_FD', 'KVM_IRQFD'] },
      { do: 'lockdown', options: { allow: ['KVM_IRQFD', 'EXMEM_SET_SHARED'] } },
      ...[kvm.irqfd, memory.setShared, memory.mapFd].map((ioctl) => call('ioctl', 'main', -1, ioctl, 0)),
    );
    expect(results).to.deep.equal(['locked', -EBADF, -EPERM, -EPERM]);
  });

  it('fails where a thread has a filter of its own, and filters none', () => {
    const { results } = program.run(
      { do: 'strict thread' },
      { do: 'lockdown' },
      call('ioctl', 'main', -1, 0xae01, 0),
    );
    expect(results).to.deep.equal(['started', 'ESRCH seccomp', -EBADF]);
  });

  it('leaves Node.js whole', () => {
    const [done] = lockedDown({}, { do: 'use Node' });
    expect(done).to.deep.equal([
      ...['timers', 'files', 'a connection over TCP', 'a connection over a Unix socket'],
      ...['the thread pool', 'worker threads'],
    ]);
  });
});
