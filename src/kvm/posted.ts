// SPDX-License-Identifier: MIT
// What the addon keeps of writes that no vCPU waits for: see PostedWrite in addon/kvm_mailbox.h.
import type { IoOutExit, MmioWriteExit } from './exits.js';

const recordSize = 24;
const sizeAt = 16;
const kindAt = 17;
const kindPort = 0;

/** Writes to one port, one after the other, are one exit, as those of `rep outs` are. */
export function* decodePosted(records: Uint8Array): Generator<IoOutExit | MmioWriteExit> {
  const view = new DataView(records.buffer, records.byteOffset, records.byteLength);
  for (let at = 0; at < records.byteLength; ) {
    const address = view.getBigUint64(at, true);
    const size = view.getUint8(at + sizeAt);
    const kind = view.getUint8(at + kindAt);
    const first = at;
    at += recordSize;
    if (kind !== kindPort) {
      const data = records.slice(first + 8, first + 8 + size);
      yield { type: 'mmio-write', address, size, data, posted: true };
      continue;
    }
    const isSame = () =>
      at < records.byteLength &&
      view.getBigUint64(at, true) === address &&
      view.getUint8(at + sizeAt) === size &&
      view.getUint8(at + kindAt) === kind;
    while (isSame()) at += recordSize;
    const count = (at - first) / recordSize;
    const data = new Uint8Array(count * size);
    for (let i = 0; i < count; i++) {
      const value = first + i * recordSize + 8;
      data.set(records.subarray(value, value + size), i * size);
    }
    yield { type: 'io-out', port: Number(address), size, count, data, posted: true };
  }
}
