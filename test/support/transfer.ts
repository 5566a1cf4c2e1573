// SPDX-License-Identifier: MIT
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/**
 * ArrayBuffer.prototype.transfer(), which detaches a buffer and gives its
 * memory to a new one. Node.js 22 has it; in 20 it hides behind a flag of V8
 * that new contexts heed.
 */
export function transfer(buffer: ArrayBuffer): ArrayBuffer {
  setFlagsFromString('--harmony-rab-gsab-transfer');
  const method = runInNewContext('ArrayBuffer.prototype.transfer') as () => ArrayBuffer;
  return method.call(buffer);
}
