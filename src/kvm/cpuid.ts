// SPDX-License-Identifier: MIT
import { misuse } from '../errors.js';
import { checkArray, checkBoolean, checkInteger, checkOptions } from '../validate.js';
import { checkU32 } from './checks.js';
import type { CpuidEntry } from './cpuid-table.js';

export interface GuestCpuidOptions {
  /** Of this vCPU. */
  readonly apicId: number;
  /** How many vCPUs there are. */
  readonly vcpus: number;
  /** Whether the guest may use the x2APIC, which needs no MMIO. Default: true. */
  readonly x2apic?: boolean;
  /** Whether the timer of the in-kernel APIC can be a TSC deadline. Default: true. */
  readonly tscDeadline?: boolean;
  /**
   * KVM_FEATURE_* bits to offer, with KVM's signature, of those that need no
   * memory which guest and host share. Default: not even the signature.
   */
  readonly kvmFeatures?: number;
}

const bit = (number: number) => (1 << number) >>> 0;
const bits = (...numbers: number[]) => numbers.reduce((sum, number) => sum + bit(number), 0);

/**
 * KVM_FEATURE_*: delays of port I/O, unhalting, IPIs and yields by hypercall,
 * halt polling, wide MSI destinations, memory attributes. All others make KVM
 * write to guest memory by a kernel address, or by one of the monitor.
 */
const memorylessFeatures = bits(1, 7, 11, 12, 13, 15, 16);

/**
 * What a guest on memory that the host cannot read is offered, of what
 * {@link Kvm.supportedCpuid} says. Not offered is whatever makes KVM itself
 * look into guest memory: KVM's paravirtual clock, steal time, end of
 * interrupt and asynchronous page faults, those of Hyper-V and Xen, and nested
 * virtualization (SVM and VMX); nor SGX and SEV. It would not leak, but find
 * the zeros of a decoy page, and the guest would die of it.
 *
 * Every vCPU enforces this besides: it refuses the MSRs and hypercalls of
 * paravirtual features that its CPUID does not have.
 */
export function guestCpuid(entries: readonly CpuidEntry[], options: GuestCpuidOptions): CpuidEntry[] {
  checkArray(entries, 'entries');
  checkOptions(options, 'options');
  const { x2apic = true, tscDeadline = true, kvmFeatures } = options;
  checkBoolean(x2apic, 'x2apic');
  checkBoolean(tscDeadline, 'tscDeadline');
  const vcpus = checkInteger(options.vcpus, 'vcpus', 1, 0xffff);
  const apicId = checkU32(options.apicId, 'apicId');
  const guest = entries
    .filter((entry) => !isWithheld(entry.function))
    .map((entry) => narrowed(entry, { apicId, vcpus, x2apic, tscDeadline, amd: isAmd(entries) }));
  if (kvmFeatures === undefined) return guest;
  return [...guest, ...kvmLeaves(checkFeatures(kvmFeatures))];
}

function isWithheld(leaf: number): boolean {
  const paravirtual = leaf >= 0x4000_0000 && leaf <= 0x4fff_ffff;
  const sgx = leaf === 0x12;
  const svm = leaf === 0x8000_000a;
  const sev = leaf === 0x8000_001f;
  return paravirtual || sgx || svm || sev;
}

/** "Auth" of AuthenticAMD, or "Hygo" of HygonGenuine. */
const isAmd = (entries: readonly CpuidEntry[]) =>
  entries.some((entry) => entry.function === 0 && [0x6874_7541, 0x6f67_7948].includes(entry.ebx));

interface Place extends Required<Omit<GuestCpuidOptions, 'kvmFeatures'>> {
  readonly amd: boolean;
}

function narrowed(entry: CpuidEntry, place: Place): CpuidEntry {
  const { apicId, vcpus, x2apic, tscDeadline, amd } = place;
  switch (entry.function) {
    case 1: {
      const brand = entry.ebx & 0xffff;
      const ebx = (brand | (Math.min(vcpus, 255) << 16) | ((apicId & 0xff) << 24)) >>> 0;
      // ECX: VMX, x2APIC, TSC deadline, and that there is a hypervisor. EDX: several in a package.
      const cleared = withBit(withBit(entry.ecx, 5, false), 21, x2apic);
      const ecx = withBit(withBit(cleared, 24, tscDeadline), 31, true);
      return { ...entry, ebx, ecx, edx: withBit(entry.edx, 28, vcpus > 1) };
    }
    case 7: // SGX, and its launch control.
      if (entry.index !== 0) return entry;
      return { ...entry, ebx: withBit(entry.ebx, 2, false), ecx: withBit(entry.ecx, 30, false) };
    case 0xb:
    case 0x1f:
      return { ...entry, edx: apicId };
    case 0x8000_0001: // SVM
      return { ...entry, ecx: withBit(entry.ecx, 2, false) };
    case 0x8000_0008: // AMD: processors in this package, less one
      if (!amd) return entry;
      return { ...entry, ecx: ((entry.ecx & ~0xff) | Math.min(vcpus - 1, 255)) >>> 0 };
    case 0x8000_001e: // the extended APIC id
      return { ...entry, eax: apicId };
    default:
      return entry;
  }
}

const withBit = (word: number, number: number, set: boolean) =>
  (set ? word | bit(number) : word & ~bit(number)) >>> 0;

function checkFeatures(features: number): number {
  checkU32(features, 'kvmFeatures');
  const others = (features & ~memorylessFeatures) >>> 0;
  if (others === 0) return features;
  throw misuse(
    'ERR_EXMEM_ARGUMENT',
    `Expected kvmFeatures within 0x${memorylessFeatures.toString(16)} but received ` +
      `0x${features.toString(16)}: 0x${others.toString(16)} needs memory that KVM can access`,
  );
}

function kvmLeaves(features: number): CpuidEntry[] {
  const leaf = { index: 0, flags: 0, ecx: 0, edx: 0 };
  // "KVMKVMKVM\0\0\0", and the last leaf.
  const signature = { ebx: 0x4b4d_564b, ecx: 0x564b_4d56, edx: 0x4d };
  return [
    { ...leaf, function: 0x4000_0000, eax: 0x4000_0001, ...signature },
    { ...leaf, function: 0x4000_0001, eax: features, ebx: 0 },
  ];
}
