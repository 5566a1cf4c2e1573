// SPDX-License-Identifier: MIT
import type { Policy } from './backend.js';
import { misuse } from './errors.js';
import { Memory } from './memory.js';
import { system } from './system.js';
import { MutedTerminal } from './terminal.js';

export interface PromptRequest {
  readonly policy: Policy;
  readonly message: string;
  /** A terminal; the controlling terminal of the process without it. */
  readonly fd: number | undefined;
  readonly signal: AbortSignal | undefined;
}

/** As long as a line of a terminal can be: termios(3), one page. */
const lineBytes = 4096;

/** How long a thread of the pool waits for a key at a time; an abort is noticed after that. */
const keySliceMs = 50;

/** Asks for one line, without echo. */
export async function promptSecret(request: PromptRequest): Promise<Memory> {
  request.signal?.throwIfAborted();
  if (request.fd !== undefined) return ask(request.fd, request);
  const terminal = system.open('/dev/tty');
  try {
    return await ask(terminal, request);
  } finally {
    system.close(terminal);
  }
}

async function ask(terminal: number, { policy, message, signal }: PromptRequest): Promise<Memory> {
  using line = Memory.allocate(lineBytes, policy);
  using _muted = new MutedTerminal(terminal);
  system.write(terminal, message);
  const length = await readLine(terminal, line, signal);
  if (length === 0) {
    throw misuse('ERR_EXMEM_SIZE', 'Expected at least 1 byte for the secret but the line is empty');
  }
  return line.copyOf(length, policy);
}

async function readLine(
  terminal: number,
  line: Memory,
  signal: AbortSignal | undefined,
): Promise<number> {
  for (let length = 0; ; ) {
    signal?.throwIfAborted();
    using loan = line.lend();
    const step = await system.readLine(terminal, loan.mapping, length, keySliceMs);
    length = step.length;
    switch (step.state) {
      case 'open':
        break;
      case 'done':
        return length;
      case 'cancelled':
        throw misuse('ERR_EXMEM_CANCELLED', 'The prompt was cancelled with ^C');
      case 'too long':
        throw misuse(
          'ERR_EXMEM_SIZE',
          `Expected at most ${lineBytes - 1} bytes for the secret but the line is longer`,
        );
    }
  }
}
