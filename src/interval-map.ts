// SPDX-License-Identifier: MIT

export interface Interval<T> {
  readonly start: number;
  /** The first number after it. */
  readonly end: number;
  readonly value: T;
}

/** Values for ranges of numbers, which do not overlap. Finding one takes O(log n). */
export class IntervalMap<T> {
  /** In order. */
  readonly #intervals: Interval<T>[] = [];

  get size(): number {
    return this.#intervals.length;
  }

  /** In order. */
  [Symbol.iterator](): Iterator<Interval<T>> {
    return this.#intervals.values();
  }

  /** The one that holds the number. */
  at(position: number): Interval<T> | undefined {
    return this.overlapping(position, position + 1)[0];
  }

  /** Those that share a number with the range, in order. */
  overlapping(start: number, end: number): Interval<T>[] {
    return this.#intervals.slice(...this.#indices(start, end));
  }

  /** Removes the range, also from the middle of what overlaps with it. */
  delete(start: number, end: number): void {
    const [from, to] = this.#indices(start, end);
    const rest = this.#intervals.slice(from, to).flatMap((old) => [
      ...(old.start < start ? [{ ...old, end: start }] : []),
      ...(old.end > end ? [{ ...old, start: end }] : []),
    ]);
    this.#intervals.splice(from, to - from, ...rest);
  }

  /** In place of whatever the range holds. */
  set(start: number, end: number, value: T): void {
    this.delete(start, end);
    const [from] = this.#indices(start, end);
    this.#intervals.splice(from, 0, { start, end, value });
  }

  /** From the first that overlaps with the range to behind the last. */
  #indices(start: number, end: number): [from: number, to: number] {
    return [this.#firstWhere((one) => one.end > start), this.#firstWhere((one) => one.start >= end)];
  }

  #firstWhere(holds: (interval: Interval<T>) => boolean): number {
    let low = 0;
    let high = this.#intervals.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const interval = this.#intervals[middle];
      if (interval !== undefined && holds(interval)) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}
