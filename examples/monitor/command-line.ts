// SPDX-License-Identifier: MIT
import type { MemoryMap } from './memory-map.js';

/** What the kernel is told. */
export function commandLine(tscKhz: number, { window }: MemoryMap): string {
  return [
    // Without what it says about devices that this machine does not have.
    'console=ttyS0 loglevel=3',
    // A triple fault ends the machine, also after a panic.
    'reboot=t panic=-1',
    // There is no clock to calibrate the TSC by that would not take an exit each time.
    `clocksource=tsc tsc=reliable tsc_early_khz=${tscKhz}`,
    // Interrupts come by the PIC. Without this, the guest looks for an I/O APIC and gives the x2APIC up.
    'noapic',
    'pci=off 8250.nr_uarts=1',
    // What the kernel does not know, init finds in its environment.
    `EXMEM_WINDOW=0x${window.address.toString(16)},${window.size}`,
  ].join(' ');
}
