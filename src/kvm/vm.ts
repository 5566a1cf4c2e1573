// SPDX-License-Identifier: MIT
import { type DescriptorLike, fdOf } from '../descriptor.js';
import { Lifetime } from '../lifetime.js';
import { native } from '../native.js';
import { pageSize } from '../page.js';
import { checkBoolean, checkInteger, checkOptions, checkPages, unexpected } from '../validate.js';
import { checkU32, checkWord } from './checks.js';
import { flag } from './constants.js';
import { enableCapability } from './enable-capability.js';
import type { NativeMachine } from './native.js';
import { IoPorts, MmioRanges } from './routes.js';
import { regionOf, SlotMapping } from './slot-mapping.js';
import { kvmSystem } from './system.js';
import { Vcpu } from './vcpu.js';

export interface SlotOptions {
  /** Its number: one that is in use is changed, as far as KVM allows. */
  readonly slot: number;
  /** Guest-physical address, of a page. */
  readonly gpa: number;
  readonly memory: SlotMapping;
  /** Byte offset in `memory`, of a page. Default: 0. */
  readonly offset?: number;
  /** Bytes, whole pages. Default: up to the end of `memory`. */
  readonly size?: number;
  /** Stores become `mmio-write` exits. */
  readonly readonly?: boolean;
  /** For {@link Vm.dirtyPages}. */
  readonly logDirty?: boolean;
}

export interface IrqfdOptions {
  /** For level-triggered interrupts: signalled when the guest has acknowledged one. */
  readonly resample?: DescriptorLike;
  /** Ends what an earlier call began. */
  readonly remove?: boolean;
}

export interface IoeventfdOptions {
  /** A guest-physical address, or an I/O port. */
  readonly address: number;
  /** Bytes of the access: 1, 2, 4 or 8; of memory also 0, for any. */
  readonly length: number;
  /** Whether it is an I/O port. */
  readonly pio?: boolean;
  /** Only for writes of this value. */
  readonly datamatch?: number | bigint;
  /** The eventfd to signal. */
  readonly fd: DescriptorLike;
  /** Ends what an earlier call with the same options began. */
  readonly remove?: boolean;
}

const lengths: readonly number[] = [0, 1, 2, 4, 8];

/**
 * A virtual machine: slots of memory, interrupt controllers, vCPUs. Made by
 * {@link Kvm.createVm}. Disposing it disposes its vCPUs.
 */
export class Vm implements Disposable {
  /** Who answers which I/O port: nobody, until it is told. */
  readonly ports: IoPorts;
  /** Who answers at which address without memory: nobody, until it is told. */
  readonly mmio: MmioRanges;

  readonly #lifetime = new Lifetime('Vm');
  readonly #machine: NativeMachine;
  readonly #fd: number;
  readonly #runSize: number;
  readonly #vcpus = new Set<Vcpu>();

  /** @internal Use {@link Kvm.createVm}. */
  constructor(fd: number, runSize: number) {
    this.#fd = fd;
    this.#runSize = runSize;
    this.#machine = new native.KvmMachine(fd);
    const machine = () => {
      this.#lifetime.check();
      return this.#machine;
    };
    this.ports = new IoPorts(machine);
    this.mmio = new MmioRanges(machine);
  }

  /** The number, for calls that borrow it; this object stays its owner. */
  get fd(): number {
    this.#lifetime.check();
    return this.#fd;
  }

  /** Three pages that Intel's processors need for real mode, outside of all slots. */
  setTssAddress(address: number): void {
    const { fd } = this;
    kvmSystem.call(fd, 'KVM_SET_TSS_ADDR', checkPages(address, 'address', 0, 0xffff_ffff));
  }

  /** The PICs, the IOAPIC, and a local APIC for each vCPU: before the first vCPU. */
  createIrqchip(): void {
    kvmSystem.call(this.fd, 'KVM_CREATE_IRQCHIP');
  }

  /** The timer at ports 0x40 to 0x43 and 0x61, after {@link createIrqchip}. */
  createPit(): void {
    const { fd } = this;
    const config = new Uint8Array(64);
    new DataView(config.buffer).setUint32(0, flag.KVM_PIT_SPEAKER_DUMMY, true);
    kvmSystem.call(fd, 'KVM_CREATE_PIT2', config);
  }

  /**
   * @param capability One of {@link capability}.
   * @param args At most four.
   */
  enableCapability(capability: number, ...args: (number | bigint)[]): void {
    const { fd } = this;
    checkInteger(args.length, 'the number of arguments', 0, 4);
    const words = args.map((value, i) => checkWord(value, `args[${i}]`));
    enableCapability(fd, checkU32(capability, 'capability'), words);
  }

