// SPDX-License-Identifier: MIT

/** The middle of some figures, or the mean of the two that are. */
export function median(figures: readonly number[]): number {
  const sorted = [...figures].sort((a, b) => a - b);
  const half = sorted.length / 2;
  const [low, high] = [sorted[Math.ceil(half) - 1], sorted[Math.floor(half)]];
  if (low === undefined || high === undefined) throw new Error('Expected at least one figure');
  return (low + high) / 2;
}
