// SPDX-License-Identifier: MIT
// Archives in the format "newc", which the kernel unpacks as its first file system
// (Documentation/driver-api/early-userspace/buffer-format.rst).

export interface CpioEntry {
  /** Without a slash in front. */
  readonly name: string;
  /** Type and permissions, as of stat(2). */
  readonly mode: number;
  /** Of a file, or what a symbolic link says. */
  readonly data?: Uint8Array;
  /** Of a device file. */
  readonly device?: { readonly major: number; readonly minor: number };
}

export const directory = (name: string): CpioEntry => ({ name, mode: 0o040755 });

export const program = (name: string, data: Uint8Array): CpioEntry =>
  ({ name, mode: 0o100755, data });

export const symlink = (name: string, target: string): CpioEntry =>
  ({ name, mode: 0o120777, data: Buffer.from(target) });

export const characterDevice = (name: string, major: number, minor: number): CpioEntry =>
  ({ name, mode: 0o020600, device: { major, minor } });

export function cpio(entries: readonly CpioEntry[]): Buffer {
  const parts: Uint8Array[] = [];
  /** Headers and contents begin at multiples of 4 bytes. */
  const add = (part: Uint8Array) => parts.push(part, Buffer.alloc(-part.length & 3));

  [...entries, { name: 'TRAILER!!!', mode: 0 }].forEach((entry: CpioEntry, index) => {
    const { name, mode, data = Buffer.alloc(0), device = { major: 0, minor: 0 } } = entry;
    const inode = index + 1;
    const links = 1;
    const nameSize = Buffer.byteLength(name) + 1;
    const fields = [
      ...[inode, mode, 0, 0, links, 0, data.length],
      ...[0, 0, device.major, device.minor, nameSize, 0],
    ];
    const header = fields.map((field) => field.toString(16).padStart(8, '0')).join('');
    add(Buffer.from(`070701${header}${name}\0`));
    add(data);
  });
  return Buffer.concat(parts);
}
