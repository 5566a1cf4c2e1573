// SPDX-License-Identifier: MIT
// Another process with guest memory: peer.ts starts it. Descriptor 3 is its end of the socket.
import { ExclusiveMemoryError, GuestMemory, receiveDescriptors } from 'exclusive-memory';
import type { SlotMapping } from 'exclusive-memory/kvm';

export type GuestRequest = 'adopt' | 'map' | 'unmap';

let memory: GuestMemory | undefined;
let mapping: SlotMapping | undefined;

function the<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('the test forgot a step');
  return value;
}

const commands: Record<GuestRequest, () => string> = {
  adopt() {
    memory = GuestMemory.fromFd(the(receiveDescriptors(3, { timeoutMs: 5000 })?.descriptors[0]));
    return `${memory.size} bytes`;
  },
  map() {
    mapping = the(memory).map();
    return 'mapped';
  },
  unmap() {
    the(mapping).unmap();
    return 'unmapped';
  },
};

process.on('message', (request: GuestRequest) => {
  process.send?.(answer(request));
});

function answer(request: GuestRequest): string {
  try {
    return commands[request]();
  } catch (error) {
    if (!(error instanceof ExclusiveMemoryError)) throw error;
    return [error.code, error.syscall].join(' ').trim();
  }
}
