// SPDX-License-Identifier: MIT
import { Descriptor } from '../descriptor.js';
import { withDevice } from '../device.js';
import { misuse } from '../errors.js';
import { Lifetime } from '../lifetime.js';
import { system } from '../system.js';
import { checkString } from '../validate.js';
import { checkU32 } from './checks.js';
import { flag } from './constants.js';
import { type CpuidEntry, cpuidTable, decodeCpuid } from './cpuid-table.js';
import { kvmSystem } from './system.js';
import { Vm } from './vm.js';

/**
 * KVM of this machine: what it can, and new virtual machines. A binding of what
 * a monitor needs, no more. Methods throw {@link ExclusiveMemoryError} with the
 * kernel's errno and the ioctl's name as `syscall`, and `ERR_EXMEM_DISPOSED`
 * once closed.
 *
 * @example
 * using kvm = Kvm.open();
 * using vm = kvm.createVm();
 * vm.setTssAddress(0xfffb_d000);
 * using memory = SlotMapping.of(fd, { size, access: 'read-write' });
 * vm.setSlot({ slot: 0, gpa: 0, memory });
 * vm.ports.handle(0x3f8, 0x3ff);
 * using vcpu = vm.createVcpu(0);
 * vcpu.setCpuid(guestCpuid(kvm.supportedCpuid(), { apicId: 0, vcpus: 1 }));
 * vcpu.setRegs({ rip: 0n, rflags: 2n });
 * vcpu.start((exit) => (exit.type === 'io-in' ? 0xff : undefined));
 */
export class Kvm implements Disposable {
  readonly #lifetime = new Lifetime('Kvm');
  readonly #device: Descriptor;

  private constructor(device: Descriptor) {
    this.#device = device;
  }

  /**
   * @throws ExclusiveMemoryError `ENOENT` or `EACCES` (`open`) where there is
   *   no KVM, or not for this user; `ENOTTY` if the file is something else;
   *   `ERR_EXMEM_UNAVAILABLE` if it speaks another version than 12, the only
   *   one since 2007.
   */
  static open(path = '/dev/kvm'): Kvm {
    const device = new Descriptor(withDevice(system.duplicate, checkString(path, 'path')));
    try {
      const version = kvmSystem.call(device.fd, 'KVM_GET_API_VERSION');
      if (version !== flag.KVM_API_VERSION) {
        throw misuse(
          'ERR_EXMEM_UNAVAILABLE',
          `Expected version ${flag.KVM_API_VERSION} of KVM's API but ${path} has version ${version}`,
        );
      }
      return new Kvm(device);
    } catch (error) {
      device.close();
      throw error;
    }
  }

  get fd(): number {
    this.#lifetime.check();
    return this.#device.fd;
  }

  /** 0 if it is not there; otherwise what its documentation says. See {@link capability}. */
  checkExtension(capability: number): number {
    return kvmSystem.call(this.fd, 'KVM_CHECK_EXTENSION', checkU32(capability, 'capability'));
  }

  /** Everything that processor and KVM could offer a guest; {@link guestCpuid} makes a choice. */
  supportedCpuid(): CpuidEntry[] {
    const table = cpuidTable(flag.KVM_MAX_CPUID_ENTRIES);
    kvmSystem.call(this.fd, 'KVM_GET_SUPPORTED_CPUID', table);
    return decodeCpuid(table);
  }

  createVm(): Vm {
    const { fd } = this;
    const runSize = kvmSystem.call(fd, 'KVM_GET_VCPU_MMAP_SIZE');
    return new Vm(kvmSystem.createVm(fd), runSize);
  }

  /** close(2). Virtual machines live on. Idempotent. */
  close(): void {
    if (this.#lifetime.end('closed')) this.#device.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
