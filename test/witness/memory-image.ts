// SPDX-License-Identifier: MIT
// A machine's physical memory in a file, and where in it a secret stands.

import { closeSync, openSync, readSync } from 'node:fs';

const PAGE_SIZE = 4096;
const CHUNK = 16 << 20;
/** Bytes that count as a piece of the secret: one word, wherever in the secret it begins. */
const WORD = 8;

/**
 * Finds the pages that hold any piece of `secret`.
 *
 * Each aligned 8-byte word of the image is compared with the 8 bytes at every offset of the secret, so that any copy of
 * 15 bytes or more is found whatever its alignment.
 *
 * @returns the number of words found, by physical address of the page
 */
export function findPieces(imagePath: string, secret: Buffer): Map<number, number> {
  const words = new Set<bigint>();
  const lowWords = new Uint8Array(1 << 24);
  for (let i = 0; i + WORD <= secret.length; i++) {
    words.add(secret.readBigUInt64LE(i));
    lowWords[secret.readUInt32LE(i) & 0xffffff] = 1;
  }

  const pages = new Map<number, number>();
  const buffer = new ArrayBuffer(CHUNK);
  const halves = new Uint32Array(buffer);
  const wholes = new BigUint64Array(buffer);
  const image = openSync(imagePath, 'r');
  try {
    for (let base = 0; ; base += CHUNK) {
      const length = readSync(image, halves, 0, CHUNK, base);
      if (length === 0) {
        return pages;
      }
      for (let i = 0; i < length / WORD; i++) {
        // Most words are dismissed by 24 of their bits, without a BigInt.
        if (lowWords[(halves[2 * i] ?? 0) & 0xffffff] === 1 && words.has(wholes[i] ?? 0n)) {
          const page = base + i * WORD - ((i * WORD) % PAGE_SIZE);
          pages.set(page, (pages.get(page) ?? 0) + 1);
        }
      }
    }
  } finally {
    closeSync(image);
  }
}
