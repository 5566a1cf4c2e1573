// SPDX-License-Identifier: MIT
import { kvmSystem } from './system.js';

/** Of a VM or of a vCPU: struct kvm_enable_cap. */
export function enableCapability(fd: number, capability: number, args: readonly bigint[]): void {
  const request = new Uint8Array(104);
  const view = new DataView(request.buffer);
  view.setUint32(0, capability, true);
  args.forEach((value, i) => {
    view.setBigUint64(8 + i * 8, value, true);
  });
  kvmSystem.call(fd, 'KVM_ENABLE_CAP', request);
}
