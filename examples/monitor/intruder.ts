// SPDX-License-Identifier: MIT
// Native code that has got into the monitor: intruder/intruder.c.
import { createRequire } from 'node:module';
import { built } from './built.js';

export type IntruderWay = 'load' | 'store' | 'write' | 'read' | 'process_vm_readv' | 'mprotect';

/** The byte at the address, or the name of the errno or signal. */
export type Intrude = (way: IntruderWay, address: bigint) => number | string;

export function loadIntruder(): Intrude {
  const { intrude } = createRequire(import.meta.url)(built('intruder.node')) as { intrude: Intrude };
  return intrude;
}
