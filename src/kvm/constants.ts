// SPDX-License-Identifier: MIT
import { native } from '../native.js';

const capabilityNames = [
  'IRQCHIP',
  'NR_VCPUS',
  'NR_MEMSLOTS',
  'MAX_VCPUS',
  'IRQFD',
  'IRQFD_RESAMPLE',
  'PIT2',
  'IOEVENTFD',
  'TSC_CONTROL',
  'GET_TSC_KHZ',
  'TSC_DEADLINE_TIMER',
  'READONLY_MEM',
  'SPLIT_IRQCHIP',
  'X2APIC_API',
  'ENFORCE_PV_FEATURE_CPUID',
  'EXIT_HYPERCALL',
  'EXIT_ON_EMULATION_FAILURE',
] as const;

const exitNames = [
  'IO',
  'HYPERCALL',
  'HLT',
  'MMIO',
  'SHUTDOWN',
  'FAIL_ENTRY',
  'INTERNAL_ERROR',
  'SYSTEM_EVENT',
] as const;

const otherNames = [
  'KVM_API_VERSION',
  'KVM_MAX_CPUID_ENTRIES',
  'KVM_MEM_LOG_DIRTY_PAGES',
  'KVM_MEM_READONLY',
  'KVM_IRQFD_FLAG_DEASSIGN',
  'KVM_IRQFD_FLAG_RESAMPLE',
  'KVM_IOEVENTFD_FLAG_DATAMATCH',
  'KVM_IOEVENTFD_FLAG_PIO',
  'KVM_IOEVENTFD_FLAG_DEASSIGN',
  'KVM_PIT_SPEAKER_DUMMY',
] as const;

export type CapabilityName = (typeof capabilityNames)[number];

/** What the addon takes from linux/kvm.h. */
export type KvmConstantName =
  | `KVM_CAP_${CapabilityName}`
  | `KVM_EXIT_${(typeof exitNames)[number]}`
  | (typeof otherNames)[number];

function pick<const N extends string>(prefix: string, names: readonly N[]) {
  const all = native.kvmConstants as Readonly<Record<string, number>>;
  return Object.fromEntries(names.map((name) => [name, all[prefix + name]])) as Readonly<
    Record<N, number>
  >;
}

/** KVM_CAP_*, for {@link Kvm.checkExtension} and {@link Vm.enableCapability}. */
export const capability = pick('KVM_CAP_', capabilityNames);

/** KVM_EXIT_* */
export const exitReason = pick('KVM_EXIT_', exitNames);

export const flag = pick('', otherNames);
