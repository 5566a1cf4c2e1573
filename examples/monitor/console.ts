// SPDX-License-Identifier: MIT
// Whoever sits at the guest's serial line: somebody at a terminal, or a list of
// commands.

/** Ctrl-], as in telnet: ends the monitor, whatever the guest does. */
const escapeKey = 0x1d;

const prompt = 'guest:/# ';
/** Where is the cursor? busybox asks, behind the prompt. */
const question = '\x1b[6n';

/** Types commands, each at a prompt. */
export class ScriptedTypist {
  readonly #commands: string[];
  readonly #type: (bytes: Uint8Array) => void;
  #line = '';

  constructor(commands: readonly string[], type: (bytes: Uint8Array) => void) {
    this.#commands = [...commands];
    this.#type = type;
  }

  saw(bytes: Uint8Array): void {
    this.#line += Buffer.from(bytes).toString('latin1');
    this.#line = this.#line.slice(this.#line.lastIndexOf('\n') + 1);
    if (![prompt, prompt + question].some((end) => this.#line.endsWith(end))) return;
    this.#line = '';
    const command = this.#commands.shift();
    if (command !== undefined) this.#type(Buffer.from(`${command}\r`));
  }
}

/** Passes on every key. */
export class Terminal implements Disposable {
  readonly escaped: Promise<void>;
  #onData: (chunk: Buffer) => void = () => undefined;

  constructor(type: (bytes: Uint8Array) => void) {
    this.escaped = new Promise((resolve) => {
      this.#onData = (chunk) => {
        const escape = chunk.indexOf(escapeKey);
        type(escape < 0 ? chunk : chunk.subarray(0, escape));
        if (escape >= 0) resolve();
      };
    });
    if (process.stdin.isTTY) process.stdin.setRawMode(true);
    process.stdin.on('data', this.#onData).resume();
  }

  [Symbol.dispose](): void {
    process.stdin.off('data', this.#onData).pause();
    if (process.stdin.isTTY) process.stdin.setRawMode(false);
  }
}
