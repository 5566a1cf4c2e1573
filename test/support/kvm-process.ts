// SPDX-License-Identifier: MIT
// A process that ends in some way while two vCPUs run: see kvm-runs.ts.
import { asm, PlainGuest } from './plain-guest.js';

const [how = ''] = process.argv.slice(2);

const guest = new PlainGuest();
guest.vm.ports.handle(0x10);
guest.vm.ports.post(0x11);
const counting = guest.vcpu(asm.forever(asm.increment(0x7000)), { id: 1 });
counting.start(() => undefined);
const telling = guest.vcpu(asm.forever([...asm.out(0x10), ...asm.out(0x11)]));

let exits = 0;
telling.start(() => {
  if (++exits !== 50) return undefined;
  if (how === 'exit-in-handler') process.exit(7);
  switch (how) {
    case 'exit':
      setImmediate(() => process.exit(7));
      break;
    case 'throw':
      throw new Error('thrown by a handler');
    case 'kill':
      process.kill(process.pid, 'SIGKILL');
      break;
    case 'stop-later':
      setTimeout(() => {
        void Promise.all([telling.stop(), counting.stop()]).then(() => {
          console.log('stopped');
        });
      }, 50);
  }
  return undefined;
});
