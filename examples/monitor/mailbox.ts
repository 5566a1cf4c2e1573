// SPDX-License-Identifier: MIT
// Messages through the window: one mailbox for each direction, a text at a time.
// guest/mailbox.h is the other end.
//
//   0  u32  messages sent      written by the sender
//   4  u32  messages taken     written by the receiver
//   8  u32  bytes of the text  written by the sender
//  16       the text
//
// A mailbox is full while the two counts differ. Nothing that the guest writes is
// trusted: a length is checked after it was copied.
import type { ViewHandle } from 'exclusive-memory';

const field = { sent: 0, taken: 4, length: 8, text: 16 } as const;

export class MailboxError extends Error {}

/** Half of a window. */
class Mailbox {
  readonly #window: ViewHandle;
  readonly #offset: number;
  readonly #size: number;

  constructor(window: ViewHandle, offset: number, size: number) {
    this.#window = window;
    this.#offset = offset;
    this.#size = size;
  }

  get capacity(): number {
    return this.#size - field.text;
  }

  get(at: number): number {
    const word = Buffer.alloc(4);
    this.#window.read(this.#offset + at, word);
    return word.readUInt32LE();
  }

  set(at: number, value: number): void {
    const word = Buffer.alloc(4);
    word.writeUInt32LE(value >>> 0);
    this.#window.write(this.#offset + at, word);
  }

  getText(length: number): string {
    const text = Buffer.alloc(length);
    this.#window.read(this.#offset + field.text, text);
    return text.toString();
  }

  setText(text: Uint8Array): void {
    this.#window.write(this.#offset + field.text, text);
  }
}

export class MailboxPair {
  readonly #incoming: Mailbox;
  readonly #outgoing: Mailbox;
  #sent = 0;
  #taken = 0;

  /** @param size of the window */
  constructor(window: ViewHandle, size: number) {
    this.#incoming = new Mailbox(window, 0, size / 2);
    this.#outgoing = new Mailbox(window, size / 2, size / 2);
  }

  /** The guest's next message, if there is one. */
  take(): string | undefined {
    const sent = this.#incoming.get(field.sent);
    if (sent === this.#taken) return undefined;
    if (sent !== (this.#taken + 1) >>> 0) {
      throw new MailboxError(`Expected message ${this.#taken + 1} of the guest, received ${sent}`);
    }
    const length = this.#incoming.get(field.length);
    if (length > this.#incoming.capacity) {
      throw new MailboxError(
        `Expected a message of at most ${this.#incoming.capacity} bytes, received ${length}`,
      );
    }
    const text = this.#incoming.getText(length);
    this.#taken = sent;
    this.#incoming.set(field.taken, sent);
    return text;
  }

  /** False while the guest has not taken the message before. */
  trySend(text: string): boolean {
    if (this.#outgoing.get(field.taken) !== this.#sent) return false;
    const bytes = Buffer.from(text);
    if (bytes.length > this.#outgoing.capacity) {
      throw new MailboxError(
        `Expected a message of at most ${this.#outgoing.capacity} bytes, received ${bytes.length}`,
      );
    }
    this.#outgoing.setText(bytes);
    this.#outgoing.set(field.length, bytes.length);
    this.#sent = (this.#sent + 1) >>> 0;
    // Last: each of these is a copy of its own, and x86 keeps the order of stores.
    this.#outgoing.set(field.sent, this.#sent);
    return true;
  }
}
