// SPDX-License-Identifier: MIT
// Messages of the vhost-user protocol, as QEMU's documentation has it
// (docs/interop/vhost-user.rst). Numbers are little-endian.

/** Requests of the front-end. */
export const request = {
  getFeatures: 1,
  setFeatures: 2,
  setOwner: 3,
  setMemTable: 5,
  setVringNum: 8,
  setVringAddr: 9,
  setVringBase: 10,
  setVringKick: 12,
  setVringCall: 13,
  getProtocolFeatures: 15,
  setProtocolFeatures: 16,
  setVringEnable: 18,
  getConfig: 24,
} as const;

export const headerSize = 12;
const version = 1;
const isReply = 1 << 2;
const needReply = 1 << 3;

export interface Header {
  readonly request: number;
  readonly isReply: boolean;
  /** Bytes that follow. */
  readonly size: number;
}

export function encode(code: number, payload: Uint8Array, wantsReply: boolean): Uint8Array {
  const message = new Uint8Array(headerSize + payload.length);
  const view = new DataView(message.buffer);
  view.setUint32(0, code, true);
  view.setUint32(4, version | (wantsReply ? needReply : 0), true);
  view.setUint32(8, payload.length, true);
  message.set(payload, headerSize);
  return message;
}

export function decodeHeader(bytes: Uint8Array): Header {
  const view = new DataView(bytes.buffer, bytes.byteOffset, headerSize);
  const flags = view.getUint32(4, true);
  if ((flags & 3) !== version) throw new Error(`Expected version 1 of vhost-user, received flags ${flags}`);
  return {
    request: view.getUint32(0, true),
    isReply: (flags & isReply) !== 0,
    size: view.getUint32(8, true),
  };
}

/** A payload of 64-bit numbers. */
export function u64s(...values: (number | bigint)[]): Uint8Array {
  return new Uint8Array(BigUint64Array.from(values.map(BigInt)).buffer);
}

/** A payload of 32-bit numbers. */
export function u32s(...values: number[]): Uint8Array {
  return new Uint8Array(Uint32Array.from(values).buffer);
}

export function joined(...parts: Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
