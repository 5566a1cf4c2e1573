// SPDX-License-Identifier: MIT
// The handlers of SIGBUS and SIGSEGV save what is theirs, and nothing else.
import { expect } from 'chai';
import { SignalProgram } from '../support/signals.js';

describe('the handlers of SIGBUS and SIGSEGV', function () {
  this.timeout(120_000);
  let program: SignalProgram;
  before(() => {
    program = new SignalProgram();
  });
  after(() => {
    program[Symbol.dispose]();
  });

  /** A process that does `steps`, its status or signal, and what it printed. */
  function expectFate(steps: string[], end: number | NodeJS.Signals, printed: string[]): void {
    const { status, signal, stdout, stderr } = program.run(...steps);
    expect({ end: status ?? signal, printed: stdout.trimEnd().split('\n') }, stderr).to.deep.equal({
      end,
      printed,
    });
  }

  const lost = 'ERR_EXMEM_REVOKED';

  it('absorb what is about memory that was lost, again and again', () => {
    expectFate(['lose', 'lose', 'lose'], 0, [lost, lost, lost]);
  });

  for (const signal of ['SIGBUS', 'SIGSEGV'] as const) {
    describe(`leave another ${signal}`, () => {
      it('deadly', () => {
        expectFate(['lose', `fault:${signal}`, 'lose'], signal, [lost]);
      });

      it('deadly, before any memory was lost', () => {
        expectFate([`fault:${signal}`], signal, ['']);
      });

      it('deadly if it was ignored: an access cannot be', () => {
        expectFate([`install:${signal}:ignore`, 'lose', `fault:${signal}`], signal, ['done', lost]);
      });

      it('to a handler with SA_SIGINFO that was there before', () => {
        const steps = [`install:${signal}:siginfo`, 'lose', `fault:${signal}`];
        expectFate(steps, 40, ['done', lost, 'siginfo']);
      });

      it('to a handler of the old kind that was there before', () => {
        const steps = [`install:${signal}:plain`, 'lose', `fault:${signal}`];
        expectFate(steps, 41, ['done', lost, `plain ${signal}`]);
      });

      it('to a handler that lets the access succeed, with the mask it asked for', () => {
        const fault = `fault:${signal}`;
        const steps = [`install:${signal}:repair`, 'lose', fault, fault, 'lose'];
        expectFate(steps, 0, ['done', lost, 'done', 'done', lost]);
      });

      it('to a handler with SA_RESETHAND, once', () => {
        const steps = [`install:${signal}:repair once`, 'lose', `fault:${signal}`, `fault:${signal}`];
        expectFate(steps, signal, ['done', lost, 'done']);
      });

      it('that was sent as it was: deadly, or ignored', () => {
        expectFate(['lose', `send:${signal}`, 'lose'], signal, [lost]);
        expectFate([`install:${signal}:ignore`, 'lose', `send:${signal}`, 'lose'], 0, [
          'done',
          lost,
          'done',
          lost,
        ]);
      });
    });
  }

  it('leave WebAssembly its own', () => {
    const trap = 'memory access out of bounds';
    expectFate(['trap', 'lose', 'trap', 'lose', 'trap'], 0, [trap, lost, trap, lost, trap]);
  });

  it('do not absorb a jump into lent memory, which would have no end', () => {
    expectFate(['jump'], 'SIGSEGV', ['']);
  });

  it('outlive the worker thread that needed them first', () => {
    const trap = 'memory access out of bounds';
    expectFate(['lose in worker', 'trap', 'lose in worker', 'trap'], 0, [lost, trap, lost, trap]);
    expectFate(['lose in worker', 'fault:SIGBUS'], 'SIGBUS', [lost]);
  });

  it('warn, once, when somebody installed others later', () => {
    const { status, stderr } = program.run('lose', 'listen:SIGBUS', 'use', 'use');
    expect(status, stderr).to.equal(0);
    expect(stderr.match(/\[EXMEM_SIGNAL_HANDLER\] .* of SIGBUS was installed after/g)).to.have.length(1);
    expect(program.run('listen:SIGBUS', 'use', 'use')).to.include({ status: 0, stderr: '' });
  });
});
