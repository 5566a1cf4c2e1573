// SPDX-License-Identifier: MIT
// A device emulation process behind an IOMMU, without a change to it: the
// unmodified qemu-storage-daemon gets a view in place of guest memory.
//
// npm run vm -- node build/ts/examples/vhost-user/main.js
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { Report } from '../report.js';
import { attachDevice, layout, ramSize } from './attached-device.js';
import { headerSize } from './block-device.js';
import { BackEndGone } from './front-end.js';
import { Iommu, makeRam } from './guest-ram.js';

const blockSize = 64 * 1024;
const { places, secret } = layout;
const report = new Report();
const folder = mkdtempSync('/dev/shm/vhost-user-');
const disk = `${folder}/disk.img`;
writeFileSync(disk, Buffer.alloc(4 * 1024 * 1024, 'disk '));

try {
  using ram = makeRam(folder, ramSize);
  await ram.access({ offset: 0, size: ramSize, write: true }, async (bytes) => {
    using iommu = new Iommu(ram);
    await using attached = await attachDevice(ram, bytes, disk, folder, iommu);
    const { device, daemon } = attached;
    bytes.fill(0x5e, secret, secret + blockSize);

    report.section('qemu-storage-daemon, and a view in place of guest memory');
    report.fact('capacity of the disk', `${await device.capacity()} bytes`);
    bytes.fill(0, places.data, places.data + blockSize);
    const read = await device.read(0, blockSize, places);
    report.claim(
      'it reads the disk into the buffer of the request',
      read === 0 && bytes.subarray(places.data).subarray(0, 5).every((byte, i) => byte === 'disk '.charCodeAt(i)),
      `status ${read}, ${blockSize} bytes`,
    );
    bytes.fill(0x77, places.data, places.data + blockSize);
    const written = await device.write(128, blockSize, places);
    report.claim('and writes it from there', written === 0, `status ${written}`);
    report.claim(
      'between requests it sees the queue, and nothing else',
      iommu.mapped.length === 1 && iommu.mapped[0]?.at === layout.queue,
      `MEMVIEW_GET_RANGES: ${iommu.mapped.map(({ at, size }) => `0x${at.toString(16)}+${size}`).join()}`,
    );

    report.section('It goes astray');
    const headerAndStatus = [
      { address: places.header, size: headerSize, write: false },
      { address: places.status, size: 1, write: true },
    ];
    let outcome: string;
    try {
      const stray = { ...places, data: secret };
      outcome = `status ${await device.read(0, blockSize, stray, headerAndStatus)}`;
    } catch (error) {
      if (!(error instanceof BackEndGone)) throw error;
      outcome = `the daemon ended: ${await daemon.ended}`;
    }
    report.claim(
      'a descriptor that points elsewhere is not served',
      outcome !== 'status 0' && bytes.subarray(secret, secret + blockSize).every((byte) => byte === 0x5e),
      outcome,
    );
  });
} finally {
  rmSync(folder, { recursive: true });
}
process.exitCode = report.finish();
