// SPDX-License-Identifier: MIT
import { native } from '../native.js';
import { raising } from '../system.js';
import type { NativeMachine, NativeProcessor, NativeSlotRegion } from './native.js';

/** The system calls that are about KVM. */
export const kvmSystem = {
  call: raising(native.kvmCall),
  createVm: raising(native.kvmCreateVm),
  createVcpu: raising(native.kvmCreateVcpu),
  eventFd: raising(native.eventFd),
  mapSlot: raising(
    (fd: number, size: number, offset: number, access: 0 | 1 | 2) =>
      new native.SlotRegion(fd, size, offset, access),
  ),
  setSlot: raising(
    (
      machine: NativeMachine,
      ...slot: [number, number, number, NativeSlotRegion, number, number]
    ) => {
      machine.setSlot(...slot);
    },
  ),
  removeSlot: raising((machine: NativeMachine, slot: number) => {
    machine.removeSlot(slot);
  }),
  dirtyLog: raising((machine: NativeMachine, slot: number) => machine.dirtyLog(slot)),
  newProcessor: raising(
    (machine: NativeMachine, fd: number, runSize: number) =>
      new native.KvmProcessor(machine, fd, runSize),
  ),
  start: raising((processor: NativeProcessor, number: number) => {
    processor.start(number);
  }),
} as const;
