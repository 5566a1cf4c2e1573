// SPDX-License-Identifier: MIT
// The monitor's line to a witness outside of its machine (outside/), if there is
// one.
import { readFileSync } from 'node:fs';
import { encodeMessage, MessageFilter } from './side-channel.js';
import type { Sight, WitnessRequest } from './sight.js';

/** Where the kernel's own image is mapped (Documentation/x86/x86_64/mm.rst). */
const kernelText = 0xffff_ffff_8000_0000n;

/** Physical address of the kernel's own root page table, where there is no KASLR. */
function kernelRoot(): number {
  const symbols = readFileSync('/proc/kallsyms', 'utf8');
  const address = /^([0-9a-f]{16}) \w init_top_pgt$/m.exec(symbols)?.[1];
  if (address === undefined) throw new Error('Expected init_top_pgt in /proc/kallsyms');
  return Number(BigInt(`0x${address}`) - kernelText);
}

export class OutsideWitness {
  readonly #token: string;

  private constructor(token: string) {
    this.#token = token;
  }

  static find(): OutsideWitness | undefined {
    const { EXMEM_WITNESS: token } = process.env;
    return token === undefined ? undefined : new OutsideWitness(token);
  }

  /** Where a page of bytes is, told inverted. */
  async look(inverted: string): Promise<Sight> {
    const request: WitnessRequest = { type: 'look', token: this.#token, inverted, kernelRoot: kernelRoot() };
    let pass: (message: unknown) => void = () => undefined;
    const filter = new MessageFilter((message) => { pass(message); });
    const onData = (chunk: Buffer) => { filter.push(chunk); };
    process.stdin.on('data', onData).resume();
    try {
      return await new Promise<Sight>((resolve) => {
        pass = (message) => { resolve(message as Sight); };
        process.stdout.write(encodeMessage(request));
      });
    } finally {
      process.stdin.off('data', onData).pause();
    }
  }
}
