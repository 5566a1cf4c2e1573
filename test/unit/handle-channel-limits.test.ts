// SPDX-License-Identifier: MIT
import { execFileSync } from 'node:child_process';
import { expect } from 'chai';
import { programOfSupport } from '../support/paths.js';

/** What channel-limits-process.ts saw with at most 64 open files. */
function underLimit(...what: string[]): unknown {
  const script = 'ulimit -n 64 && exec "$0" "$@"';
  const command = [process.execPath, programOfSupport('channel-limits-process'), ...what];
  const output = execFileSync('sh', ['-c', script, ...command], { encoding: 'utf8', timeout: 20_000 });
  return (JSON.parse(output) as { result: unknown }).result;
}

describe('HandleChannel at the limits of the process', () => {
  it('says EMFILE where it cannot accept or connect, and the connection waits', () => {
    expect(underLimit('accept')).to.deep.equal([
      'EMFILE accept4 -24',
      'EMFILE accept4 -24',
      'fulfilled',
      'fulfilled',
    ]);
  });

  for (const framing of ['seqpacket', 'stream', 'length-prefixed']) {
    it(`${framing}: a message with more descriptors than can be opened is lost, all of them are closed`, () => {
      expect(underLimit('receive', framing)).to.deep.equal(['ERR_EXMEM_TRUNCATED', 0, 'few', 2]);
    });
  }

  it('says EMFILE where a message has to wait and cannot', () => {
    expect(underLimit('duplicate')).to.deep.equal(['EMFILE fcntl -24', 0, 51]);
  });

  it('says ETOOMANYREFS where too many descriptors are in flight', () => {
    expect(underLimit('inFlight')).to.deep.equal([true, 'ETOOMANYREFS sendmsg -109', 'y', 'fulfilled']);
  });
});
