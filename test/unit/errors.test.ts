// SPDX-License-Identifier: MIT
import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { ExclusiveMemoryError, Secret } from 'exclusive-memory';
import { fromSystem, misuse } from '#internal/errors.js';
import { system } from '#internal/system.js';
import { expectErrno, rejection, thrown } from '../support/failures.js';

function systemFailure(errno: number, syscall: string): Error {
  return Object.assign(new Error('raw'), { errno, syscall });
}

describe('ExclusiveMemoryError', () => {
  it('is an Error with a name, also when printed', () => {
    const error = misuse('ERR_EXMEM_BUSY', 'not now');
    expect(error).to.be.instanceOf(ExclusiveMemoryError).and.instanceOf(Error);
    expect(String(error)).to.equal('ExclusiveMemoryError: not now');
    expect(error.stack).to.match(/^ExclusiveMemoryError: not now\n\s+at .*errors\.test/);
  });

  it('keeps errno, its name and the system call, and says what to do', () => {
    const error = fromSystem(systemFailure(-16, 'mmap'));
    expect(error).to.be.instanceOf(ExclusiveMemoryError);
    expect(error).to.include({ code: 'EBUSY', errno: -16, syscall: 'mmap' });
    expect((error as Error).message).to.match(/^EBUSY: resource busy or locked, mmap: .*unmap it/);
  });

  it('names an errno that libuv does not know', () => {
    expect(fromSystem(systemFailure(-62, 'ioctl'))).to.include({ code: 'ETIME', errno: -62 });
    expect(fromSystem(systemFailure(-999, 'ioctl'))).to.include({ code: 'E999', errno: -999 });
  });

  it('leaves other errors alone', () => {
    const other = new TypeError('x');
    expect(fromSystem(other)).to.equal(other);
    expect(fromSystem('x')).to.equal('x');
  });

  it('names the path, as Node.js does', () => {
    const error = thrown(() => system.open('/nonexistent'));
    expectErrno(error, 'ENOENT', 'open');
    expect(error.message).to.equal("ENOENT: no such file or directory, open '/nonexistent'");
  });

  it('has the stack of the caller, not of the wrapping', () => {
    const error = thrown(() => {
      system.close(1_000_000);
    });
    expectErrno(error, 'EBADF', 'close');
    expect(error.stack?.split('\n')[1]).to.match(/errors\.test/);
  });

  it('has the stack of the caller of what failed later', async () => {
    const error = await rejection(Secret.fromFile('/nonexistent'));
    expectErrno(error, 'ENOENT', 'open');
    expect(error.stack).to.match(/errors\.test/);
  });

  it('documents each code of misuse in the type', () => {
    const source = readFileSync(new URL('../../../../src/errors.ts', import.meta.url), 'utf8');
    const codes = source.match(/\| '(ERR_EXMEM_\w+)'/g) ?? [];
    const documented = source.match(/\/\*\* .* \*\/\n {2}\| 'ERR_EXMEM_\w+'/g) ?? [];
    expect(codes).to.have.length.above(5);
    expect(documented).to.have.length(codes.length);
  });
});
