// SPDX-License-Identifier: MIT
// A worker thread that loses a page and posts how that ended. With a
// descriptor: reads through it again and again, and posts how often it could
// and how often it lost something, until it is told to stop.
import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { ExclusiveMemoryError, RevokedError, ViewHandle } from 'exclusive-memory';
import { losePage } from './lossy-file.js';

const { fd, size = 0 } = workerData as { fd?: number; size?: number };

export interface Tally {
  whole: number;
  lost: number;
  /** Bytes that were neither what the owner wrote nor zero. */
  wrong: number;
}

/** A file was seen to be shorter, before any access. */
function isOfSize(error: unknown): boolean {
  return error instanceof ExclusiveMemoryError && error.code === 'ERR_EXMEM_ARGUMENT';
}

function tally(handle: ViewHandle): Tally {
  const counts: Tally = { whole: 0, lost: 0, wrong: 0 };
  const copy = new Uint8Array(size);
  const count = (action: () => void) => {
    try {
      action();
      counts.whole++;
    } catch (error) {
      if (error instanceof RevokedError) counts.lost++;
      else if (!isOfSize(error)) throw error;
    }
  };
  const check = (bytes: Uint8Array) => {
    for (let i = 0; i < bytes.length; i += 512) {
      const byte = bytes[i]; // once: it may change at any moment
      if (byte !== 0 && byte !== 7) counts.wrong++;
    }
  };
  parentPort?.postMessage('ready');
  while (parentPort && receiveMessageOnPort(parentPort) === undefined) {
    count(() => {
      check(copy.subarray(0, handle.read(0, copy)));
    });
    count(() => {
      handle.access({ offset: 0, size }, check);
    });
  }
  return counts;
}

if (fd === undefined) {
  parentPort?.postMessage(losePage());
} else {
  using handle = ViewHandle.fromFd(fd);
  parentPort?.postMessage(tally(handle));
  parentPort?.close();
}