  /**
   * Puts memory at a guest-physical address, or changes what a slot is.
   *
   * @throws ExclusiveMemoryError `EEXIST` if it overlaps with another slot;
   *   `EINVAL` if KVM cannot change the slot to that, or has no such number.
   */
  setSlot(options: SlotOptions): void {
    this.#lifetime.check();
    checkOptions(options, 'options');
    const { memory, readonly = false, logDirty = false } = options;
    if (!(memory instanceof SlotMapping)) throw unexpected('a SlotMapping', 'memory', memory);
    const slot = checkU32(options.slot, 'slot');
    const offset = checkPages(options.offset ?? 0, 'offset', 0, memory.size - pageSize);
    const rest = memory.size - offset;
    const size = checkPages(options.size ?? rest, 'size', pageSize, rest);
    const gpa = checkPages(options.gpa, 'gpa', 0, Number.MAX_SAFE_INTEGER - size);
    const flags =
      (checkBoolean(readonly, 'readonly') ? flag.KVM_MEM_READONLY : 0) |
      (checkBoolean(logDirty, 'logDirty') ? flag.KVM_MEM_LOG_DIRTY_PAGES : 0);
    kvmSystem.setSlot(this.#machine, slot, flags, gpa, regionOf(memory), offset, size);
  }

  /**
   * When this returns, no vCPU finds the memory any more.
   *
   * @throws ExclusiveMemoryError `EINVAL` if there is no such slot.
   */
  removeSlot(slot: number): void {
    this.#lifetime.check();
    kvmSystem.removeSlot(this.#machine, checkU32(slot, 'slot'));
  }

  /**
   * What the guest wrote to since the last call: one bit for each page of the
   * slot, the first in bit 0 of byte 0.
   *
   * @throws ExclusiveMemoryError `ENOENT` if the slot is not there, or does not log.
   */
  dirtyPages(slot: number): Uint8Array {
    this.#lifetime.check();
    return kvmSystem.dirtyLog(this.#machine, checkU32(slot, 'slot'));
  }

  /** Of the in-kernel interrupt controllers. */
  setIrqLine(irq: number, level: boolean): void {
    const { fd } = this;
    const request = new Uint8Array(8);
    const view = new DataView(request.buffer);
    view.setUint32(0, checkU32(irq, 'irq'), true);
    view.setUint32(4, checkBoolean(level, 'level') ? 1 : 0, true);
    kvmSystem.call(fd, 'KVM_IRQ_LINE', request);
  }

  /** Makes an {@link EventFd} an interrupt: signalling it pulses the line. */
  irqfd(source: DescriptorLike, gsi: number, options: IrqfdOptions = {}): void {
    const { fd } = this;
    checkOptions(options, 'options');
    const { resample, remove = false } = options;
    const flags =
      (checkBoolean(remove, 'remove') ? flag.KVM_IRQFD_FLAG_DEASSIGN : 0) |
      (resample === undefined ? 0 : flag.KVM_IRQFD_FLAG_RESAMPLE);
    const request = new Uint8Array(32);
    const view = new DataView(request.buffer);
    view.setUint32(0, fdOf(source, 'source'), true);
    view.setUint32(4, checkU32(gsi, 'gsi'), true);
    view.setUint32(8, flags, true);
    view.setUint32(12, resample === undefined ? 0 : fdOf(resample, 'resample'), true);
    kvmSystem.call(fd, 'KVM_IRQFD', request);
  }

  /** Makes writes of the guest signal an {@link EventFd}, without an exit. */
  ioeventfd(options: IoeventfdOptions): void {
    const { fd } = this;
    checkOptions(options, 'options');
    const { length, pio = false, datamatch, remove = false } = options;
    if (!lengths.includes(length)) throw unexpected('0, 1, 2, 4 or 8', 'length', length);
    const flags =
      (checkBoolean(pio, 'pio') ? flag.KVM_IOEVENTFD_FLAG_PIO : 0) |
      (datamatch === undefined ? 0 : flag.KVM_IOEVENTFD_FLAG_DATAMATCH) |
      (checkBoolean(remove, 'remove') ? flag.KVM_IOEVENTFD_FLAG_DEASSIGN : 0);
    const request = new Uint8Array(64);
    const view = new DataView(request.buffer);
    view.setBigUint64(0, datamatch === undefined ? 0n : checkWord(datamatch, 'datamatch'), true);
    view.setBigUint64(8, checkWord(options.address, 'address'), true);
    view.setUint32(16, length, true);
    view.setInt32(20, fdOf(options.fd, 'fd'), true);
    view.setUint32(24, flags, true);
    kvmSystem.call(fd, 'KVM_IOEVENTFD', request);
  }

  /**
   * A vCPU that offers no paravirtual feature but those its CPUID names
   * (KVM_CAP_ENFORCE_PV_FEATURE_CPUID).
   *
   * @param id Its APIC id. 0 is the one that begins, where there is an irqchip.
   * @throws ExclusiveMemoryError `EEXIST` if there is one.
   */
  createVcpu(id: number): Vcpu {
    const { fd } = this;
    checkU32(id, 'id');
    const vcpu = new Vcpu({
      vm: this,
      id,
      machine: this.#machine,
      fd: kvmSystem.createVcpu(fd, id),
      runSize: this.#runSize,
      closed: () => this.#vcpus.delete(vcpu),
    });
    this.#vcpus.add(vcpu);
    return vcpu;
  }

  /**
   * Disposes its vCPUs, removes its slots, and closes it. The virtual machine
   * itself goes with the last descriptor of it. Idempotent.
   */
  close(): void {
    if (!this.#lifetime.end('closed')) return;
    for (const vcpu of [...this.#vcpus]) vcpu.close();
    this.#machine.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
