// SPDX-License-Identifier: MIT
// A file whose pages can be taken away from whoever has it mapped: by truncation.
import { closeSync, ftruncateSync, openSync, unlinkSync, writeSync } from 'node:fs';
import { randomUUID } from 'node:crypto';
import { ExclusiveMemoryError, ViewHandle } from 'exclusive-memory';
import { system } from '#internal/system.js';

export class LossyFile implements Disposable {
  readonly fd: number;

  /** On tmpfs, without a name. */
  constructor(size: number) {
    const path = `/dev/shm/exmem-${randomUUID()}`;
    this.fd = openSync(path, 'wx+');
    unlinkSync(path);
    this.resize(size);
  }

  resize(size: number): void {
    ftruncateSync(this.fd, size);
  }

  fill(byte: number, offset: number, length: number): void {
    writeSync(this.fd, new Uint8Array(length).fill(byte), 0, length, offset);
  }

  /** Of the same file. */
  handle(mode: 'r' | 'r+' = 'r+'): ViewHandle {
    const fd = openSync(`/proc/self/fd/${this.fd}`, mode);
    try {
      // A worker thread closes what it opened with node:fs.
      return ViewHandle.fromFd(system.duplicate(fd));
    } finally {
      closeSync(fd);
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.fd);
  }
}

/** Loses a page while it is read, and says how that ended. */
export function losePage(): string {
  using file = new LossyFile(8192);
  using handle = file.handle();
  try {
    const byte = handle.access({ offset: 0, size: 8192 }, (bytes) => {
      file.resize(4096);
      return bytes[4096];
    });
    return `read ${byte}`;
  } catch (error) {
    if (!(error instanceof ExclusiveMemoryError)) throw error;
    return error.code;
  }
}
