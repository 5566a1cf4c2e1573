// SPDX-License-Identifier: MIT
// Guest memory, a queue in it, and qemu-storage-daemon at the other end.
import { BlockDevice, type Places } from './block-device.js';
import { FrontEnd } from './front-end.js';
import { type Iommu, WholeMemory } from './guest-ram.js';
import { StorageDaemon } from './storage-daemon.js';
import { Virtqueue } from './virtqueue.js';
import type { ViewHandle } from 'exclusive-memory';

const pageSize = 4096;

/** Where things are in guest memory; what is between them is the guest's own business. */
export const layout = {
  queue: 0x1_0000,
  places: { header: 0x2_0000, status: 0x2_1000, data: 0x4_0000 } satisfies Places,
  /** Something that the device has no business with. */
  secret: 0x10_0000,
};

export const ramSize = 16 * 1024 * 1024;

export interface AttachedDevice extends AsyncDisposable {
  readonly device: BlockDevice;
  readonly daemon: StorageDaemon;
}

/**
 * Starts a daemon and connects to it.
 *
 * @param ram Guest memory: a file that can be mapped.
 * @param bytes The same, mapped here.
 * @param disk A raw file.
 * @param folder For the daemon's socket.
 * @param iommu What the device is to see of the memory; all, without it.
 */
export async function attachDevice(
  ram: ViewHandle,
  bytes: Uint8Array,
  disk: string,
  folder: string,
  iommu?: Iommu,
): Promise<AttachedDevice> {
  const queue = new Virtqueue(bytes, layout.queue, 16);
  // For as long as the device lives; buffers come and go with the requests.
  iommu?.map({ address: layout.queue, size: Math.max(queue.byteLength, pageSize), write: true });
  const memory = iommu ?? new WholeMemory(ram);
  const daemon = await StorageDaemon.start(disk, folder);
  try {
    const frontEnd = await FrontEnd.start(daemon.socket, { fd: memory.fd, size: ramSize }, queue);
    return {
      device: new BlockDevice(bytes, memory, queue, frontEnd),
      daemon,
      async [Symbol.asyncDispose]() {
        frontEnd[Symbol.dispose]();
        await daemon[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    await daemon[Symbol.asyncDispose]();
    throw error;
  }
}
