// SPDX-License-Identifier: MIT
// What the kernel says, read from where it says it, and programs that try.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { type Descriptor, socketPair } from 'exclusive-memory';

const peer = (name: string) =>
  fileURLToPath(new URL(`../../../examples/peers/${name}`, import.meta.url));

/** The module's own counters. */
export function counters(): string {
  const read = (name: string) =>
    readFileSync(`/sys/kernel/exclusive_memory/${name}`, 'utf8').trim();
  return ['objects', 'mappings', 'pages_in_use'].map((name) => `${name} ${read(name)}`).join(', ');
}

/** How often the kernel had to split a large page of its direct map. */
export function directMapSplits(): string {
  return /^direct_map_level2_splits (\d+)$/m.exec(readFileSync('/proc/vmstat', 'utf8'))?.[1] ?? '?';
}

/** Where in this process something is mapped, in hexadecimal. */
export function addressOf(name: string): string {
  const maps = readFileSync('/proc/self/maps', 'utf8').split('\n');
  const line = maps.find((candidate) => candidate.endsWith(` ${name}`));
  if (line === undefined) throw new Error(`${name} is not mapped`);
  return line.slice(0, line.indexOf('-'));
}

/** Descriptors and mappings of restricted memory that this process has. */
export function holdings(): { descriptors: number; mappings: number } {
  const restricted = '/restricted_memfd:';
  const targets = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      return ''; // the descriptor that the listing itself used
    }
  });
  return {
    descriptors: targets.filter((target) => target.startsWith(restricted)).length,
    mappings: readFileSync('/proc/self/maps', 'utf8').split(restricted).length - 1,
  };
}

export type Way = 'proc_mem' | 'process_vm_readv' | 'ptrace';

/** What another process of root can read of this one: way by way, address by address. */
export async function lookAt(addresses: readonly string[]): Promise<Record<Way, string>[]> {
  const args = [peer('look.py'), String(process.pid), ...addresses];
  const { stdout } = await promisify(execFile)('python3', args);
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<Way, string>);
}

/** A Python process at the other end of a socket. */
export class Holder {
  readonly #child;
  readonly #commands;
  readonly #answers;
  readonly socket: Descriptor;

  private constructor(folder: string) {
    const [here, there] = socketPair();
    this.socket = here;
    this.#child = spawn('python3', [peer('holder.py')], {
      cwd: folder,
      stdio: ['pipe', 'pipe', 'inherit', there.fd],
    });
    there.close();
    const { stdin, stdout } = this.#child;
    if (!stdin || !stdout) throw new Error('the other process did not start');
    this.#commands = stdin;
    this.#answers = createInterface({ input: stdout })[Symbol.asyncIterator]();
  }

  static async start(folder: string): Promise<Holder> {
    const holder = new Holder(folder);
    await holder.#line();
    return holder;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  async ask(command: string): Promise<string> {
    this.#commands.write(`${command}\n`);
    return this.#line();
  }

  /** Lets it crash. Returns the signal. */
  async crash(): Promise<string> {
    const gone = once(this.#child, 'exit');
    this.#commands.write('dump\n');
    const [, signal] = (await gone) as [number | null, string | null];
    this.socket.close();
    return signal ?? 'no signal';
  }

  async #line(): Promise<string> {
    const next = await this.#answers.next();
    if (next.done) throw new Error('the other process ended');
    return next.value;
  }
}

const corePattern = '/proc/sys/kernel/core_pattern';

/** Runs `body` while core dumps go to a folder of their own. */
export async function withCoreDumps<T>(body: (folder: string) => Promise<T>): Promise<T> {
  const before = readFileSync(corePattern, 'utf8');
  const folder = mkdtempSync(join(tmpdir(), 'exmem-'));
  try {
    writeFileSync(corePattern, join(folder, 'core'));
    return await body(folder);
  } finally {
    writeFileSync(corePattern, before);
    rmSync(folder, { recursive: true });
  }
}

/** The core dump in the folder of withCoreDumps(). */
export function readCore(folder: string): Buffer {
  const [name] = readdirSync(folder).filter((file) => file.startsWith('core'));
  if (name === undefined) throw new Error('there is no core dump');
  return readFileSync(join(folder, name));
}
