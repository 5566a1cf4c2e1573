// SPDX-License-Identifier: MIT
// The monitor's conversation with the guest's init (guest/init.c), through the
// window.
import { setTimeout } from 'node:timers/promises';
import { MemoryView, type ViewHandle } from 'exclusive-memory';
import type { Machine } from './machine.js';
import { MailboxPair } from './mailbox.js';
import type { MemoryMap } from './memory-map.js';
import type { GuestRam } from './ram.js';

const retryMs = 20;

/** What a message begins with. */
export type GuestWord = 'hello' | 'secret' | 'say' | 'bye' | 'unknown';

export class GuestLink implements Disposable {
  readonly #mailboxes: MailboxPair;
  readonly #view: MemoryView;
  readonly #handle: ViewHandle;
  readonly #waiting = new Map<string, (rest: string) => void>();
  readonly #early = new Map<string, string>();
  /** A message that nobody waits for. */
  onSay: (text: string) => void = () => undefined;

  constructor(machine: Machine, ram: GuestRam, window: MemoryMap['window']) {
    // Of all that the guest has, these pages only: the link can go no further than the window.
    this.#view = MemoryView.create({ size: window.size });
    this.#view.map(ram, { at: 0, offset: window.address, size: window.size, access: 'read-write' });
    this.#handle = this.#view.handle();
    this.#mailboxes = new MailboxPair(this.#handle, window.size);
    machine.on('doorbell', () => { this.#takeAll(); });
  }

  /** The next message that begins with a word, without that. */
  next(word: GuestWord): Promise<string> {
    const early = this.#early.get(word);
    if (early !== undefined) {
      this.#early.delete(word);
      return Promise.resolve(early);
    }
    return new Promise((resolve) => this.#waiting.set(word, resolve));
  }

  async send(text: string): Promise<void> {
    while (!this.#mailboxes.trySend(text)) await setTimeout(retryMs);
  }

  async ask(text: string, word: GuestWord): Promise<string> {
    const answer = this.next(word);
    await this.send(text);
    return answer;
  }

  [Symbol.dispose](): void {
    this.#handle.close();
    this.#view.close();
  }

  #takeAll(): void {
    for (let text = this.#mailboxes.take(); text !== undefined; text = this.#mailboxes.take()) {
      const [word = ''] = text.split(' ', 1);
      const rest = text.slice(word.length + 1);
      const resolve = this.#waiting.get(word);
      this.#waiting.delete(word);
      if (resolve) resolve(rest);
      else if (word === 'say') this.onSay(rest);
      else this.#early.set(word, rest);
    }
  }
}
