// SPDX-License-Identifier: MIT
// The example's archives, unpacked by another program.
import { execFileSync } from 'node:child_process';
import { lstatSync, mkdtempSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { characterDevice, cpio, directory, program, symlink } from '../../examples/monitor/cpio.js';

describe('monitor: cpio', () => {
  let folder: string;
  beforeEach(() => { folder = mkdtempSync(join(tmpdir(), 'monitor-cpio-')); });
  afterEach(() => { rmSync(folder, { recursive: true }); });

  const unpack = (archive: Buffer) =>
    execFileSync('/bin/busybox', ['cpio', '-i', '-d', '--quiet'], { cwd: folder, input: archive });

  it('is what busybox unpacks, whatever the lengths', () => {
    const contents = [0, 1, 2, 3, 4, 5, 4095].map((length) => Buffer.alloc(length, 'x'));
    unpack(
      cpio([
        directory('bin'),
        ...contents.map((data, i) => program(`bin/${'n'.repeat(i + 1)}`, data)),
        symlink('bin/link', 'n'),
      ]),
    );
    contents.forEach((data, i) => {
      const file = join(folder, 'bin', 'n'.repeat(i + 1));
      expect(readFileSync(file)).to.deep.equal(data);
      expect(lstatSync(file).mode & 0o777).to.equal(0o755);
    });
    expect(readlinkSync(join(folder, 'bin/link'))).to.equal('n');
  });

  it('lists device files', () => {
    const archive = cpio([directory('dev'), characterDevice('dev/console', 5, 1)]);
    const list = execFileSync('/bin/busybox', ['cpio', '-t', '-v', '--quiet'], { input: archive, encoding: 'utf8' });
    expect(list).to.match(/^c\S+ .* dev\/console$/m);
    // rdevmajor and rdevminor of the second entry
    const header = archive.indexOf('070701', 6);
    const fields = archive.toString('latin1', header + 6, header + 110).match(/.{8}/g);
    expect(fields?.slice(9, 11)).to.deep.equal(['00000005', '00000001']);
  });
});
