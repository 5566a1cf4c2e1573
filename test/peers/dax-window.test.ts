// SPDX-License-Identifier: MIT
// A DAX window by a view, and as it is done without.
import { expect } from 'chai';
import { execFileSync } from 'node:child_process';
import { programOfPeer } from '../support/peer-program.js';

interface Figures {
  readonly viewPerSecond: number;
  readonly socketPerSecond: number;
  readonly ratio: number;
  /** Accesses that found the right page, no page, and something else. */
  readonly good: number;
  readonly gone: number;
  readonly wrong: number;
}

describe('a DAX window', function () {
  this.timeout(120_000);

  it('is mapped and unmapped at least 10 times as fast as by asking the mapper', () => {
    const output = execFileSync(programOfPeer('dax_window'), ['2000'], { encoding: 'utf8' });
    const { viewPerSecond, socketPerSecond, ratio, good, gone, wrong } = JSON.parse(output) as Figures;
    console.log(
      `      ranges of 2 MiB mapped and unmapped: ${viewPerSecond}/s by a view, ` +
        `${socketPerSecond}/s by asking: ${ratio} times; the reader found ${good} pages, and ${gone} times none`,
    );
    expect(wrong).to.equal(0);
    expect(good).to.be.greaterThan(0);
    expect(gone).to.be.greaterThan(0);
    expect(ratio).to.be.at.least(10);
  });
});
