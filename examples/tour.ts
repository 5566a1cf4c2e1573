// SPDX-License-Identifier: MIT
// What exclusive memory is, shown step by step: each claim beside its evidence.
// Needs root and the kernel module; `npm start` sees to both.
import { createHash } from 'node:crypto';
import { capabilities, RestrictedMemfd, Secret, sendDescriptors } from 'exclusive-memory';
import {
  addressOf,
  counters,
  directMapSplits,
  Holder,
  holdings,
  lookAt,
  readCore,
  withCoreDumps,
} from './evidence.js';
import { Report } from './report.js';

const report = new Report();
const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
const kib = (bytes: number) => `${bytes / 1024} KiB`;

const { kernelRelease, apiVersion, backends } = capabilities();
const { problem } = backends.module;
if (problem) {
  console.error(`The tour needs the kernel module: ${problem.reason}. To fix: ${problem.remedy}`);
  process.exit(1);
}
const countersAtFirst = counters();

report.section('The machine');
report.fact('kernel', kernelRelease);
report.fact('module', `API version ${apiVersion ?? 'none'}`);
const promises = Object.values(backends.module.guarantees);
report.claim(
  'the module is there, with all its guarantees',
  promises.every(Boolean),
  `capabilities(): ${promises.length} guarantees`,
);

await withCoreDumps(async (folder) => {
  const holder = await Holder.start(folder);

  report.section('Memory outside the kernel’s direct map');
  const splits = directMapSplits();
  const memfd = RestrictedMemfd.create({ size: 64 * 1024, name: 'tour' });
  const mapping = memfd.map();
  mapping.bytes.fill(0x5a);
  const info = memfd.info();
  report.claim(
    'its pages left the direct map',
    info.outOfDirectMap && info.residentBytes === 64 * 1024,
    `EXMEM_GET_INFO: ${kib(info.residentBytes)} resident, out of the direct map`,
  );
  report.claim(
    'no large page of the direct map was split for it',
    directMapSplits() === splits,
    `/proc/vmstat: direct_map_level2_splits ${splits}, then ${directMapSplits()}`,
  );

  report.section('Root, in another process, reads this process');
  const [ordinary, exclusive] = await lookAt([
    addressOf('[heap]'),
    addressOf('/restricted_memfd:tour'),
  ]);
  for (const [way, name] of [
    ['proc_mem', '/proc/PID/mem'],
    ['process_vm_readv', 'process_vm_readv(2)'],
    ['ptrace', 'ptrace(2)'],
  ] as const) {
    report.claim(
      `${name} reads other memory, not this`,
      ordinary?.[way] === 'read' && /^E(IO|FAULT)$/.test(exclusive?.[way] ?? ''),
      `[heap]: ${ordinary?.[way]}, exclusive memory: ${exclusive?.[way]}`,
    );
  }

  report.section('One mapping on the whole machine');
  sendDescriptors(holder.socket, [memfd.fd]);
  const name = await holder.ask('receive');
  report.fact(`process ${holder.pid}, of Python, received`, name);
  const whileMapped = await holder.ask('map');
  report.claim('it cannot map what is mapped here', whileMapped === 'EBUSY', `mmap: ${whileMapped}`);
  const { bytes } = mapping;
  mapping.unmap();
  report.claim('unmap() detaches the buffer', bytes.length === 0, `length ${bytes.length}`);
  memfd.destroy();
  const afterwards = await holder.ask('map');
  report.claim('what is destroyed is nobody’s', afterwards === 'ENXIO', `mmap: ${afterwards}`);
  memfd.close();

  report.section('A secret');
  const secret = Secret.random(8192);
  // The same bytes once more, to look for them later: from memory to memory.
  const copy = Secret.random(8192);
  secret.use((from) => {
    copy.use((to) => {
      to.set(from);
    });
  });
  report.claim('two can be compared, in constant time', copy.equals(secret), 'equals(): true');
  report.claim('it prints nothing', String(secret) === '<Secret 8192 bytes>', String(secret));
  const lent = secret.use((bytes) => bytes);
  report.claim('what use() lent is gone after it', lent.length === 0, 'length of a kept view: 0');

  report.section('The secret moves to another process');
  const hash = secret.use(sha256);
  secret.sendTo(holder.socket);
  await holder.ask('receive');
  const mapped = await holder.ask('map');
  const received = await holder.ask('hash');
  report.claim(
    'over SCM_RIGHTS, with its bytes',
    mapped === 'done' && received === hash,
    `SHA-256 ${received.slice(0, 16)}… there and here`,
  );
  const { descriptors, mappings } = holdings();
  report.claim(
    'it is not here any more; only the copy is',
    descriptors === 1 && mappings === 0 && secret.disposed,
    `this process: ${descriptors} descriptor, ${mappings} mappings`,
  );

  report.section('The mapping is whole, and stays where it is');
  for (const [command, claim, call] of [
    ['map_again', 'it cannot be mapped a second time', 'mmap'],
    ['unmap_half', 'half of it cannot be unmapped', 'munmap'],
    ['protect_half', 'half of it cannot be protected', 'mprotect'],
    ['grow', 'it cannot grow', 'mremap'],
    ['move', 'it cannot move', 'mremap'],
  ] as const) {
    const outcome = await holder.ask(command);
    report.claim(claim, /^E[A-Z]+$/.test(outcome), `${call}: ${outcome}`);
  }
  const child = await holder.ask('fork');
  report.claim('a child does not inherit it', /^SIG(SEGV|BUS)$/.test(child), `fork: ${child}`);
  const unharmed = await holder.ask('hash');
  report.claim('after all that, its bytes are the same', unharmed === hash, 'SHA-256 again');

  report.section('Its holder crashes');
  const signal = await holder.crash();
  const core = readCore(folder);
  const found = copy.use(({ buffer }) => core.includes(Buffer.from(buffer, 0, 32)));
  const control = core.includes(`ordinary memory of process ${holder.pid}`);
  report.claim(
    'the core dump has other memory, not the secret',
    control && !found,
    `${signal}: ${kib(core.length)} dumped`,
  );
  copy[Symbol.dispose]();
});

report.section('Afterwards');
const next = RestrictedMemfd.create({ size: 1 << 20 });
const everyByteIsZero = next.map().bytes.every((byte) => byte === 0);
report.claim('the next memory is all zeros', everyByteIsZero, '1 MiB of bytes looked at');
next.destroy();
next.close();
report.claim('nothing is left', counters() === countersAtFirst, counters());

process.exitCode = report.finish();
