// SPDX-License-Identifier: MIT
// A ViewHandle on plain files, whose pages go by truncation: the same SIGBUS as
// a revoked page of a view, on any machine.
import { randomFill } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, readSync, writeSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { expect } from 'chai';
import { Descriptor, socketPair, ViewHandle } from 'exclusive-memory';
import { system } from '#internal/system.js';
import { expectErrno, expectMisuse, expectRefused, rejection, thrown } from '../support/failures.js';
import type { Tally } from '../support/losing-worker.js';
import { LossyFile } from '../support/lossy-file.js';
import { programOfSupport } from '../support/paths.js';
import { openFiles, settle } from '../support/process.js';
import { transfer } from '../support/transfer.js';
import { expectDenied, expectRevoked, page } from '../support/views.js';

const wrong = (value: unknown) => value as never;

describe('ViewHandle, on files', () => {
  describe('fromFd()', () => {
    it('takes over a descriptor', () => {
      using file = new LossyFile(5000);
      const descriptor = new Descriptor(system.duplicate(file.fd));
      using handle = ViewHandle.fromFd(descriptor);
      expect(handle.size).to.equal(5000);
      expectMisuse(thrown(() => descriptor.fd), 'ERR_EXMEM_DISPOSED');
    });

    it('refuses what is no file, and leaves it to the caller', () => {
      const [a, b] = socketPair();
      using _b = b;
      using socket = a;
      const message = /Expected the descriptor of a view but file descriptor \d+ is something else/;
      expectMisuse(thrown(() => ViewHandle.fromFd(socket)), 'ERR_EXMEM_WRONG_DESCRIPTOR', message);
      expect(socket.fd).to.be.above(2);
      expectErrno(thrown(() => ViewHandle.fromFd(1_000_000)), 'EBADF', 'fstat');
      expectRefused(() => ViewHandle.fromFd(-1), /for fd but received -1/);
      expectRefused(() => ViewHandle.fromFd(wrong('x')), /descriptor for fd/);
    });
  });

  describe('read() and write()', () => {
    it('move bytes', () => {
      using file = new LossyFile(3 * page);
      using handle = file.handle();
      expect(handle.write(page - 2, Uint8Array.of(1, 2, 3, 4))).to.equal(4);
      const into = new Uint8Array(6);
      expect(handle.read(BigInt(page - 3), into)).to.equal(6);
      expect([...into]).to.deep.equal([0, 1, 2, 3, 4, 0]);
      const check = Buffer.alloc(4);
      readSync(file.fd, check, 0, 4, page - 2);
      expect([...check]).to.deep.equal([1, 2, 3, 4]);
    });

    it('end at the end', () => {
      using file = new LossyFile(5000);
      using handle = file.handle();
      expect(handle.read(4990, new Uint8Array(100))).to.equal(10);
      expect(handle.write(4990, new Uint8Array(100))).to.equal(10);
      expect(handle.read(5000, new Uint8Array(100))).to.equal(0);
      expect(handle.read(0, new Uint8Array(0))).to.equal(0);
      expect(handle.size).to.equal(5000);
      expectRefused(() => handle.read(5001, new Uint8Array(1)), /from 0 to 5000 for offset/);
    });

    it('go through many windows, of which few are kept', () => {
      const size = 3 * 2 ** 30;
      using file = new LossyFile(size);
      using handle = file.handle();
      const step = 64 << 20;
      const text = Buffer.from('across');
      for (let at = step; at < size; at += step) expect(handle.write(at - 3, text)).to.equal(6);
      const mapped = readFileSync('/proc/self/maps', 'utf8').match(/\/dev\/shm\/exmem-/g) ?? [];
      expect(mapped.length).to.be.within(1, 8);
      for (let at = step; at < size; at += step) {
        const into = Buffer.alloc(6);
        handle.read(at - 3, into);
        expect(into.toString()).to.equal('across');
      }
      const all = new Uint8Array(2 * step + 10);
      expect(handle.read(step - 3, all)).to.equal(all.length);
      expect(Buffer.from(all.buffer, 0, 6).toString()).to.equal('across');
      expect(Buffer.from(all.buffer, 2 * step, 6).toString()).to.equal('across');
    });

    it('follow the size of a file', () => {
      using file = new LossyFile(page);
      using handle = file.handle();
      handle.read(0, new Uint8Array(page));
      file.resize(3 * page);
      expect(handle.read(0, new Uint8Array(5 * page))).to.equal(3 * page);
      handle.write(2 * page, Uint8Array.of(9));
      file.resize(page);
      expect(handle.read(0, new Uint8Array(5 * page))).to.equal(page);
    });

    it('say so where the descriptor is not for writing', () => {
      using file = new LossyFile(page);
      using handle = file.handle('r');
      expect(handle.read(0, new Uint8Array(10))).to.equal(10);
      expectErrno(thrown(() => handle.write(0, new Uint8Array(10))), 'EACCES', 'mmap');
    });

    it('refuse wrong arguments', () => {
      using file = new LossyFile(page);
      using handle = file.handle();
      for (const value of [undefined, 'x', -1, 0.5, 2 ** 60, -1n]) {
        expectRefused(() => handle.read(wrong(value), new Uint8Array(1)), /for offset/);
      }
      expectRefused(() => handle.read(0, wrong([1])), /a Uint8Array for into/);
      expectRefused(() => handle.write(0, wrong('x')), /a Uint8Array for from/);
    });
  });

  describe('access()', () => {
    it('lends exactly the range, and the memory itself', () => {
      using file = new LossyFile(3 * page);
      using handle = file.handle();
      const result = handle.access({ offset: page - 1, size: 3n, write: true }, (bytes) => {
        expect([bytes.byteLength, bytes.byteOffset, bytes.buffer.byteLength]).to.deep.equal([3, 0, 3]);
        bytes.set([1, 2, 3]);
        return 'result';
      });
      expect(result).to.equal('result');
      const check = Buffer.alloc(5);
      readSync(file.fd, check, 0, 5, page - 2);
      expect([...check]).to.deep.equal([0, 1, 2, 3, 0]);
    });

    it('detaches the buffer at the end, however it ends', async () => {
      using file = new LossyFile(page);
      using handle = file.handle();
      const range = { offset: 0, size: page };
      const leaked: Uint8Array[] = [];
      handle.access(range, (bytes) => leaked.push(bytes));
      expect(() => {
        handle.access(range, (bytes) => {
          leaked.push(bytes);
          throw new Error('inside');
        });
      }).to.throw('inside');
      const late = handle.access(range, async (bytes) => {
        leaked.push(bytes);
        await settle();
        return bytes.byteLength;
      });
      expect(leaked.map((bytes) => bytes.byteLength)).to.deep.equal([0, 0, page]);
      expect(await late).to.equal(page);
      expect(leaked.map((bytes) => bytes.byteLength)).to.deep.equal([0, 0, 0]);
    });

    it('nests, and outlasts the handle', async () => {
      using file = new LossyFile(page);
      const handle = file.handle();
      const late = handle.access({ offset: 0, size: 10 }, async (outer) => {
        handle.access({ offset: 0, size: 10, write: true }, (inner) => inner.fill(5));
        await settle();
        return [...outer];
      });
      handle.close();
      expect(await late).to.deep.equal(new Array(10).fill(5));
    });

    it('refuses wrong arguments', () => {
      using file = new LossyFile(page);
      using handle = file.handle();
      const refused: readonly (readonly [range: unknown, message: RegExp])[] = [
        [undefined, /an object for range/],
        [{ size: 1 }, /from 0 to 4095 for offset but received undefined/],
        [{ offset: 4096, size: 1 }, /from 0 to 4095 for offset but received 4096/],
        [{ offset: 0 }, /from 1 to 4096 for size \(at 0 of 4096 bytes\) but received undefined/],
        [{ offset: 96, size: 4001n }, /from 1 to 4000 for size \(at 96 of 4096 bytes\) .* 4001n/],
        [{ offset: 0, size: 0 }, /for size .* but received 0/],
        [{ offset: 0, size: 1, write: 1 }, /a boolean for write/],
      ];
      for (const [range, message] of refused) {
        expectRefused(() => handle.access(wrong(range), () => 1), message);
      }
      const noFunction = () => handle.access({ offset: 0, size: 1 }, wrong(3));
      expectRefused(noFunction, /a function for callback/);
    });

    it('puts zeros where a buffer was that was transferred away', () => {
      using file = new LossyFile(page);
      file.fill(7, 0, page);
      using handle = file.handle();
      let stolen = new Uint8Array();
      const steal = () => {
        handle.access({ offset: 0, size: page, write: true }, (bytes) => {
          stolen = new Uint8Array(transfer(bytes.buffer));
          expect(stolen[0]).to.equal(7);
        });
      };
      expectMisuse(thrown(steal), 'ERR_EXMEM_TRANSFERRED', /this access/);
      expect(stolen.every((byte) => byte === 0)).to.equal(true);
      stolen.fill(9);
      expect(handle.access({ offset: 0, size: 1 }, (bytes) => bytes[0])).to.equal(7);
    });
  });

  describe('losing pages', () => {
    it('in read(): the exact page, and the next call sees what is there then', () => {
      using file = new LossyFile(8 * page);
      using handle = file.handle();
      file.fill(7, 0, 8 * page);
      // Only a file that shrinks between fstat() and the access raises SIGBUS.
      for (const left of [0, 1, 3, 7]) {
        const into = new Uint8Array(8 * page).fill(1);
        const error = thrown(() => {
          handle.read(100, changing(into, () => { file.resize(left * page); }));
        });
        expectRevoked(error, left * page);
        const kept = Math.max(0, left * page - 100);
        expect(into.subarray(0, kept).every((byte) => byte === 7)).to.equal(true);
        expect(into.subarray(kept, 8 * page - 100).every((byte) => byte === 0)).to.equal(true);
        file.resize(8 * page);
        file.fill(7, 0, 8 * page);
        const again = new Uint8Array(8 * page);
        expect(handle.read(0, again)).to.equal(8 * page);
        expect(again.every((byte) => byte === 7), 'nothing is left of the loss').to.equal(true);
      }
    });

    it('in write(): the exact page, and what is before it is written', () => {
      using file = new LossyFile(8 * page);
      using handle = file.handle();
      const from = new Uint8Array(8 * page).fill(7);
      const error = thrown(() => {
        handle.write(0, changing(from, () => { file.resize(3 * page); }));
      });
      expectRevoked(error, 3 * page);
      expect(handle.size).to.equal(3 * page);
      file.resize(8 * page);
      const into = new Uint8Array(8 * page);
      handle.read(0, into);
      expect(into.lastIndexOf(7)).to.equal(3 * page - 1);
      expect(handle.write(0, from.slice())).to.equal(8 * page);
      handle.read(0, into);
      expect(into.lastIndexOf(7)).to.equal(8 * page - 1);
    });

    it('in access(): zeros for the rest of the call, stores included', () => {
      using file = new LossyFile(4 * page);
      using handle = file.handle();
      file.fill(7, 0, 4 * page);
      let seen: unknown;
      const error = thrown(() => {
        handle.access({ offset: 10, size: 4 * page - 10, write: true }, (bytes) => {
          file.resize(page);
          const before = [bytes[0], bytes[2 * page], bytes[3 * page]];
          bytes.fill(9, 2 * page);
          // What is stored there is there, for this call.
          seen = [before, bytes[page - 10], bytes[2 * page], bytes[4 * page - 11]];
        });
      });
      // The first that was touched.
      expectRevoked(error, 2 * page);
      expect(seen).to.deep.equal([[7, 0, 0], 0, 9, 9]);
      file.resize(4 * page);
      const range = { offset: 2 * page, size: page };
      const after = handle.access(range, (bytes) => bytes.every((byte) => byte === 0));
      expect(after, 'nothing was stored').to.equal(true);
    });

    it('in access(): the error of the callback is the cause', async () => {
      using file = new LossyFile(2 * page);
      using handle = file.handle();
      const failure = new Error('inside');
      const range = { offset: 0, size: 2 * page };
      const error = thrown(() => {
        handle.access(range, (bytes) => {
          file.resize(page);
          expect(bytes[page]).to.equal(0);
          throw failure;
        });
      });
      expectRevoked(error, page);
      expect(error.cause).to.equal(failure);

      file.resize(2 * page);
      const later = handle.access(range, async (bytes) => {
        await settle();
        file.resize(page);
        return bytes[page];
      });
      expectRevoked(await rejection(later), page);
    });

    it('does not concern a call that touches none of them', () => {
      using file = new LossyFile(2 * page);
      using handle = file.handle();
      const result = handle.access({ offset: 0, size: 2 * page }, (bytes) => {
        file.resize(page);
        return bytes[0];
      });
      expect(result).to.equal(0);
    });

    it('does not concern another call at the same time', () => {
      using file = new LossyFile(2 * page);
      using handle = file.handle();
      file.fill(7, 0, 2 * page);
      const outer = handle.access({ offset: 0, size: 2 * page }, (bytes) => {
        expectRevoked(
          thrown(() => handle.access({ offset: 0, size: 2 * page }, (inner) => {
            file.resize(page);
            return inner[page];
          })),
          page,
        );
        file.resize(2 * page);
        file.fill(8, page, page);
        return bytes[page];
      });
      expect(outer).to.equal(8);
    });

    it('is EFAULT for a system call, as the callback sees it', () => {
      using file = new LossyFile(page);
      using handle = file.handle();
      using sink = new LossyFile(0);
      handle.access({ offset: 0, size: page }, (bytes) => {
        file.resize(0);
        try {
          writeSync(sink.fd, bytes);
          expect.fail('written');
        } catch (error) {
          expect(error).to.include({ code: 'EFAULT', syscall: 'write' });
        }
      });
    });

    it('is noticed on a thread of the pool', async () => {
      using file = new LossyFile(1 << 20);
      using handle = file.handle();
      const error = await rejection(
        handle.access({ offset: 0, size: 1 << 20, write: true }, async (bytes) => {
          file.resize(page);
          await new Promise((resolve, reject) => {
            randomFill(bytes, (failure) => { if (failure) reject(failure); else resolve(undefined); });
          });
        }),
      );
      expectRevoked(error, page);
    });

    it('does no harm to what goes on after the end', async () => {
      using file = new LossyFile(1 << 20);
      using handle = file.handle();
      const filled = new Promise((resolve) => {
        handle.access({ offset: 0, size: 1 << 20, write: true }, (bytes) => {
          randomFill(bytes, () => { resolve('filled'); });
        });
      });
      file.resize(0);
      expect(await filled).to.equal('filled');
    });

    it('is survived 1000 times, with nothing left behind', async () => {
      using file = new LossyFile(16 * page);
      using handle = file.handle();
      const lose = (round: number) => {
        const left = round % 16;
        file.resize(16 * page);
        const error = thrown(() => {
          handle.access({ offset: 0, size: 16 * page }, (bytes) => {
            file.resize(left * page);
            return bytes.reduce((sum, byte) => sum + byte, 0);
          });
        });
        expectRevoked(error, left * page);
      };
      const files = openFiles();
      for (let round = 0; round < 1000; round++) lose(round);
      await settle();
      expect(openFiles()).to.equal(files);
      const maps = () => readFileSync('/proc/self/maps', 'utf8');
      expect(maps()).not.to.contain('/dev/shm/exmem-');
    });

    it('of many pages costs few mappings', () => {
      const pages = 8000;
      using file = new LossyFile(pages * page);
      using handle = file.handle();
      const error = thrown(() => {
        handle.access({ offset: 0, size: pages * page, write: true }, (bytes) => {
          file.resize(0);
          // What is written in every second page does not merge with what is between.
          for (let i = 0; i < pages; i += 2) bytes[i * page] = 1;
          expect(readFileSync('/proc/self/maps', 'utf8').split('\n').length).to.be.below(3000);
          for (let i = 1; i < pages; i += 2) if (bytes[i * page] !== 0) throw new Error('not zero');
        });
      });
      expectRevoked(error, 0);
      expect(error).not.to.have.property('cause');
    });

    it('is survived by threads that read while the file comes and goes', async function () {
      this.timeout(120_000);
      const size = 64 * page;
      using file = new LossyFile(size);
      file.fill(7, 0, size);
      const workers = Array.from(
        { length: 3 },
        () => {
          const workerData = { fd: system.duplicate(file.fd), size };
          return new Worker(programOfSupport('losing-worker'), { workerData });
        },
      );
      await Promise.all(workers.map((worker) => once(worker, 'message')));
      const end = performance.now() + 3000;
      for (let round = 0; performance.now() < end; round++) {
        file.resize((round % 64) * page);
        file.resize(size);
        file.fill(7, 0, size);
      }
      const tallies = await Promise.all(
        workers.map(async (worker) => {
          const answer = once(worker, 'message');
          worker.postMessage('stop');
          const [tally] = (await answer) as [Tally];
          await once(worker, 'exit');
          return tally;
        }),
      );
      for (const { whole, lost, wrong: unexpected } of tallies) {
        expect(whole, 'calls that saw everything').to.be.above(0);
        expect(lost, 'calls that lost something').to.be.above(0);
        expect(unexpected).to.equal(0);
      }
    });
  });

  describe('a store to what may only be read', () => {
    it('is absorbed, and an error', () => {
      using file = new LossyFile(2 * page);
      using handle = file.handle();
      file.fill(7, 0, 2 * page);
      const error = thrown(() => {
        handle.access({ offset: 0, size: 2 * page }, (bytes) => {
          expect(bytes[page]).to.equal(7);
          bytes[page] = 9;
        });
      });
      expectDenied(error, page);
      expect(handle.access({ offset: page, size: 1 }, (bytes) => bytes[0])).to.equal(7);
    });
  });

  it('can be sent on, and released', () => {
    using file = new LossyFile(page);
    const handle = file.handle();
    const fd = handle.release();
    expectMisuse(thrown(() => handle.fd), 'ERR_EXMEM_DISPOSED', /This ViewHandle was released/);
    using again = ViewHandle.fromFd(fd);
    expect(again.fd).to.equal(fd);
  });

  it('is over once closed', () => {
    using file = new LossyFile(page);
    const handle = file.handle();
    handle.read(0, new Uint8Array(1));
    handle.close();
    handle.close();
    handle[Symbol.dispose]();
    for (const method of [
      () => handle.fd,
      () => handle.size,
      () => handle.read(0, new Uint8Array(1)),
      () => handle.write(0, new Uint8Array(1)),
      () => handle.access({ offset: 0, size: 1 }, () => 1),
      () => handle.release(),
    ]) {
      expectMisuse(thrown(method), 'ERR_EXMEM_DISPOSED', /This ViewHandle was closed/);
    }
    expect(readFileSync('/proc/self/maps', 'utf8')).not.to.contain('/dev/shm/exmem-');
  });
});

/** Does `change` when the length is looked at: between fstat(2) and the access. */
function changing(bytes: Uint8Array, change: () => void): Uint8Array {
  const { byteLength } = bytes;
  return Object.defineProperty(bytes, 'byteLength', {
    get() {
      change();
      return byteLength;
    },
  });
}
