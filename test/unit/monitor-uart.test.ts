// SPDX-License-Identifier: MIT
// The example's serial port, as Linux's 8250 driver finds and uses it.
import { expect } from 'chai';
import { Uart } from '../../examples/monitor/uart.js';

const [data, interruptEnable, identity, lineControl, modemControl, lineStatus, modemStatus, scratch] = [
  0, 1, 2, 3, 4, 5, 6, 7,
] as const;
const none = 1;
const transmitted = 2;
const received = 4;

function makeUart() {
  const sent: number[] = [];
  const levels: boolean[] = [];
  const uart = new Uart({
    transmit: (bytes) => sent.push(...bytes),
    interrupt: (level) => levels.push(level),
  });
  /** Rising edges since the last call. */
  const edges = () => {
    let last = false;
    const count = levels.filter((level) => {
      const rises = level && !last;
      last = level;
      return rises;
    }).length;
    levels.length = 0;
    return count;
  };
  const write = (offset: number, ...values: number[]) => { uart.write(offset, Uint8Array.from(values)); };
  return { uart, sent, edges, write };
}

describe('monitor: the serial port', () => {
  it('is found: registers keep what they are for', () => {
    const { uart, write } = makeUart();
    write(interruptEnable, 0xff);
    expect(uart.read(interruptEnable), 'four interrupts').to.equal(0x0f);
    write(interruptEnable, 0);
    expect(uart.read(interruptEnable)).to.equal(0);
    write(scratch, 0xa5);
    expect(uart.read(scratch)).to.equal(0xa5);
    write(lineControl, 0x03);
    expect(uart.read(lineControl)).to.equal(0x03);
  });

  it('is found: loopback leads outputs to inputs, and sends nothing', () => {
    const { uart, sent, write } = makeUart();
    expect(uart.read(modemStatus)).to.equal(0xb0);
    write(modemControl, 0x1a); // LOOP, OUT2, RTS: DCD, CTS
    expect(uart.read(modemStatus)).to.equal(0x90);
    write(data, 0x55);
    expect(sent).to.deep.equal([]);
    write(modemControl, 0x0b);
    expect(uart.read(modemStatus)).to.equal(0xb0);
  });

  it('is a 16550A once its FIFO is on', () => {
    const { uart, write } = makeUart();
    expect(uart.read(identity)).to.equal(none);
    write(identity, 1);
    expect(uart.read(identity)).to.equal(0xc0 | none);
  });

  it('keeps the divisor apart from data', () => {
    const { uart, sent, write } = makeUart();
    write(lineControl, 0x83);
    write(data, 0x01);
    write(interruptEnable, 0x02);
    expect([uart.read(data), uart.read(interruptEnable)]).to.deep.equal([1, 2]);
    write(lineControl, 0x03);
    expect(uart.read(interruptEnable)).to.equal(0);
    expect(sent).to.deep.equal([]);
  });

  it('sends at once, in order', () => {
    const { uart, sent, write } = makeUart();
    write(data, 1, 2, 3);
    write(data, 4);
    expect(sent).to.deep.equal([1, 2, 3, 4]);
    expect(uart.read(lineStatus)).to.equal(0x60);
  });

  it('asks for more for as long as that is wanted', () => {
    const { uart, edges, write } = makeUart();
    write(interruptEnable, 2);
    expect(edges()).to.equal(1);
    expect(uart.read(identity)).to.equal(transmitted);
    expect(uart.read(identity), 'once more').to.equal(transmitted);
    write(data, ...Buffer.from('sixteen bytes...'));
    expect(edges(), 'one for all of them').to.equal(1);
    write(interruptEnable, 0);
    expect(edges()).to.equal(0);
    expect(uart.read(identity)).to.equal(none);
  });

  it('hands over what comes, byte by byte, and interrupts until all is taken', () => {
    const { uart, edges, write } = makeUart();
    uart.receive(Buffer.from('a'));
    expect(edges(), 'not enabled').to.equal(0);
    write(interruptEnable, 1);
    expect(edges()).to.equal(1);
    uart.receive(Buffer.from('b'));
    expect(edges()).to.equal(1);
    expect(uart.read(identity)).to.equal(received);
    expect(uart.read(lineStatus)).to.equal(0x61);
    expect(uart.read(data)).to.equal(0x61);
    expect(edges(), 'there is another').to.equal(1);
    expect(uart.read(data)).to.equal(0x62);
    expect(edges()).to.equal(0);
    expect(uart.read(lineStatus)).to.equal(0x60);
    expect(uart.read(identity)).to.equal(none);
  });

  it('reports what has come before it asks for more', () => {
    const { uart, write } = makeUart();
    write(interruptEnable, 3);
    uart.receive(Buffer.from('a'));
    expect(uart.read(identity)).to.equal(received);
    uart.read(data);
    expect(uart.read(identity)).to.equal(transmitted);
  });

  it('has the cause in its registers when the line rises: another processor may look at once', () => {
    const causes: number[] = [];
    const uart: Uart = new Uart({
      transmit: () => undefined,
      interrupt: (level) => { if (level) causes.push(uart.peek(identity)); },
    });
    uart.write(interruptEnable, Uint8Array.of(3));
    uart.receive(Buffer.from('a'));
    uart.read(data);
    expect(causes).to.deep.equal([transmitted, received, transmitted]);
  });

  it('changes nothing when it is only looked at', () => {
    const { uart, edges } = makeUart();
    uart.receive(Buffer.from('a'));
    edges();
    expect([uart.peek(data), uart.peek(data)]).to.deep.equal([0x61, 0x61]);
    expect(uart.peek(lineStatus)).to.equal(0x61);
    expect(edges()).to.equal(0);
    expect(() => uart.peek(8)).to.throw(RangeError, 'received 8');
  });
});
