// SPDX-License-Identifier: MIT
// Looks at a virtual machine from outside: for a page of bytes in its physical
// memory, and for whoever in it can reach that page.
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { AddressSpaces, directMap } from '../../../test/witness/address-spaces.js';
import { findPieces } from '../../../test/witness/memory-image.js';
import { Qmp } from '../../../test/witness/qmp.js';
import type { Sight, WitnessRequest } from '../sight.js';

export interface WitnessedMemory {
  /** Where QEMU serves its machine protocol, and where a file can be. */
  readonly folder: string;
  readonly memoryBytes: number;
}

export class Witness implements AsyncDisposable {
  readonly #memory: WitnessedMemory;
  #qmp: Qmp | undefined;

  constructor(memory: WitnessedMemory) {
    this.#memory = memory;
  }

  /** The machine stands still meanwhile. */
  async look({ inverted, kernelRoot }: WitnessRequest): Promise<Sight> {
    const bytes = Buffer.from(inverted, 'hex').map((byte) => ~byte) as Buffer;
    const image = await this.#save();
    try {
      const pages = [...findPieces(image, bytes)]
        .map(([page, words]) => ({ page, words }))
        .sort((a, b) => b.words - a.words);
      using spaces = AddressSpaces.open(image, this.#memory.memoryBytes, kernelRoot);
      return {
        addressSpaces: spaces.roots.length,
        pages: pages.map(({ page, words }) => {
          const found = spaces.addressesOf(page, kernelRoot);
          const shown = spaces.translate(kernelRoot, directMap + BigInt(page));
          return {
            page,
            words,
            kernelAddresses: found.filter(({ root }) => root === kernelRoot).map(hexAddress),
            processAddresses: found.filter(({ root }) => root !== kernelRoot).map(hexAddress),
            inDirectMap: shown === undefined ? 'nothing' : shown === page ? 'itself' : 'another page',
          };
        }),
      };
    } finally {
      rmSync(image);
    }
  }

  async #save(): Promise<string> {
    this.#qmp ??= await Qmp.connect(join(this.#memory.folder, 'qmp'));
    const image = join(this.#memory.folder, 'memory');
    await this.#qmp.execute('stop');
    await this.#qmp.execute('pmemsave', { val: 0, size: this.#memory.memoryBytes, filename: image });
    await this.#qmp.execute('cont');
    return image;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#qmp?.[Symbol.asyncDispose]();
  }
}

const hexAddress = ({ address }: { address: bigint }) => `0x${address.toString(16)}`;
