// SPDX-License-Identifier: MIT
import { Descriptor } from './descriptor.js';
import type { Message } from './descriptor-passing.js';

/**
 * A message and what came with it. Disposing of it closes the descriptors that
 * nobody released or closed by then; a forgotten one's are closed when it is
 * collected.
 */
export class ReceivedMessage implements Message, Disposable {
  readonly payload: Uint8Array;
  readonly descriptors: readonly Descriptor[];

  constructor(payload: Uint8Array, descriptors: readonly Descriptor[]) {
    this.payload = payload;
    this.descriptors = descriptors;
  }

  [Symbol.dispose](): void {
    closeAll(this.descriptors);
  }
}

export function ownAll(fds: readonly number[]): Descriptor[] {
  return fds.map((fd) => new Descriptor(fd));
}

export function closeAll(descriptors: readonly Descriptor[]): void {
  for (const descriptor of descriptors) descriptor.close();
}
