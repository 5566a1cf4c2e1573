// SPDX-License-Identifier: MIT
import { randomFill } from 'node:crypto';
import { MessageChannel } from 'node:worker_threads';
import { expect } from 'chai';
import { Secret } from 'exclusive-memory';
import { expectMisuse, thrown } from '../support/failures.js';
import { backend, policy } from '../support/policy.js';
import { mappedMemory, openMemory, settle } from '../support/process.js';
import { transfer } from '../support/transfer.js';

const random = (byteLength: number) => Secret.random(byteLength, { policy });

describe(`Secret (${backend})`, () => {
  afterEach(async () => {
    await settle();
    expect(openMemory(), 'no descriptor leaked').to.deep.equal([]);
    expect(mappedMemory(), 'no mapping leaked').to.deep.equal([]);
  });

  describe('random()', () => {
    for (const length of [1, 32, 4095, 4096, 4097, 100_000]) {
      it(`has ${length} bytes`, () => {
        using secret = random(length);
        expect(secret).to.include({ byteLength: length, backend, disposed: false });
        expect(secret.use((bytes) => bytes.byteLength)).to.equal(length);
      });
    }

    it('fills all of them', () => {
      using secret = random(100_000);
      secret.use((bytes) => {
        for (let start = 0; start < bytes.length; start += 1000) {
          expect(bytes.subarray(start, start + 1000).some((byte) => byte !== 0)).to.equal(true);
        }
      });
    });

    it('is different each time', () => {
      using a = random(32);
      using b = random(32);
      expect(a.equals(b)).to.equal(false);
    });
  });

  describe('use()', () => {
    it('lends the memory itself and returns what the callback returns', () => {
      using secret = random(32);
      const token = {};
      expect(secret.use(() => token)).to.equal(token);
      secret.use((bytes) => bytes.fill(1));
      secret.use((bytes) => {
        expect(bytes).to.be.instanceOf(Uint8Array);
        expect(bytes.every((byte) => byte === 1)).to.equal(true);
      });
    });

    it('detaches the buffer when the callback returns', () => {
      using secret = random(32);
      let leaked: Uint8Array<ArrayBuffer> | undefined;
      let view: DataView | undefined;
      secret.use((bytes) => {
        leaked = bytes;
        view = new DataView(bytes.buffer);
      });
      expect(leaked?.byteLength).to.equal(0);
      expect(leaked?.buffer.byteLength).to.equal(0);
      expect(() => view?.getUint8(0)).to.throw(TypeError);
    });

    it('detaches the buffer when the callback throws, and passes the error on', () => {
      using secret = random(32);
      const failure = new Error('inside');
      let leaked: Uint8Array | undefined;
      expect(() => {
        secret.use((bytes) => {
          leaked = bytes;
          throw failure;
        });
      }).to.throw(failure);
      expect(leaked?.byteLength).to.equal(0);
      expect(secret.use((bytes) => bytes.length)).to.equal(32);
    });

    it('nests', () => {
      using secret = random(32);
      secret.use((outer) => {
        secret.use((inner) => {
          expect(inner.buffer).not.to.equal(outer.buffer);
          inner[0] = 0xa5;
        });
        expect(outer[0]).to.equal(0xa5);
        expect(outer.byteLength).to.equal(32);
      });
    });

    it('lasts until the promise that the callback returned is settled', async () => {
      using secret = random(32);
      let leaked: Uint8Array | undefined;
      const result = await secret.use(async (bytes) => {
        leaked = bytes;
        await settle();
        expect(bytes.byteLength).to.equal(32);
        return 'done';
      });
      expect(result).to.equal('done');
      expect(leaked?.byteLength).to.equal(0);
    });

    it('passes a rejection on', async () => {
      using secret = random(32);
      const failure = new Error('later');
      let leaked: Uint8Array | undefined;
      const outcome = await secret
        .use(async (bytes) => {
          leaked = bytes;
          await settle();
          throw failure;
        })
        .catch((error: unknown) => error);
      expect(outcome).to.equal(failure);
      expect(leaked?.byteLength).to.equal(0);
    });

    it('overlaps with others, each with a buffer of its own', async () => {
      using secret = random(32);
      const leaked: Uint8Array[] = [];
      const uses = Array.from({ length: 20 }, (_, i) =>
        secret.use(async (bytes) => {
          leaked.push(bytes);
          bytes[i] = i;
          for (let turn = 0; turn < i % 5; turn++) await Promise.resolve();
          return bytes[i];
        }),
      );
      expect(await Promise.all(uses)).to.deep.equal(Array.from({ length: 20 }, (_, i) => i));
      expect(leaked.map((bytes) => bytes.byteLength)).to.deep.equal(leaked.map(() => 0));
      expect(leaked).to.have.length(20);
    });

    it('refuses what is no function', () => {
      using secret = random(1);
      expectMisuse(thrown(() => secret.use(3 as never)), 'ERR_EXMEM_ARGUMENT', /a function for callback/);
    });
  });

  describe('a buffer that was transferred away', () => {
    it('shows zeros, and the use and the secret end with an error', () => {
      const secret = random(32);
      let stolen = new Uint8Array();
      const error = thrown(() => {
        secret.use((bytes) => {
          bytes.fill(1);
          stolen = new Uint8Array(transfer(bytes.buffer));
          expect(stolen[31]).to.equal(1);
        });
      });
      expectMisuse(error, 'ERR_EXMEM_TRANSFERRED', /this Secret .* zeros took its place/);
      expect(stolen.byteLength).to.equal(32);
      expect(stolen.every((byte) => byte === 0)).to.equal(true);
      stolen.fill(9); // no crash
      expectMisuse(thrown(() => secret.use(() => 1)), 'ERR_EXMEM_DISPOSED', /lost to a transferred/);
      secret[Symbol.dispose]();
    });

    it('ends the uses that overlap with it, too', async () => {
      const secret = random(32);
      let leaked: Uint8Array | undefined;
      const other = secret.use(async (bytes) => {
        leaked = bytes;
        await settle();
        return 'not to be trusted';
      });
      expectMisuse(
        thrown(() => secret.use((bytes) => transfer(bytes.buffer))),
        'ERR_EXMEM_TRANSFERRED',
      );
      const outcome = await other.catch((error: unknown) => error);
      expect(outcome).to.include({ code: 'ERR_EXMEM_TRANSFERRED' });
      expect(leaked?.byteLength).to.equal(0);
    });

    it('keeps what the callback threw as the cause', () => {
      const secret = random(32);
      const failure = new Error('inside');
      const error = thrown(() => {
        secret.use((bytes) => {
          transfer(bytes.buffer);
          throw failure;
        });
      });
      expectMisuse(error, 'ERR_EXMEM_TRANSFERRED');
      expect(error.cause).to.equal(failure);
    });

    it('is not transferred by postMessage() and structuredClone()', () => {
      using secret = random(32);
      const { port1, port2 } = new MessageChannel();
      secret.use((bytes) => {
        const { buffer } = bytes;
        // Node.js 20 copies instead, later ones throw.
        for (const attempt of [
          () => { port1.postMessage(buffer, [buffer]); },
          () => structuredClone(buffer, { transfer: [buffer] }),
        ]) {
          try {
            attempt();
          } catch (error) {
            expect(error).to.include({ name: 'DataCloneError' });
          }
          expect(bytes.byteLength).to.equal(32);
        }
      });
      port1.close();
      port2.close();
    });
  });

  it('survives native code that goes on writing after the use', async () => {
    const secret = random(1 << 20);
    const written = new Promise((resolve, reject) => {
      secret.use((bytes) => {
        randomFill(bytes, (error) => {
          if (error) reject(error);
          else resolve('written');
        });
      });
    });
    secret[Symbol.dispose]();
    expect(await written).to.equal('written');
  });

  describe('equals()', () => {
    it('compares bytes', () => {
      using a = random(5000);
      using b = random(5000);
      expect(a.equals(a)).to.equal(true);
      a.use((from) => {
        b.use((to) => {
          to.set(from);
        });
      });
      expect(a.equals(b)).to.equal(true);
      for (const index of [0, 2500, 4999]) {
        b.use((bytes) => (bytes[index] = (bytes[index] ?? 0) ^ 1));
        expect(a.equals(b)).to.equal(false);
        b.use((bytes) => (bytes[index] = (bytes[index] ?? 0) ^ 1));
      }
    });

    it('is false for another length', () => {
      using a = random(31);
      using b = random(32);
      a.use((bytes) => bytes.fill(0));
      b.use((bytes) => bytes.fill(0));
      expect(a.equals(b)).to.equal(false);
      expect(b.equals(a)).to.equal(false);
    });

    it('refuses what is no secret, and what is over', () => {
      using a = random(1);
      const b = random(1);
      b[Symbol.dispose]();
      const wrong = /a Secret for other but received a Uint8Array of 1 bytes/;
      expectMisuse(thrown(() => a.equals(new Uint8Array(1) as never)), 'ERR_EXMEM_ARGUMENT', wrong);
      expectMisuse(thrown(() => a.equals(b)), 'ERR_EXMEM_DISPOSED');
      expectMisuse(thrown(() => b.equals(a)), 'ERR_EXMEM_DISPOSED');
    });
  });

  describe('disposal', () => {
    it('is idempotent, and ends every method', () => {
      const secret = random(32);
      secret[Symbol.dispose]();
      secret[Symbol.dispose]();
      expect(secret.disposed).to.equal(true);
      for (const method of [
        () => secret.use(() => 1),
        () => secret.equals(secret),
        () => secret.release(),
        () => { secret.sendTo(0); },
      ]) {
        expectMisuse(thrown(method), 'ERR_EXMEM_DISPOSED', /This Secret was disposed/);
      }
      expect(openMemory()).to.deep.equal([]);
      expect(mappedMemory()).to.deep.equal([]);
    });

    it('waits for the uses that run, and lets none begin', async () => {
      const secret = random(32);
      let finish = (): void => undefined;
      const use = secret.use(async (bytes) => {
        bytes.fill(1);
        await new Promise<void>((resolve) => (finish = resolve));
        return bytes.every((byte) => byte === 1);
      });
      secret[Symbol.dispose]();
      expectMisuse(thrown(() => secret.use(() => 1)), 'ERR_EXMEM_DISPOSED');
      expect(openMemory()).to.have.length(1);
      finish();
      expect(await use, 'still there').to.equal(true);
      expect(openMemory()).to.deep.equal([]);
      expect(mappedMemory()).to.deep.equal([]);
    });

    it('waits for the end of the use that it is called in', () => {
      const secret = random(32);
      secret.use((bytes) => {
        bytes.fill(1);
        secret[Symbol.dispose]();
        expect(bytes.every((byte) => byte === 1)).to.equal(true);
      });
      expect(openMemory()).to.deep.equal([]);
    });

    it('happens when it was forgotten', async () => {
      (() => { random(32); })();
      await settle();
      expect(openMemory()).to.deep.equal([]);
    });
  });

  describe('release()', () => {
    it('gives the memory to whoever adopts the descriptor', () => {
      const first = random(32);
      first.use((bytes) => bytes.fill(7));
      const descriptor = first.release();
      expect(first.disposed).to.equal(true);
      expectMisuse(thrown(() => first.use(() => 1)), 'ERR_EXMEM_DISPOSED', /was given away/);
      expect(mappedMemory()).to.deep.equal([]);

      using second = Secret.fromHandle(descriptor);
      expect(second).to.include({ byteLength: 32, backend });
      expect(second.use((bytes) => bytes.every((byte) => byte === 7))).to.equal(true);
    });

    it('is refused while a use runs', () => {
      using secret = random(32);
      secret.use((bytes) => {
        expectMisuse(thrown(() => secret.release()), 'ERR_EXMEM_BUSY', /while a use/);
        expectMisuse(thrown(() => { secret.sendTo(0); }), 'ERR_EXMEM_BUSY', /while a use/);
        expect(bytes.byteLength).to.equal(32);
      });
      expect(secret.disposed).to.equal(false);
    });
  });
});
