// SPDX-License-Identifier: MIT
// The window's protocol, against guests that keep to it and guests that do not.
import { expect } from 'chai';
import type { ViewHandle } from 'exclusive-memory';
import { MailboxError, MailboxPair } from '../../examples/monitor/mailbox.js';
import { LossyFile } from '../support/lossy-file.js';

const size = 64 * 1024;
const toGuest = size / 2;
const capacity = size / 2 - 16;

/** The other end: guest/mailbox.c, or worse. */
class Guest {
  constructor(readonly window: ViewHandle) {}

  get(offset: number): number {
    const word = Buffer.alloc(4);
    this.window.read(offset, word);
    return word.readUInt32LE();
  }

  set(offset: number, value: number): void {
    const word = Buffer.alloc(4);
    word.writeUInt32LE(value);
    this.window.write(offset, word);
  }

  send(text: string, length = Buffer.byteLength(text)): void {
    this.window.write(16, Buffer.from(text));
    this.set(8, length);
    this.set(0, this.get(0) + 1);
  }

  take(): string {
    const bytes = Buffer.alloc(this.get(toGuest + 8));
    this.window.read(toGuest + 16, bytes);
    this.set(toGuest + 4, this.get(toGuest));
    return bytes.toString();
  }
}

const handles: ViewHandle[] = [];

function open(file: LossyFile): ViewHandle {
  const handle = file.handle();
  handles.push(handle);
  return handle;
}

function makeEnds(file: LossyFile) {
  const window = open(file);
  return { mailboxes: new MailboxPair(window, size), guest: new Guest(open(file)), window };
}

describe('monitor: mailboxes', () => {
  afterEach(() => {
    for (const handle of handles.splice(0)) handle.close();
  });

  it('take each message once, and tell the guest', () => {
    using file = new LossyFile(size);
    const { mailboxes, guest } = makeEnds(file);
    expect(mailboxes.take()).to.equal(undefined);
    guest.send('hello');
    expect(mailboxes.take()).to.equal('hello');
    expect(guest.get(4)).to.equal(1);
    expect(mailboxes.take()).to.equal(undefined);
    guest.send('');
    expect(mailboxes.take()).to.equal('');
  });

  it('send a message once the last is taken', () => {
    using file = new LossyFile(size);
    const { mailboxes, guest } = makeEnds(file);
    expect(mailboxes.trySend('one')).to.equal(true);
    expect(mailboxes.trySend('two')).to.equal(false);
    expect(guest.take()).to.equal('one');
    expect(mailboxes.trySend('two')).to.equal(true);
    expect(guest.take()).to.equal('two');
  });

  it('hold as much as half a window less 16 bytes, and no more', () => {
    using file = new LossyFile(size);
    const { mailboxes, guest } = makeEnds(file);
    guest.send('x'.repeat(capacity));
    expect(mailboxes.take()).to.have.length(capacity);
    expect(mailboxes.trySend('y'.repeat(capacity))).to.equal(true);
    guest.take();
    const tooMuch = () => mailboxes.trySend('y'.repeat(capacity + 1));
    expect(tooMuch).to.throw(MailboxError, /at most 32752 bytes, received 32753/);
  });

  it('refuse a length that leads out of the mailbox', () => {
    using file = new LossyFile(size);
    const { mailboxes, guest } = makeEnds(file);
    guest.send('x', capacity + 1);
    expect(() => mailboxes.take()).to.throw(MailboxError, /at most 32752 bytes, received 32753/);
  });

  it('refuse a count that does not follow', () => {
    using file = new LossyFile(size);
    const { mailboxes, guest } = makeEnds(file);
    guest.set(0, 7);
    expect(() => mailboxes.take()).to.throw(MailboxError, /Expected message 1 of the guest, received 7/);
  });

  it('never send over a message, whatever the guest says it took', () => {
    using file = new LossyFile(size);
    const { mailboxes, guest } = makeEnds(file);
    mailboxes.trySend('one');
    guest.set(toGuest + 4, 5);
    expect(mailboxes.trySend('two')).to.equal(false);
  });
});
