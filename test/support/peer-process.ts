// SPDX-License-Identifier: MIT
// The program that peer.ts starts. Descriptor 3 is its end of the socket.
import { createHash } from 'node:crypto';
import {
  type Descriptor,
  ExclusiveMemoryError,
  type Mapping,
  receiveDescriptors,
  RestrictedMemfd,
  Secret,
  sendDescriptors,
} from 'exclusive-memory';

let received: Descriptor | undefined;
let memfd: RestrictedMemfd | undefined;
let mapping: Mapping | undefined;
let secret: Secret | undefined;

function the<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('the test forgot a step');
  return value;
}

const commands = {
  receive() {
    received = receiveDescriptors(3, { timeoutMs: 5000 })?.descriptors[0];
    return received ? 'received' : 'nothing';
  },
  adopt() {
    memfd = RestrictedMemfd.fromFd(the(received));
    return `${memfd.size} bytes`;
  },
  map() {
    mapping = the(memfd).map();
    return 'mapped';
  },
  unmap() {
    the(mapping).unmap();
    return 'unmapped';
  },
  check() {
    the(mapping).check();
    return 'present';
  },
  read: () => Buffer.from(the(mapping).bytes).toString('hex'),
  fill() {
    the(mapping).bytes.fill(0x5a);
    return 'filled';
  },
  destroy() {
    the(memfd).destroy();
    return 'destroyed';
  },
  adoptSecret() {
    secret = Secret.fromHandle(the(received));
    return `${String(secret)} of ${secret.backend}`;
  },
  hashSecret: () =>
    the(secret).use((bytes) => createHash('sha256').update(bytes).digest('hex')),
  sendSecretBack() {
    the(secret).sendTo(3);
    return 'sent';
  },
  /** While it may still be mapped here. */
  sendBack() {
    sendDescriptors(3, [the(memfd).fd]);
    return 'sent';
  },
} as const;

export type Command = keyof typeof commands;
export type Answer = string;

process.on('message', (command: Command) => {
  process.send?.(answer(command));
});

function answer(command: Command): Answer {
  try {
    return commands[command]();
  } catch (error) {
    if (!(error instanceof ExclusiveMemoryError)) throw error;
    return [error.code, error.syscall].join(' ').trim();
  }
}
