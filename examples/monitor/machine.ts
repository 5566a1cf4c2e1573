// SPDX-License-Identifier: MIT
// A virtual machine with as little as Linux needs: processors with a local APIC
// each, the PIC and PIT that KVM has, a serial port, a switch, and a doorbell.
import { EventEmitter } from 'node:events';
import {
  capability,
  guestCpuid,
  Kvm,
  type Registers,
  type Vcpu,
  type VcpuExit,
  type Vm,
} from 'exclusive-memory/kvm';
import { acpiTables, localApicAddress, powerPorts, sleepEnable, sleepType, sleepTypeOff } from './acpi.js';
import type { KernelImage } from './kernel-image.js';
import { bootGdt, controlRegisters, identityPageTables, selectors } from './long-mode.js';
import { addresses, type MemoryMap } from './memory-map.js';
import type { GuestRam } from './ram.js';
import { rtcPorts, rtcRegister } from './rtc.js';
import { Uart, uartRegisters } from './uart.js';
import { zeroPage } from './zero-page.js';

const com1 = { port: 0x3f8, irq: 4 } as const;
/** guest/mailbox.c rings it. */
const doorbell = 0x510;
const eventEnable = powerPorts.event + powerPorts.eventLength / 2;
const keyboardControl = 0x64;
const resetPulse = 0xfe;
/** Below 4 GiB, where no memory is: three pages that KVM on Intel needs for itself. */
const tssAddress = 0xfffb_d000;

export interface MachineOptions {
  readonly processors: number;
  readonly ram: GuestRam;
}

/** How the machine came to its end. */
export type Ending =
  | { readonly kind: 'power-off' | 'reset' }
  | { readonly kind: 'failure'; readonly reason: string };

interface MachineEvents {
  serial: [bytes: Uint8Array];
  doorbell: [];
  end: [ending: Ending];
}

export class Machine extends EventEmitter<MachineEvents> implements AsyncDisposable {
  readonly tscKhz: number;
  readonly #kvm: Kvm;
  readonly #vm: Vm;
  readonly #vcpus: Vcpu[];
  readonly #uart: Uart;
  readonly #ram: GuestRam;
  #interrupt = false;
  #ended = false;

