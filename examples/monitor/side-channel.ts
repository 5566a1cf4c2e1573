// SPDX-License-Identifier: MIT
// Messages between a monitor in a virtual machine and whoever watches that from
// outside, among what goes to and comes from the terminal: as an escape sequence
// that no terminal knows (ECMA-48, OSC), and so shows nothing.

const start = Buffer.from('\x1b]7770;');
const end = 0x07;
/** Longer than any message. What does not end by then is passed on as it is. */
const maxLength = 1 << 16;

/** JSON escapes control characters, and so never has the one that ends it. */
export const encodeMessage = (message: object): Buffer =>
  Buffer.concat([start, Buffer.from(JSON.stringify(message)), Buffer.of(end)]);

/** Takes the messages out of a stream of bytes. */
export class MessageFilter {
  readonly #onMessage: (message: unknown) => void;
  #pending: Buffer = Buffer.alloc(0);

  constructor(onMessage: (message: unknown) => void) {
    this.#onMessage = onMessage;
  }

  /** The bytes that are no message. */
  push(chunk: Uint8Array): Buffer {
    let bytes = Buffer.concat([this.#pending, chunk]);
    const rest: Buffer[] = [];
    for (;;) {
      const from = findStart(bytes);
      rest.push(bytes.subarray(0, from));
      bytes = bytes.subarray(from);
      const to = bytes.indexOf(end);
      if (to < 0 && bytes.length < maxLength) break;
      if (to < 0 || to >= maxLength) {
        // The escape alone is no message: look behind it.
        rest.push(bytes.subarray(0, 1));
        bytes = bytes.subarray(1);
        continue;
      }
      this.#emit(bytes.subarray(start.length, to));
      bytes = bytes.subarray(to + 1);
    }
    this.#pending = bytes;
    return Buffer.concat(rest);
  }

  #emit(text: Buffer): void {
    let message: unknown;
    try {
      message = JSON.parse(text.toString());
    } catch {
      return; // not from us
    }
    this.#onMessage(message);
  }
}

/** Where a message starts, or may start once more bytes have come; else the end. */
function findStart(bytes: Buffer): number {
  const whole = bytes.indexOf(start);
  if (whole >= 0) return whole;
  for (let length = Math.min(start.length - 1, bytes.length); length > 0; length--) {
    if (bytes.subarray(-length).equals(start.subarray(0, length))) return bytes.length - length;
  }
  return bytes.length;
}
