// SPDX-License-Identifier: MIT
import { expect } from 'chai';
import {
  checkFd,
  checkInteger,
  checkOneOf,
  checkSize,
  checkTimeout,
  unexpected,
} from '#internal/validate.js';
import { expectMisuse, thrown } from '../support/failures.js';

describe('messages about arguments', () => {
  it('have one shape', () => {
    const error = thrown(() => checkInteger('7', 'count', 1, 9));
    expectMisuse(error, 'ERR_EXMEM_ARGUMENT');
    expect(error.message).to.equal(
      'Expected an integer from 1 to 9 for count but received a string of 1 characters',
    );
  });

  const descriptions: readonly (readonly [value: unknown, text: string])[] = [
    [undefined, 'undefined'],
    [null, 'null'],
    [Number.NaN, 'NaN'],
    [-1, '-1'],
    [5n, '5n'],
    [true, 'true'],
    [Symbol('x'), 'a symbol'],
    [() => 1, 'a function'],
    [{}, 'a Object'],
    [Object.create(null), 'a null-prototype object'],
    [new Date(0), 'a Date'],
    [new Uint8Array(3), 'a Uint8Array of 3 bytes'],
  ];
  for (const [value, text] of descriptions) {
    it(`describe ${text}`, () => {
      expect(unexpected('x', 'y', value).message).to.equal(`Expected x for y but received ${text}`);
    });
  }

  it('never show the content of a string or a buffer', () => {
    expect(unexpected('x', 'y', 'hunter2').message).not.to.contain('hunter2');
    expect(unexpected('x', 'y', Buffer.from('hunter2')).message).not.to.match(/hunter2|104|68/);
  });
});

describe('ranges', () => {
  it('accept their ends and refuse what is beyond', () => {
    expect(checkInteger(1, 'n', 1, 9)).to.equal(1);
    expect(checkInteger(9, 'n', 1, 9)).to.equal(9);
    for (const value of [0, 10, 1.5, Infinity, '1', null]) {
      expectMisuse(thrown(() => checkInteger(value, 'n', 1, 9)), 'ERR_EXMEM_ARGUMENT', /for n/);
    }
  });

  it('of sizes are 1 to 2^53-1', () => {
    expect(checkSize(Number.MAX_SAFE_INTEGER, 'size')).to.equal(Number.MAX_SAFE_INTEGER);
    for (const value of [0, -1, 2 ** 53]) {
      expectMisuse(thrown(() => checkSize(value, 'size')), 'ERR_EXMEM_ARGUMENT', /for size/);
    }
  });

  it('of descriptors are those of int', () => {
    expect(checkFd(0, 'fd')).to.equal(0);
    for (const value of [-1, 2 ** 31, Number.NaN]) {
      expectMisuse(thrown(() => checkFd(value, 'fd')), 'ERR_EXMEM_ARGUMENT', /for fd/);
    }
  });

  it('of timeouts have Infinity', () => {
    expect(checkTimeout(Infinity, 't')).to.equal(Infinity);
    expect(checkTimeout(0.5, 't')).to.equal(0.5);
    for (const value of [-1, Number.NaN, 2 ** 31, '5']) {
      expectMisuse(thrown(() => checkTimeout(value, 't')), 'ERR_EXMEM_ARGUMENT', /milliseconds/);
    }
  });

  it('of words are lists', () => {
    expect(checkOneOf('b', 'w', ['a', 'b'])).to.equal('b');
    const error = thrown(() => checkOneOf('c', 'w', ['a', 'b']));
    expectMisuse(error, 'ERR_EXMEM_ARGUMENT', /one of 'a', 'b' for w/);
  });
});