  constructor({ processors, ram }: MachineOptions) {
    super();
    this.#ram = ram;
    this.#kvm = Kvm.open();
    this.#vm = this.#kvm.createVm();
    this.#vm.setTssAddress(tssAddress);
    this.#vm.createIrqchip();
    this.#vm.createPit();
    // An instruction that KVM cannot emulate ends the guest here, rather than livelock it there.
    this.#vm.enableCapability(capability.EXIT_ON_EMULATION_FAILURE, 1);
    ram.attach(this.#vm);
    this.#uart = new Uart({
      transmit: (bytes) => this.emit('serial', bytes),
      interrupt: (level) => {
        // Another processor may take it at once, and has to find the cause.
        if (level) this.#updateUart();
        this.#setInterrupt(level);
      },
    });
    this.#vcpus = Array.from({ length: processors }, (_, id) => this.#createVcpu(id, processors));
    this.tscKhz = this.#vcpus[0]?.tscKhz ?? 0;
    this.#claimPorts();
  }

  /** Puts everything in place that the kernel finds when it starts. */
  async load(kernel: KernelImage, map: MemoryMap, initramfs: Buffer, commandLine: string): Promise<void> {
    if (Buffer.byteLength(commandLine) > kernel.maxCommandLine) {
      throw new Error(`Expected a command line of at most ${kernel.maxCommandLine} bytes`);
    }
    if (kernel.loadAddress + kernel.initSize > map.initramfs.address) {
      throw new Error(`Expected more memory than ${map.size >> 20} MiB for ${kernel.path}`);
    }
    const { path, offset, size } = kernel;
    const images = [
      [{ path, offset, size }, kernel.loadAddress],
      [initramfs, map.initramfs.address],
      [zeroPage(kernel, map), addresses.zeroPage],
      [Buffer.from(`${commandLine}\0`), addresses.commandLine],
      [identityPageTables(addresses.pageTables), addresses.pageTables],
      [bootGdt(), addresses.gdt],
      [acpiTables(addresses.acpi, this.#vcpus.length), addresses.acpi],
    ] as const;
    for (const [image, address] of images) await this.#ram.populate(image, address);
    this.#ram.seal(map.window);
    this.#enterAt(kernel.entry);
  }

  start(): void {
    for (const vcpu of this.#vcpus) vcpu.start((exit) => this.#handle(exit));
  }

  /** What somebody types. */
  type(bytes: Uint8Array): void {
    this.#uart.receive(bytes);
    this.#updateUart();
  }

  /** What a monitor that was taken over would read its guest's memory with. */
  createAnother(): void {
    this.#kvm.createVm()[Symbol.dispose]();
  }

  /** Of the first processor. */
  async readRegisters(): Promise<Registers | undefined> {
    const [first] = this.#vcpus;
    await first?.pause();
    try {
      return first?.regs;
    } finally {
      first?.resume();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#vcpus.map((vcpu) => vcpu.stop()));
    for (const vcpu of this.#vcpus) vcpu[Symbol.dispose]();
    this.#vm[Symbol.dispose]();
    this.#kvm[Symbol.dispose]();
  }

  #createVcpu(id: number, processors: number): Vcpu {
    const vcpu = this.#vm.createVcpu(id);
    vcpu.setCpuid(guestCpuid(this.#kvm.supportedCpuid(), { apicId: id, vcpus: processors }));
    const enabled = 0x800;
    const x2apic = 0x400;
    const bootProcessor = id === 0 ? 0x100 : 0;
    // The x2APIC from the start: the guest never sees one that is memory-mapped.
    vcpu.setSregs({ apicBase: BigInt(localApicAddress + enabled + x2apic + bootProcessor) });
    return vcpu;
  }

  /** The others wait for the first to start them. */
  #enterAt(entry: number): void {
    const flat = { base: 0n, limit: 0xffff_ffff, present: 1, dpl: 0, s: 1, g: 1, avl: 0, unusable: 0 };
    const code = { ...flat, selector: selectors.code, type: 11, l: 1, db: 0 };
    const data = { ...flat, selector: selectors.data, type: 3, l: 0, db: 1 };
    const [first] = this.#vcpus;
    first?.setSregs({
      ...controlRegisters,
      ...{ cs: code, ds: data, es: data, fs: data, gs: data, ss: data },
      gdt: { base: BigInt(addresses.gdt), limit: bootGdt().length - 1 },
      idt: { base: 0n, limit: 0 },
    });
    first?.setRegs({
      rip: BigInt(entry),
      rsi: BigInt(addresses.zeroPage),
      rsp: BigInt(addresses.stackEnd),
      rflags: 2n,
    });
  }

  #claimPorts(): void {
    const { ports } = this.#vm;
    ports.handle(com1.port, com1.port + uartRegisters - 1);
    // What is sent needs no answer, and is by far the most.
    ports.post(com1.port);
    this.#updateUart();
    ports.post(doorbell);
    // No event of power management ever happens; ACPI mode is on.
    const acpiMode = 1;
    ports.reply(powerPorts.event, 0);
    ports.handle(eventEnable);
    ports.reply(eventEnable, 0);
    ports.handle(powerPorts.control);
    ports.reply(powerPorts.control, acpiMode);
    ports.handle(rtcPorts.index);
    ports.handle(keyboardControl);
    ports.reply(keyboardControl, 0xff);
  }

  /** Registers that reading does not change are answered without us. */
  #updateUart(): void {
    for (let offset = 1; offset < uartRegisters; offset++) {
      this.#vm.ports.reply(com1.port + offset, this.#uart.peek(offset));
    }
  }

  #setInterrupt(level: boolean): void {
    if (level === this.#interrupt) return;
    this.#interrupt = level;
    this.#vm.setIrqLine(com1.irq, level);
  }

  #handle(exit: VcpuExit): number | undefined {
    switch (exit.type) {
      case 'io-in':
        return this.#in(exit.port);
      case 'io-out':
        this.#out(exit.port, exit.data);
        return undefined;
      case 'shutdown':
        // "reboot=t": a triple fault is how the kernel restarts.
        this.#end({ kind: 'reset' });
        return undefined;
      case 'mmio-read':
      case 'mmio-write':
        return undefined;
      default:
        this.#end({ kind: 'failure', reason: describe(exit) });
        return undefined;
    }
  }

  #in(port: number): number | undefined {
    if (!isUart(port)) return undefined;
    const value = this.#uart.read(port - com1.port);
    this.#updateUart();
    return value;
  }

  #out(port: number, data: Uint8Array): void {
    const [value = 0, high = 0] = data;
    if (isUart(port)) {
      this.#uart.write(port - com1.port, data);
      if (port !== com1.port) this.#updateUart();
    } else if (port === doorbell) {
      this.emit('doorbell');
    } else if (port === rtcPorts.index) {
      this.#vm.ports.reply(rtcPorts.data, rtcRegister(value, new Date()));
    } else if (port === eventEnable) {
      this.#vm.ports.reply(eventEnable, value | (high << 8));
    } else if (port === powerPorts.control) {
      const control = value | (high << 8);
      if ((control & sleepEnable) !== 0 && sleepType(control) === sleepTypeOff) this.#end({ kind: 'power-off' });
    } else if (port === keyboardControl && value === resetPulse) {
      this.#end({ kind: 'reset' });
    }
  }

  #end(ending: Ending): void {
    if (this.#ended) return;
    this.#ended = true;
    this.emit('end', ending);
  }
}

const isUart = (port: number) => port >= com1.port && port < com1.port + uartRegisters;

function describe(exit: VcpuExit): string {
  switch (exit.type) {
    case 'internal-error':
      return `KVM_EXIT_INTERNAL_ERROR, suberror ${exit.suberror}`;
    case 'fail-entry':
      return `KVM_EXIT_FAIL_ENTRY, reason 0x${exit.reason.toString(16)}`;
    case 'memory-fault':
    case 'run-error':
      return exit.error.message;
    default:
      return exit.type;
  }
}
