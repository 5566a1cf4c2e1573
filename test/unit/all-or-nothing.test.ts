// SPDX-License-Identifier: MIT
import { expect } from 'chai';
import { allOrNothing } from '#internal/all-or-nothing.js';

describe('allOrNothing()', () => {
  const broken = new Error('broken');
  const fail = () => { throw broken; };

  it('undoes nothing if all went well', () => {
    const log: string[] = [];
    allOrNothing((step) => {
      step(() => log.push('a'), () => log.push('undo a'));
      step(() => log.push('b'), () => log.push('undo b'));
    });
    expect(log).to.deep.equal(['a', 'b']);
  });

  it('undoes what was done, last first, and throws what stopped it', () => {
    const log: string[] = [];
    const run = () => {
      allOrNothing((step) => {
        step(() => log.push('a'), () => log.push('undo a'));
        step(() => log.push('b'), () => log.push('undo b'));
        step(fail, () => log.push('undo c'));
        step(() => log.push('d'), () => log.push('undo d'));
      });
    };
    expect(run).to.throw(broken);
    expect(log).to.deep.equal(['a', 'b', 'undo b', 'undo a']);
  });

  it('goes on where something cannot be undone', () => {
    const log: string[] = [];
    const run = () => {
      allOrNothing((step) => {
        step(() => log.push('a'), () => log.push('undo a'));
        step(() => log.push('b'), () => { throw new Error('cannot'); });
        fail();
      });
    };
    expect(run).to.throw(broken);
    expect(log).to.deep.equal(['a', 'b', 'undo a']);
  });
});
