// SPDX-License-Identifier: MIT
export { capability, type CapabilityName } from './constants.js';
export { type GuestCpuidOptions, guestCpuid } from './cpuid.js';
export type { CpuidEntry } from './cpuid-table.js';
export { EventFd, type EventWaitOptions } from './event-fd.js';
export type {
  ExitAnswer,
  ExitHandler,
  FailEntryExit,
  HltExit,
  HypercallExit,
  InternalErrorExit,
  IoInExit,
  IoOutExit,
  MemoryFaultExit,
  MmioReadExit,
  MmioWriteExit,
  OtherExit,
  RunErrorExit,
  ShutdownExit,
  SystemEventExit,
  VcpuExit,
} from './exits.js';
export { Kvm } from './kvm.js';
export { lockdown, type LockdownException, type LockdownOptions } from './lockdown.js';
export type { MsrEntry } from './msr.js';
export type { DescriptorTable, Registers, Segment, SpecialRegisters } from './registers.js';
export type { IoPorts, MmioRanges } from './routes.js';
export { SlotMapping, type SlotMappingOptions } from './slot-mapping.js';
export { Vcpu, type VcpuState } from './vcpu.js';
export { type IoeventfdOptions, type IrqfdOptions, type SlotOptions, Vm } from './vm.js';
