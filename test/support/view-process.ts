// SPDX-License-Identifier: MIT
// A user of a view, or the owner of one, in a process of its own: peer.ts starts
// it. Descriptor 3 is its end of the socket.
import {
  ExclusiveMemoryError,
  MemoryView,
  NoAccessError,
  receiveDescriptors,
  RevokedError,
  sendDescriptors,
  ViewHandle,
} from 'exclusive-memory';
import { sharedPages } from './shared-pages.js';

interface Place {
  readonly offset: number;
  readonly size: number;
}

export type ViewRequest =
  /** Receives a view. */
  | { readonly do: 'adopt' }
  /** The bytes, in hexadecimal. */
  | ({ readonly do: 'read' | 'access' } & Place)
  | ({ readonly do: 'fill'; readonly byte: number } & Place)
  /** Reads all of it again and again, for as long as it can. */
  | ({ readonly do: 'read on' } & Place)
  | { readonly do: 'close' }
  /** Makes a view of its own memory, of which every byte is that, and sends a handle. */
  | { readonly do: 'own'; readonly byte: number };

let handle: ViewHandle | undefined;
let view: MemoryView | undefined;

function the<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('the test forgot a step');
  return value;
}

function perform(request: ViewRequest): string {
  switch (request.do) {
    case 'adopt':
      handle = ViewHandle.fromFd(the(receiveDescriptors(3, { timeoutMs: 5000 })?.descriptors[0]));
      return `${handle.size} bytes`;
    case 'read': {
      const into = Buffer.alloc(request.size);
      the(handle).read(request.offset, into);
      return into.toString('hex');
    }
    case 'access':
      return the(handle).access(request, (bytes) => Buffer.from(bytes).toString('hex'));
    case 'fill': {
      const { offset, size, byte } = request;
      the(handle).access({ offset, size, write: true }, (bytes) => bytes.fill(byte));
      return 'filled';
    }
    case 'read on':
      process.send?.('reading');
      for (const into = Buffer.alloc(request.size); ; ) the(handle).read(request.offset, into);
    case 'close':
      the(handle).close();
      return 'closed';
    case 'own': {
      const memory = sharedPages(4).fill(request.byte);
      view = MemoryView.create({ size: memory.byteLength });
      view.mapMemory(memory, { at: 0, access: 'read-write' });
      sendDescriptors(3, [view.handle().fd]);
      return 'sent';
    }
  }
}

process.on('message', (request: ViewRequest) => {
  process.send?.(answer(request));
});

/** The error's code, and the offset if it has one, or the system call. */
function answer(request: ViewRequest): string {
  try {
    return perform(request);
  } catch (error) {
    if (!(error instanceof ExclusiveMemoryError)) throw error;
    const lost = error instanceof RevokedError || error instanceof NoAccessError;
    return `${error.code} ${lost ? error.offset : error.syscall}`;
  }
}
