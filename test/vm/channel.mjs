// SPDX-License-Identifier: MIT
// The runner's end of the connection to the guest's first process; init/channel.h describes it.

export const FRAME = Object.freeze({
  REQUEST: 1,
  STDIN: 2,
  STDOUT: 3,
  STDERR: 4,
  CREDIT: 5,
  CLOSED: 6,
  WINDOW_SIZE: 7,
  EXIT: 8,
  BYE: 9,
});

export const STREAM_WINDOW = 256 * 1024;

const HEADER_SIZE = 8;

/**
 * @param {number} type
 * @param {Uint8Array} payload
 */
export function encodeFrame(type, payload = new Uint8Array()) {
  const header = Buffer.alloc(HEADER_SIZE);
  header.writeUInt32LE(type, 0);
  header.writeUInt32LE(payload.length, 4);
  return Buffer.concat([header, payload]);
}

/**
 * @param {number} type
 * @param {number} first
 * @param {number} [second]
 */
export function encodePair(type, first, second = 0) {
  const payload = Buffer.alloc(8);
  payload.writeUInt32LE(first, 0);
  payload.writeUInt32LE(second, 4);
  return encodeFrame(type, payload);
}

/** Cuts what arrives into frames. */
export class FrameDecoder {
  /** @type {Buffer} */
  #pending = Buffer.alloc(0);

  /**
   * @param {Buffer} chunk
   * @returns {Generator<{ type: number, payload: Buffer }>}
   */
  *push(chunk) {
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    while (this.#pending.length >= HEADER_SIZE) {
      const end = HEADER_SIZE + this.#pending.readUInt32LE(4);
      if (this.#pending.length < end) {
        return;
      }
      yield { type: this.#pending.readUInt32LE(0), payload: this.#pending.subarray(HEADER_SIZE, end) };
      this.#pending = this.#pending.subarray(end);
    }
  }
}
