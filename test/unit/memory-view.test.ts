// SPDX-License-Identifier: MIT
// What needs no module: refused arguments, and which memory can be shown.
import { expect } from 'chai';
import { AddressSpace, MemoryView, RevokedError, NoAccessError } from 'exclusive-memory';
import { accessFlags, accessOf } from '#internal/access.js';
import { accessLost } from '#internal/errors.js';
import { native } from '#internal/native.js';
import { checkBytes, checkPages } from '#internal/validate.js';
import { bytesFrom, checkOwnMemory, sourceFd } from '#internal/view-source.js';
import { expectRefused } from '../support/failures.js';
import { LossyFile } from '../support/lossy-file.js';
import { sharedPages } from '../support/shared-pages.js';

const wrong = (value: unknown) => value as never;

describe('MemoryView and AddressSpace, without the module', () => {
  for (const { name, create } of [
    { name: 'MemoryView', create: (options: never) => MemoryView.create(options) },
    { name: 'AddressSpace', create: (options: never) => AddressSpace.create(options) },
  ]) {
    const refused: readonly (readonly [options: unknown, message: RegExp])[] = [
      [undefined, /an object for options but received undefined/],
      [{}, /an integer from 4096 to 9007199254740991 for size but received undefined/],
      [{ size: 0 }, /from 4096 .* for size but received 0/],
      [{ size: 0n }, /from 4096 .* for size but received 0n/],
      [{ size: 5000 }, /a multiple of the page size, 4096, for size but received 5000/],
      [{ size: 5000n }, /a multiple of the page size, 4096, for size but received 5000n/],
      [{ size: 4096.5 }, /for size but received 4096\.5/],
      [{ size: 2n ** 63n }, /for size but received 9223372036854775808n/],
      [{ size: '4096' }, /for size but received a string/],
    ];
    for (const [options, message] of refused) {
      it(`${name}.create() refuses what is ${message.source}`, () => {
        expectRefused(() => create(wrong(options)), message);
      });
    }
  }

  it('bytes can be a bigint', () => {
    expect(checkBytes(0n, 'x', 0, 10)).to.equal(0);
    expect(checkBytes(2n ** 44n, 'x', 0, Number.MAX_SAFE_INTEGER)).to.equal(2 ** 44);
    expect(checkPages(2n ** 44n, 'x', 4096, Number.MAX_SAFE_INTEGER)).to.equal(2 ** 44);
    expectRefused(() => checkBytes(11n, 'x', 0, 10), /from 0 to 10 .* 11n/);
    expectRefused(() => checkBytes(-1n, 'x', 0, 10));
  });

  it('each access has its flags, and none is without reading', () => {
    const { MEMVIEW_READ: R, MEMVIEW_WRITE: W, MEMVIEW_EXEC: X } = native.constants;
    const all = {
      none: 0,
      read: R,
      'read-write': R | W,
      'read-execute': R | X,
      'read-write-execute': R | W | X,
    };
    for (const [access, flags] of Object.entries(all)) {
      expect(accessFlags(wrong(access), 'access')).to.equal(flags);
      expect(accessOf(flags | native.constants.MEMVIEW_YIELD)).to.equal(access);
    }
    expectRefused(
      () => accessFlags(wrong('write'), 'access'),
      /one of 'none', 'read', .* for access but received a string of 5 characters/,
    );
    expectRefused(() => accessFlags(wrong('toString'), 'access'));
  });

  describe('a source', () => {
    it('is a descriptor, or has one', () => {
      expect(sourceFd(7, 'source')).to.equal(7);
      expect(sourceFd({ fd: 8 }, 'source')).to.equal(8);
      for (const value of [undefined, null, 'x', {}, [], 4n]) {
        expectRefused(
          () => sourceFd(wrong(value), 'source'),
          /a file descriptor, an object with an fd, or a Secret for source/,
        );
      }
      // A FileHandle that is closed.
      expectRefused(() => sourceFd({ fd: -1 }, 'source'), /source\.fd .* -1/);
    });

    it('has an end, or needs a size', () => {
      using file = new LossyFile(5000);
      expect(bytesFrom(file.fd, 4096)).to.equal(904);
      const message = /a size, since file descriptor \d+ has 5000 bytes and none from 8192 on/;
      expectRefused(() => bytesFrom(file.fd, 8192), message);
    });
  });

  describe('own memory', () => {
    it('is whole pages of what cannot be freed meanwhile', () => {
      const memory = sharedPages(2);
      expect(checkOwnMemory(memory, 'memory')).to.equal(memory);
      expect(checkOwnMemory(memory.subarray(4096), 'memory').byteLength).to.equal(4096);
    });

    const hint = /new SharedArrayBuffer\(size, \{ maxByteLength: size \}\)/;
    const refused: readonly (readonly [what: string, memory: () => unknown, message: RegExp])[] = [
      ['nothing', () => undefined, /a Uint8Array for memory but received undefined/],
      ['a buffer itself', () => sharedPages(1).buffer, /a Uint8Array for memory but received a SharedArray/],
      ['a Buffer', () => Buffer.alloc(8192), /one of an ArrayBuffer, which can be transferred away/],
      ['a SharedArrayBuffer on the heap', () => new Uint8Array(new SharedArrayBuffer(8192)), hint],
      ['the middle of a page', () => sharedPages(2).subarray(16, 16 + 4096), /16 bytes behind the start/],
      ['half a page', () => sharedPages(1).subarray(0, 2048), /received 2048 bytes, the first of them 0/],
      ['no page', () => sharedPages(1).subarray(0, 0), /received 0 bytes/],
    ];
    for (const [what, memory, message] of refused) {
      it(`is not ${what}`, () => {
        expectRefused(() => checkOwnMemory(wrong(memory()), 'memory'), message);
      });
    }
  });

  it('lost access is an error of its own class', () => {
    const cause = new Error('inside');
    const revoked = accessLost('view', { offset: 8192, denied: false }, cause);
    expect(revoked).to.be.instanceOf(RevokedError).and.include({
      name: 'RevokedError',
      code: 'ERR_EXMEM_REVOKED',
      offset: 8192,
      cause,
    });
    expect(revoked.stack).to.match(/^RevokedError: .* byte 8192 of this view[^]*memory-view\.test/);
    const denied = accessLost('view', { offset: 0, denied: true });
    expect(denied).to.be.instanceOf(NoAccessError).and.include({
      name: 'NoAccessError',
      code: 'ERR_EXMEM_NO_ACCESS',
      offset: 0,
    });
    expect(denied).not.to.have.property('cause');
  });
});
