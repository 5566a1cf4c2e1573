// SPDX-License-Identifier: MIT
// What was found, as claims: for ordinary memory, the opposite ones.
import type { Report } from '../report.js';
import type { Attempt, Secret } from './attempts.js';
import { readDirectMap } from './kernel-memory.js';
import type { KernelOnlyRam } from './ram.js';
import type { Sight } from './sight.js';

const kib = (bytes: number) => `${bytes / 1024} KiB`;

export function reportMemory(report: Report, ram: KernelOnlyRam): void {
  report.section('Its memory');
  const info = ram.memory.info();
  report.claim(
    'all of it is out of the host kernel’s direct map',
    info.outOfDirectMap && info.residentBytes === info.size,
    `EXMEM_GET_INFO: ${kib(info.residentBytes)} resident, ${kib(info.sharedBytes)} shared`,
  );
}

export function reportAttempts(report: Report, attempts: readonly Attempt[], plain = false): void {
  for (const { claim, call, outcome, refusal } of attempts) {
    const verdict = plain ? 'possible' : 'refused';
    report.claim(`${claim}: ${verdict}`, outcome === (plain ? 'the secret' : refusal), `${call}: ${outcome}`);
  }
}

export function reportSight(report: Report, sight: Sight, secret: Secret, plain: boolean): void {
  report.section('What a witness outside sees in the host’s physical memory');
  const [found] = sight.pages;
  if (found === undefined) {
    report.claim('the secret is there', false, 'it is not');
    return;
  }
  const { page, words, kernelAddresses, processAddresses, inDirectMap } = found;
  const pageWords = secret.inverted.length / 16;
  // Of ordinary memory, those who have looked at it left copies of some bytes.
  report.claim(
    plain ? 'the secret, whole' : 'the secret, once, whole',
    (plain || sight.pages.length === 1) && words === pageWords,
    `pmemsave: ${words * 8} bytes at physical 0x${page.toString(16)}`,
  );
  const reaches = (addresses: readonly string[]) =>
    addresses.length === 0 ? 'at no address' : `at ${addresses.join(', ')}`;
  const spaces = `${sight.addressSpaces - 1} other address spaces`;
  report.claim(
    plain ? 'in the host kernel’s address space' : 'in no address space of the host kernel',
    kernelAddresses.length > 0 === plain,
    reaches(kernelAddresses),
  );
  report.claim(
    plain ? 'in the monitor’s address space' : 'in no address space of a process',
    processAddresses.length > 0 === plain,
    `${reaches(processAddresses)}, in ${spaces}`,
  );
  report.claim(
    'at its place in the direct map',
    inDirectMap === (plain ? 'itself' : 'another page'),
    inDirectMap,
  );
  const bytes = readDirectMap(page, pageWords * 8);
  const inverted = Buffer.from(secret.inverted, 'hex');
  const isSecret = bytes.every((byte, i) => byte + (inverted[i] ?? 0) === 0xff);
  const isZero = bytes.every((byte) => byte === 0);
  report.claim(
    plain ? 'where root reads it by /proc/kcore' : 'where root reads zeros by /proc/kcore',
    plain ? isSecret : isZero,
    isSecret ? 'the secret' : isZero ? `${bytes.length} zeros` : 'something else',
  );
}
