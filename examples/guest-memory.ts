// SPDX-License-Identifier: MIT
// A guest of a few instructions runs on memory that this process cannot read:
// docs/guest-memory.md shows this program. Needs the kernel module and KVM.
import { GuestMemory, RevokedError } from 'exclusive-memory';
import { Kvm } from 'exclusive-memory/kvm';

const page = 4096;
const [code, text, shared] = [page, 2 * page, 3 * page];

using memory = GuestMemory.create({ size: 16 * page, name: 'ram' });
using kvm = Kvm.open();
using vm = kvm.createVm();

// First of all: no other process can map it from here on.
memory.bind(vm);

// The initial image. A path or a descriptor goes in without a byte on the JavaScript heap.
await memory.populate(
  Uint8Array.of(
    ...[0xbe, 0x00, 0x20], //  mov si, text
    ...[0xbf, 0x00, 0x30], //  mov di, shared
    ...[0xb9, 0x05, 0x00], //  mov cx, 5
    ...[0xf3, 0xa4], //        rep movsb
    ...[0xe6, 0x10], //        out 0x10, al
    ...[0xeb, 0xfe], //        jmp $
  ),
  { at: code },
);
await memory.populate(Buffer.from('hello'), { at: text });

// What guest and host have in common; and from here on, neither image nor layout change.
memory.share(shared, page, { wipe: true });
memory.seal();

memory.attach(vm, { slot: 0, gpa: 0 });
vm.setTssAddress(0xfffb_d000);
vm.ports.handle(0x10);
using vcpu = vm.createVcpu(0);
vcpu.setSregs({ cs: { ...vcpu.sregs.cs, base: 0n, selector: 0 } });
vcpu.setRegs({ rip: BigInt(code), rflags: 2n });

const exit = await new Promise<string>((resolve) => {
  vcpu.start(({ type }) => { resolve(type); });
});
await vcpu.stop();
console.log(`the guest came to ${exit}`);

using window = memory.window({ access: 'read' });
using handle = window.handle();
const bytes = Buffer.alloc(5);
handle.read(shared, bytes);
console.log(`it says ${bytes.toString()}`);
try {
  handle.read(text, bytes);
} catch (error) {
  if (!(error instanceof RevokedError)) throw error;
  console.log(`the rest is out of reach: ${error.code}`);
}
