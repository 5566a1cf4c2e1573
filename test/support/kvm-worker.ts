// SPDX-License-Identifier: MIT
// A worker thread in which a vCPU runs until the thread is terminated.
import { parentPort, workerData } from 'node:worker_threads';
import { asm, PlainGuest } from './plain-guest.js';

const { how } = workerData as { how: string };

const guest = new PlainGuest();
guest.vm.ports.handle(0x10);
guest.vm.ports.post(0x11);
const body = how === 'exits' ? asm.out(0x10) : how === 'posts' ? asm.out(0x11) : asm.increment(0x7000);
const vcpu = guest.vcpu([...asm.out(0x10), ...asm.forever(body)]);
let told = false;
vcpu.start(() => {
  if (!told) {
    told = true;
    if (how === 'pause') void vcpu.pause();
    parentPort?.postMessage('runs');
  }
  return undefined;
});
