// SPDX-License-Identifier: MIT
// Debian's QEMU, with KVM, boots Debian's kernel: an unmodified guest in an
// unmodified monitor, on the memory that the test chooses.
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { setTimeout } from 'node:timers/promises';
import { characterDevice, cpio, directory, program } from '../../examples/monitor/cpio.js';
import { Qmp } from '../witness/qmp.js';

export const guestMemory = 128 * 1024 * 1024;

/** As `-object` takes it. */
export const memoryBackends = {
  exclusive: `memory-backend-file,id=ram,size=${guestMemory},mem-path=/dev/exclusive_guest,share=on`,
  ordinary: `memory-backend-ram,id=ram,size=${guestMemory}`,
};

/**
 * Makes a secret of its own, a word of eight random bytes eight times, tells the
 * word inverted, and switches the machine off when it is told to.
 */
const init = `#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
head -c 8 /dev/urandom >/word
cat /word /word /word /word /word /word /word /word >/secret
set -- $(hexdump -v -e '1/1 "%u "' /word)
inverted=
for byte; do inverted=$inverted$(printf %02x $((255 - byte))); done
echo "told $inverted."
read answer
echo "heard $answer."
poweroff -f
`;

/** A guest's console says nothing for so long only if it hangs. */
const silenceMs = 150_000;

/**
 * Under emulation a guest now and then hangs, or faults until its stack is used
 * up, on ordinary memory too. This, and nothing else, may be tried again.
 */
class EmulatorFault extends Error {}

const stackIsUsedUp = 'stack guard page';

export class QemuGuest implements AsyncDisposable {
  readonly #folder = mkdtempSync(join(tmpdir(), 'qemu-guest-'));
  readonly #process: ChildProcessByStdio<Writable, Readable, Readable>;
  readonly #ended: Promise<unknown>;
  #console = '';
  #complaints = '';
  #spoke = performance.now();
  #qmp: Qmp | undefined;
  /** The guest's word, each byte inverted. */
  inverted = Buffer.alloc(0);

  private constructor(kernel: string, memory: string) {
    writeFileSync(this.#path('initramfs'), initramfs());
    const args = [
      ...['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none'],
      // kvmclock's page is written by the host through its direct map, in which there is no such page.
      ...['-accel', 'kvm', '-cpu', 'host,-kvmclock'],
      ...['-machine', 'q35,memory-backend=ram', '-m', `${guestMemory >> 20}M`, '-object', memory],
      ...['-kernel', kernel, '-initrd', this.#path('initramfs')],
      ...['-append', 'console=ttyS0 panic=-1 tsc=reliable no_timer_check'],
      ...['-chardev', 'stdio,id=console', '-serial', 'chardev:console'],
      ...['-qmp', `unix:${this.#path('qmp')},server=on,wait=off`],
    ];
    this.#process = spawn('setpriv', ['--pdeathsig', 'KILL', 'qemu-system-x86_64', ...args], {
      stdio: 'pipe',
    });
    this.#ended = once(this.#process, 'exit');
    this.#process.stdout.setEncoding('latin1').on('data', (text: string) => {
      this.#console += text;
      this.#spoke = performance.now();
    });
    this.#process.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#complaints += text;
    });
  }

  /**
   * A guest that has reached its init and made its secret.
   *
   * @param kernel A bzImage.
   * @param memory One of {@link memoryBackends}.
   */
  static async boot(kernel: string, memory: string): Promise<QemuGuest> {
    for (let tries = 5; ; tries--) {
      const guest = new QemuGuest(kernel, memory);
      try {
        guest.inverted = Buffer.from(await guest.#says(/^told ([0-9a-f]{16})\./m), 'hex');
        return guest;
      } catch (error) {
        await guest[Symbol.asyncDispose]();
        if (!(error instanceof EmulatorFault) || tries === 1) throw error;
        console.log(`      again, since the emulator failed: ${error.message}`);
      }
    }
  }

  #path(name: string): string {
    return join(this.#folder, name);
  }

  /** Waits for the guest to say something, for as long as it goes on. */
  async #says(pattern: RegExp): Promise<string> {
    for (;;) {
      const said = pattern.exec(this.#console)?.[1];
      if (said !== undefined) return said;
      if (this.#console.includes(stackIsUsedUp)) throw new EmulatorFault('the guest ran out of stack');
      if (!this.isRunning) {
        const last = this.#console.slice(-2000);
        throw new Error(`QEMU ended: ${this.#complaints}\nThe guest's console: ${last}`);
      }
      if (performance.now() - this.#spoke > silenceMs) throw new EmulatorFault('the guest hangs');
      await setTimeout(100);
    }
  }

  get isRunning(): boolean {
    return this.#process.exitCode === null && this.#process.signalCode === null;
  }

  /** Of QEMU: setpriv(1) has become it. */
  get pid(): number {
    return this.#process.pid ?? 0;
  }

  async qmp(): Promise<Qmp> {
    this.#qmp ??= await Qmp.connect(this.#path('qmp'));
    return this.#qmp;
  }

  /**
   * Where QEMU itself finds the secret, in its own address space: it writes its
   * guest's memory to a file, piece by piece.
   */
  async addressOfSecret(): Promise<bigint> {
    const qmp = await this.qmp();
    const secret = Buffer.from(this.inverted.map((byte) => ~byte));
    const sought = Buffer.concat([secret, secret, secret]);
    const size = 8 * 1024 * 1024;
    const filename = this.#path('piece');
    for (let piece = 0; piece < guestMemory; piece += size) {
      await qmp.execute('pmemsave', { val: piece, size, filename });
      const at = readFileSync(filename).indexOf(sought);
      if (at >= 0) return this.#addressOf(piece + at);
    }
    throw new Error('Expected the secret in the memory of the guest');
  }

  async #addressOf(guestPhysical: number): Promise<bigint> {
    const qmp = await this.qmp();
    const command = `gpa2hva 0x${guestPhysical.toString(16)}`;
    const answer = await qmp.execute('human-monitor-command', { 'command-line': command });
    const [, address] = / is (0x[0-9a-f]+)\s*$/.exec(String(answer)) ?? [];
    if (address === undefined) throw new Error(`Expected an address, received "${String(answer)}"`);
    return BigInt(address);
  }

  /** The guest gets a word, repeats it, and switches itself off. QEMU's status. */
  async switchOff(word: string): Promise<number | null> {
    this.#process.stdin.write(`${word}\n`);
    const heard = await this.#says(/^heard (\w+)\./m);
    if (heard !== word) throw new Error(`Expected the guest to hear "${word}", received "${heard}"`);
    await this.#ended;
    return this.#process.exitCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#qmp?.[Symbol.asyncDispose]();
    this.#process.kill('SIGKILL');
    await this.#ended;
    rmSync(this.#folder, { recursive: true });
  }
}

function initramfs(): Buffer {
  return cpio([
    directory('bin'),
    directory('dev'),
    characterDevice('dev/console', 5, 1),
    characterDevice('dev/urandom', 1, 9),
    program('init', Buffer.from(init)),
    program('bin/busybox', readFileSync('/bin/busybox')),
  ]);
}
