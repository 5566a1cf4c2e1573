// SPDX-License-Identifier: MIT
import { native } from './native.js';

let warned = false;

/**
 * The promise that losing memory ends no process rests on this package's
 * handlers of SIGBUS and SIGSEGV. Whoever installs others later, with
 * `process.on('SIGBUS')` say, should know.
 */
export function warnOfDisplacedHandlers(): void {
  if (warned) return;
  const signals = native.displacedHandlers();
  if (signals.length === 0) return;
  warned = true;
  process.emitWarning(
    `Another handler of ${signals.join(' and ')} was installed after the one of exclusive-memory. ` +
      'Unless it passes on what is not its own, losing access to memory ends the process. ' +
      'To fix: install it before the first use of exclusive-memory',
    { type: 'ExclusiveMemoryWarning', code: 'EXMEM_SIGNAL_HANDLER' },
  );
}
