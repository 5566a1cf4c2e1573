// SPDX-License-Identifier: MIT
// An unmodified qemu-storage-daemon, with a view in place of guest memory.
import { expect } from 'chai';
import { randomBytes, randomInt } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import {
  type AttachedDevice,
  attachDevice,
  layout,
  ramSize,
} from '../../examples/vhost-user/attached-device.js';
import { headerSize, sectorSize } from '../../examples/vhost-user/block-device.js';
import { BackEndGone } from '../../examples/vhost-user/front-end.js';
import { Iommu, makeRam } from '../../examples/vhost-user/guest-ram.js';
import { median } from '../support/figures.js';

const { places, secret } = layout;
const blockSize = 64 * 1024;
const diskSize = 4 * 1024 * 1024;
const ioError = 1; // VIRTIO_BLK_S_IOERR
const untouched = 0x5e;

const headerBuffer = { address: places.header, size: headerSize, write: false };
const statusBuffer = { address: places.status, size: 1, write: true };

describe('vhost-user: qemu-storage-daemon behind an enforcing IOMMU', function () {
  this.timeout(120_000);

  let folder: string;
  let disk: string;

  beforeEach(() => {
    folder = mkdtempSync('/dev/shm/vhost-user-');
    disk = `${folder}/disk.img`;
    writeFileSync(disk, randomBytes(diskSize));
  });

  afterEach(() => {
    rmSync(folder, { recursive: true });
  });

  /** Everything is there: guest memory with something secret in it, and the device. */
  async function withDevice(
    test: (attached: AttachedDevice, ram: Uint8Array, iommu: Iommu) => Promise<void>,
  ): Promise<void> {
    using ram = makeRam(folder, ramSize);
    await ram.access({ offset: 0, size: ramSize, write: true }, async (bytes) => {
      bytes.fill(untouched, secret, secret + blockSize);
      using iommu = new Iommu(ram);
      await using attached = await attachDevice(ram, bytes, disk, folder, iommu);
      await test(attached, bytes, iommu);
      expect(isUntouched(bytes), 'the rest of guest memory').to.equal(true);
    });
  }

  const isUntouched = (ram: Uint8Array) =>
    ram.subarray(secret, secret + blockSize).every((byte) => byte === untouched);

  async function expectGone(use: Promise<unknown>): Promise<void> {
    try {
      await use;
    } catch (error) {
      expect(error).to.be.instanceOf(BackEndGone);
      return;
    }
    expect.fail('Expected the back-end to be gone');
  }

  it('reads and writes the right bytes, and sees only what it works on', async () => {
    const model = readFileSync(disk);
    await withDevice(async ({ device }, ram, iommu) => {
      expect(await device.capacity()).to.equal(diskSize);
      for (let i = 0; i < 200; i++) {
        const size = randomInt(1, blockSize / sectorSize) * sectorSize;
        const sector = randomInt(0, (diskSize - size) / sectorSize);
        const at = sector * sectorSize;
        const data = ram.subarray(places.data, places.data + size);
        if (i % 2) {
          data.set(randomBytes(size));
          expect(await device.write(sector, size, places)).to.equal(0);
          model.set(data, at);
        } else {
          data.fill(0);
          expect(await device.read(sector, size, places)).to.equal(0);
          expect(Buffer.compare(data, model.subarray(at, at + size)), `sector ${sector}`).to.equal(0);
        }
        expect(iommu.mapped.map(({ at: address }) => address)).to.deep.equal([layout.queue]);
      }
    });
    expect(Buffer.compare(readFileSync(disk), model)).to.equal(0);
  });

  it('refuses to read into memory that it cannot reach, and lives', async () => {
    await withDevice(async ({ device, daemon }) => {
      const stray = { ...places, data: secret };
      expect(await device.read(0, blockSize, stray, [headerBuffer, statusBuffer])).to.equal(ioError);
      expect(daemon.isRunning).to.equal(true);
      expect(await device.read(0, blockSize, places)).to.equal(0);
    });
  });

  it('refuses to write what it cannot reach, and the disk stays as it was', async () => {
    const before = readFileSync(disk);
    await withDevice(async ({ device, daemon }) => {
      // A part of the buffer can be reached: nothing of the rest gets out.
      const stray = { ...places, data: secret };
      const reachable = [headerBuffer, statusBuffer, { address: secret, size: 4096, write: false }];
      expect(await device.write(0, blockSize, stray, reachable)).to.equal(ioError);
      expect(daemon.isRunning).to.equal(true);
    });
    const after = readFileSync(disk);
    expect(Buffer.compare(after.subarray(4096), before.subarray(4096))).to.equal(0);
  });

  it('cannot write to a buffer that it may only read', async () => {
    await withDevice(async ({ device }) => {
      const stray = { ...places, data: secret };
      const readOnly = { address: secret, size: blockSize, write: false };
      const reachable = [headerBuffer, statusBuffer, readOnly];
      expect(await device.read(0, blockSize, stray, reachable)).to.equal(ioError);
    });
  });

  it('ends itself when a header is out of reach, and nobody else', async () => {
    await withDevice(async ({ device, daemon }) => {
      const stray = { ...places, header: 0x3_0000 };
      await expectGone(device.read(0, blockSize, stray, [statusBuffer]));
      expect(await daemon.ended).to.equal('SIGBUS');
    });
  });

  it('reaches nothing after revocation', async () => {
    await withDevice(async ({ device, daemon }, _ram, iommu) => {
      expect(await device.read(0, blockSize, places)).to.equal(0);
      iommu.revokeAll();
      await expectGone(device.read(0, blockSize, places, []));
      expect(await daemon.ended).to.equal('SIGBUS');
    });
  });

  it('is compared with one that has all of guest memory', async () => {
    const behindTimes: number[] = [];
    const openTimes: number[] = [];
    using ram = makeRam(folder, ramSize);
    await ram.access({ offset: 0, size: ramSize, write: true }, async (bytes) => {
      // In turn, so that what else the machine does hits both.
      for (let i = 0; i < 3; i++) {
        using iommu = new Iommu(ram);
        await measure(await attachDevice(ram, bytes, disk, folder, iommu), behindTimes);
        await measure(await attachDevice(ram, bytes, disk, folder), openTimes);
      }
      const ratio = median(openTimes) / median(behindTimes);
      console.log(
        `      reads of 64 KiB: ${perSecond(behindTimes)}/s with a view, ` +
          `${perSecond(openTimes)}/s with all of memory: ${ratio.toFixed(2)} times the throughput`,
      );
    });
  });

  async function measure(attached: AttachedDevice, times: number[]): Promise<void> {
    await using device = attached;
    for (let i = 0; i < 40; i++) {
      const start = performance.now();
      expect(await device.device.read(i * 128, blockSize, places)).to.equal(0);
      times.push(performance.now() - start);
    }
  }

  const perSecond = (times: readonly number[]) => Math.round(1000 / median(times));
});
