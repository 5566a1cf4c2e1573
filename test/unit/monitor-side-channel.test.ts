// SPDX-License-Identifier: MIT
import { expect } from 'chai';
import { encodeMessage, MessageFilter } from '../../examples/monitor/side-channel.js';
import { isWitnessRequest } from '../../examples/monitor/sight.js';

function filterAll(chunks: Iterable<Uint8Array>) {
  const messages: unknown[] = [];
  const filter = new MessageFilter((message) => messages.push(message));
  const output = Buffer.concat(Array.from(chunks, (chunk) => filter.push(chunk))).toString('latin1');
  return { messages, output };
}

describe('monitor: the side channel', () => {
  const message = { type: 'look', text: 'with \u0007 and \u001b]7770; in it' };
  const stream = Buffer.concat([
    Buffer.from('before '),
    encodeMessage(message),
    Buffer.from('between'),
    encodeMessage({ second: true }),
    Buffer.from(' after\x1b[0m'),
  ]);
  const expected = { messages: [message, { second: true }], output: 'before between after\x1b[0m' };

  it('takes messages out', () => {
    expect(filterAll([stream])).to.deep.equal(expected);
  });

  it('takes them out wherever the stream is cut', () => {
    for (let cut = 0; cut <= stream.length; cut++) {
      expect(filterAll([stream.subarray(0, cut), stream.subarray(cut)]), `cut at ${cut}`).to.deep.equal(expected);
    }
    expect(filterAll(Array.from(stream, (byte) => Buffer.of(byte)))).to.deep.equal(expected);
  });

  it('passes other escapes on, and what never ends', () => {
    const title = '\x1b]0;title\x07text';
    expect(filterAll([Buffer.from(title)])).to.deep.equal({ messages: [], output: title });
    const endless = Buffer.concat([Buffer.from('\x1b]7770;'), Buffer.alloc(70_000, 'x')]);
    expect(filterAll([endless]).output).to.equal(endless.toString('latin1'));
  });

  it('drops what is no JSON', () => {
    expect(filterAll([Buffer.from('a\x1b]7770;nonsense\x07b')])).to.deep.equal({ messages: [], output: 'ab' });
  });

  it('knows a request by its token', () => {
    expect(isWitnessRequest({ type: 'look', token: 'a' }, 'a')).to.equal(true);
    for (const other of [{ type: 'look', token: 'b' }, { type: 'look' }, null, 'look', 1]) {
      expect(isWitnessRequest(other, 'a')).to.equal(false);
    }
  });
});
