// SPDX-License-Identifier: MIT

/** The numbers of which the bits of `mask` are those of `value`. */
export interface Masked {
  readonly mask: number;
  readonly value: number;
}

/**
 * Exactly the numbers of `bits` bits that `accepts` is true of, in as few
 * disjoint blocks as a binary tree gives. A filter can compare a masked argument
 * with a value, and cannot say "but not".
 */
export function blocksOf(accepts: (number: number) => boolean, bits: number): Masked[] {
  const all = 2 ** bits - 1;

  function blocksWithin(value: number, size: number): Masked[] {
    const mask = all & ~(size - 1);
    if (size === 1) return accepts(value) ? [{ mask, value }] : [];
    const half = size / 2;
    const blocks = [...blocksWithin(value, half), ...blocksWithin(value + half, half)];
    const full = blocks.length === 2 && blocks.every((block) => block.mask === (mask | half));
    return full ? [{ mask, value }] : blocks;
  }

  return blocksWithin(0, 2 ** bits);
}
