// SPDX-License-Identifier: MIT
import { IntervalMap } from '../interval-map.js';
import { checkInteger } from '../validate.js';
import { checkAddress, checkPort, checkU32 } from './checks.js';
import type { NativeMachine, NativeRoute } from './native.js';

/** The native machine, as long as it may be used. */
export type MachineAccess = () => NativeMachine;

/**
 * Who answers which I/O port, for all vCPUs of a {@link Vm}. Ports that nobody
 * asked for read all ones and drop what is written, without a word to
 * JavaScript: a guest that probes costs nothing. The last call for a port wins.
 *
 * An access belongs to the port it begins with, whatever its size.
 */
export class IoPorts {
  readonly #machine: MachineAccess;

  /** @internal */
  constructor(machine: MachineAccess) {
    this.#machine = machine;
  }

  /** Reads and writes of these ports go to the {@link ExitHandler}. */
  handle(first: number, last = first): void {
    this.#route(first, last, 'exit', 'exit');
  }

  /**
   * Reads of this port give a constant, which another call may change at any
   * time, and cost no exit to JavaScript. Writes stay as they were.
   */
  reply(port: number, value: number): void {
    checkPort(port, 'port');
    checkU32(value, 'value');
    this.#machine().routeIn(port, port, 'reply', value);
  }

  /**
   * Writes to these ports go to the {@link ExitHandler} in batches, and the
   * vCPU does not wait for it (unless very many are on their way). They come in
   * order, and before the next exit of the same vCPU. Reads stay as they were.
   */
  post(first: number, last = first): void {
    this.#route(first, last, undefined, 'post');
  }

  /** Nobody asks for these ports any more. */
  release(first: number, last = first): void {
    this.#route(first, last, 'none', 'none');
  }

  #route(first: number, last: number, reads: NativeRoute | undefined, writes: NativeRoute): void {
    checkPort(first, 'first');
    checkPort(last, 'last', first);
    const machine = this.#machine();
    if (reads) machine.routeIn(first, last, reads, 0);
    machine.routeOut(first, last, writes);
  }
}

type MmioRoute = 'exit' | 'post';

/**
 * The same for guest-physical addresses without a slot: loads that nobody asked
 * for read all ones, stores are dropped.
 */
export class MmioRanges {
  readonly #machine: MachineAccess;
  readonly #routes = new IntervalMap<MmioRoute>();

  /** @internal */
  constructor(machine: MachineAccess) {
    this.#machine = machine;
  }

  /** Loads and stores there go to the {@link ExitHandler}. */
  handle(address: number, size: number): void {
    this.#route(address, size, 'exit');
  }

  /** The same, but the vCPU does not wait when it stores: see {@link IoPorts.post}. */
  post(address: number, size: number): void {
    this.#route(address, size, 'post');
  }

  /** Nobody asks for these addresses any more. */
  release(address: number, size: number): void {
    this.#route(address, size, undefined);
  }

  #route(address: number, size: number, route: MmioRoute | undefined): void {
    checkAddress(address, 'address');
    checkInteger(size, 'size', 1, Number.MAX_SAFE_INTEGER - address);
    const machine = this.#machine();
    if (route) this.#routes.set(address, address + size, route);
    else this.#routes.delete(address, address + size);
    machine.setMmioRoutes(
      [...this.#routes].flatMap(({ start, end, value }) => [start, end, value === 'post' ? 1 : 0]),
    );
  }
}
