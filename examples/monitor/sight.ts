// SPDX-License-Identifier: MIT
// What a monitor asks a witness outside of its machine, and what that one sees.

export interface WitnessRequest {
  readonly type: 'look';
  /** So that nothing that a guest prints counts as a request. */
  readonly token: string;
  /** Hexadecimal, each byte inverted: to tell them makes no copy of them. */
  readonly inverted: string;
  /** Physical address of the kernel's own root page table. */
  readonly kernelRoot: number;
}

export interface SightedPage {
  /** Physical address. */
  readonly page: number;
  /** Pieces of 8 bytes that it holds. */
  readonly words: number;
  readonly kernelAddresses: readonly string[];
  /** In all other address spaces. */
  readonly processAddresses: readonly string[];
  /** What stands at the page's address in the kernel's direct map. */
  readonly inDirectMap: 'nothing' | 'itself' | 'another page';
}

export interface Sight {
  /** How many there are in the machine, the kernel's among them. */
  readonly addressSpaces: number;
  /** All that hold a piece, the one with most of them first. */
  readonly pages: readonly SightedPage[];
}

export const isWitnessRequest = (message: unknown, token: string): message is WitnessRequest =>
  typeof message === 'object' &&
  message !== null &&
  (message as Partial<WitnessRequest>).type === 'look' &&
  (message as Partial<WitnessRequest>).token === token;
