// SPDX-License-Identifier: MIT
// What the public functions refuse before any system call.
import { expect } from 'chai';
import {
  Descriptor,
  receiveDescriptors,
  RestrictedMemfd,
  Secret,
  sendDescriptors,
} from 'exclusive-memory';
import { expectErrno, expectMisuse, rejection, thrown } from '../support/failures.js';

/** A value that the types would refuse. */
const wrong = (value: unknown) => value as never;

describe('refused arguments', () => {
  const sync: readonly (readonly [name: string, action: () => unknown, message: RegExp])[] = [
    ['Secret.random(0)', () => Secret.random(0), /integer from 1 .* for byteLength .* 0$/],
    ['Secret.random("32")', () => Secret.random(wrong('32')), /for byteLength .* a string/],
    ['Secret.random(32, null)', () => Secret.random(32, wrong(null)), /an object for options/],
    ['Secret.fromHandle("x")', () => Secret.fromHandle(wrong('x')), /a file descriptor for handle/],
    ['Secret.fromHandle(-1)', () => Secret.fromHandle(-1), /for handle but received -1/],
    ['create(null)', () => RestrictedMemfd.create(wrong(null)), /an object for options/],
    ['create({size: 0})', () => RestrictedMemfd.create({ size: 0 }), /for size but received 0/],
    ['create({size: 1.5})', () => RestrictedMemfd.create({ size: 1.5 }), /for size .* 1\.5/],
    ['create({name: 1})', () => RestrictedMemfd.create({ name: wrong(1) }), /a string for name/],
    ['create({huge: 1})', () => RestrictedMemfd.create({ huge: wrong(1) }), /a boolean for huge/],
    [
      'create({name: 32 bytes})',
      () => RestrictedMemfd.create({ name: 'ä'.repeat(16) }),
      /at most 31 bytes of UTF-8 without NUL for name/,
    ],
    ['create({name: NUL})', () => RestrictedMemfd.create({ name: 'a\0b' }), /without NUL for name/],
    ['fromFd(undefined)', () => RestrictedMemfd.fromFd(wrong(undefined)), /descriptor for fd/],
    ['new Descriptor(1.5)', () => new Descriptor(1.5), /for fd but received 1\.5/],
    ['sendDescriptors(socket?)', () => { sendDescriptors(wrong('x'), []); }, /for socket/],
    ['sendDescriptors(list?)', () => { sendDescriptors(0, wrong(3)); }, /an array for descriptors/],
    ['sendDescriptors([x])', () => { sendDescriptors(0, [1, wrong('x')]); }, /for descriptors\[1\]/],
    [
      'sendDescriptors(254)',
      () => { sendDescriptors(0, Array.from({ length: 254 }, () => 0)); },
      /from 0 to 253 for the number of descriptors but received 254/,
    ],
    ['sendDescriptors(payload?)', () => { sendDescriptors(0, [], wrong('x')); }, /a Uint8Array for/],
    [
      'sendDescriptors(no payload)',
      () => { sendDescriptors(0, [], new Uint8Array(0)); },
      /from 1 to 4096 for the length of payload but received 0/,
    ],
    ['receiveDescriptors(-1 ms)', () => receiveDescriptors(0, { timeoutMs: -1 }), /for timeoutMs/],
  ];
  for (const [name, action, message] of sync) {
    it(name, () => {
      expectMisuse(thrown(action), 'ERR_EXMEM_ARGUMENT', message);
    });
  }

  const async: readonly (readonly [name: string, action: () => Promise<unknown>, message: RegExp])[] = [
    ['Secret.fromFd("x")', () => Secret.fromFd(wrong('x')), /a file descriptor for fd/],
    ['Secret.fromFile(1)', () => Secret.fromFile(wrong(1)), /a string for path but received 1/],
    ['Secret.fromFd(maxBytes 0)', () => Secret.fromFd(0, { maxBytes: 0 }), /for maxBytes .* 0/],
    ['Secret.prompt(message?)', () => Secret.prompt({ message: wrong(3) }), /a string for message/],
    ['Secret.prompt(fd?)', () => Secret.prompt({ message: '', fd: -5 }), /for fd but received -5/],
    ['Secret.prompt()', () => Secret.prompt(wrong(undefined)), /an object for options/],
  ];
  for (const [name, action, message] of async) {
    it(name, async () => {
      expectMisuse(await rejection(action()), 'ERR_EXMEM_ARGUMENT', message);
    });
  }

  it('a descriptor that is not open: the kernel says so', async () => {
    expectErrno(thrown(() => RestrictedMemfd.fromFd(1_000_000)), 'EBADF', 'ioctl EXMEM_GET_INFO');
    expectErrno(thrown(() => Secret.fromHandle(1_000_000)), 'EBADF', 'ioctl EXMEM_GET_INFO');
    expectErrno(await rejection(Secret.fromFd(1_000_000)), 'EBADF', 'fstat');
  });

  it('a descriptor of something else', () => {
    for (const adopt of [() => RestrictedMemfd.fromFd(0), () => Secret.fromHandle(0)]) {
      const error = thrown(adopt);
      expectMisuse(error, 'ERR_EXMEM_WRONG_DESCRIPTOR', /file descriptor 0 is something else/);
    }
    expect(process.stdin.fd).to.equal(0);
  });
});
