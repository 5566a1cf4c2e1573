// SPDX-License-Identifier: MIT
import { expect } from 'chai';
import { IntervalMap } from '#internal/interval-map.js';

/** Each as "start-end value". */
const shown = (map: IntervalMap<string>) =>
  Array.from(map, ({ start, end, value }) => `${start}-${end} ${value}`);

describe('IntervalMap', () => {
  it('keeps the order, whatever order they come in', () => {
    const map = new IntervalMap<string>();
    map.set(20, 30, 'b');
    map.set(40, 50, 'c');
    map.set(0, 10, 'a');
    expect(shown(map)).to.deep.equal(['0-10 a', '20-30 b', '40-50 c']);
    expect(map.size).to.equal(3);
  });

  it('finds by number, ends excluded', () => {
    const map = new IntervalMap<string>();
    map.set(10, 20, 'a');
    map.set(20, 30, 'b');
    const found = [9, 10, 19, 20, 29, 30].map((position) => map.at(position)?.value);
    expect(found).to.deep.equal([undefined, 'a', 'a', 'b', 'b', undefined]);
  });

  it('finds what overlaps, not what touches', () => {
    const map = new IntervalMap<string>();
    for (const start of [0, 10, 30]) map.set(start, start + 10, String(start));
    expect(map.overlapping(10, 30).map(({ value }) => value)).to.deep.equal(['10']);
    expect(map.overlapping(9, 31).map(({ value }) => value)).to.deep.equal(['0', '10', '30']);
    expect(map.overlapping(20, 30)).to.deep.equal([]);
  });

  it('cuts what is deleted out of what is there', () => {
    const map = new IntervalMap<string>();
    map.set(0, 100, 'a');
    map.delete(40, 60);
    expect(shown(map)).to.deep.equal(['0-40 a', '60-100 a']);
    map.delete(0, 10);
    map.delete(90, 200);
    expect(shown(map)).to.deep.equal(['10-40 a', '60-90 a']);
    map.delete(0, 1000);
    expect(map.size).to.equal(0);
  });

  it('replaces what is there', () => {
    const map = new IntervalMap<string>();
    map.set(0, 100, 'a');
    map.set(50, 150, 'b');
    map.set(60, 70, 'c');
    expect(shown(map)).to.deep.equal(['0-50 a', '50-60 b', '60-70 c', '70-150 b']);
  });

  it('agrees with an array of numbers', () => {
    const map = new IntervalMap<number>();
    const plain = new Array<number | undefined>(200).fill(undefined);
    let seed = 1;
    const random = (below: number) => (seed = (seed * 48_271) % 0x7fff_ffff) % below;
    for (let round = 0; round < 2000; round++) {
      const start = random(199);
      const end = start + 1 + random(200 - start);
      if (random(3) === 0) {
        map.delete(start, end);
        plain.fill(undefined, start, end);
      } else {
        map.set(start, end, round);
        plain.fill(round, start, end);
      }
      expect(plain.map((_, i) => map.at(i)?.value)).to.deep.equal(plain);
    }
  });
});
