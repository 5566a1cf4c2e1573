// SPDX-License-Identifier: MIT
// Secret.prompt() on a real pseudo-terminal, with a program for a user.
import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { Descriptor, Secret } from 'exclusive-memory';
import { expectErrno, rejection } from '../support/failures.js';
import { programOfSupport, sourceOfSupport } from '../support/paths.js';
import { backend, policy } from '../support/policy.js';

const { SIGTERM, SIGINT, SIGHUP } = constants.signals;
const program = programOfSupport('prompt-process');

type Step =
  | { expect: string }
  | { type: string }
  | { signal: number }
  | { note: string }
  | { hang_up: true };

interface Session {
  readonly output: string;
  /** Whether the terminal echoed. */
  readonly notes: Readonly<Record<string, boolean>>;
  /** Exit status, or minus the signal. */
  readonly status: number;
}

const play = (steps: readonly Step[], mode = ''): Promise<Session> =>
  playCommand(steps, [process.execPath, program, mode]);

async function playCommand(steps: readonly Step[], command: readonly string[]): Promise<Session> {
  const { stdout } = await promisify(execFile)(
    'python3',
    [sourceOfSupport('terminal_user.py'), JSON.stringify(steps), ...command],
    { env: { ...process.env, NODE_NO_WARNINGS: '1' } },
  );
  return JSON.parse(stdout) as Session;
}

const ask: readonly Step[] = [{ note: 'before' }, { expect: 'Say it: ' }, { note: 'during' }];
const echo = { before: true, during: false, after: true };
const hex = (text: string) => Buffer.from(text).toString('hex');

describe(`Secret.prompt() (${backend})`, function () {
  this.timeout(120_000);

  const lines: readonly (readonly [name: string, keys: string, result: string])[] = [
    ['a line that Enter ends', 'hunter2\r', `= ${hex('hunter2')}`],
    ['a line that ^D ends', 'hunter2\x04', `= ${hex('hunter2')}`],
    ['backspace', 'hux\x7fnty\x08er2\r', `= ${hex('hunter2')}`],
    ['backspace at the beginning', '\x7f\x08a\r', `= ${hex('a')}`],
    ['backspace over characters of several bytes', 'aä€😀\x7f\x7f\x7fb\r', `= ${hex('ab')}`],
    ['^U', 'wrong\x15right\r', `= ${hex('right')}`],
    ['other control keys as themselves', 'a\x1a\x11\x13\x1b[Ab\r', `= ${hex('a\x1a\x11\x13\x1b[Ab')}`],
    ['an empty line', '\r', '! ERR_EXMEM_SIZE '],
    ['a line that is empty in the end', 'ab\x7f\x7f\r', '! ERR_EXMEM_SIZE '],
    ['^C', 'hun\x03', '! ERR_EXMEM_CANCELLED '],
    ['a line of 4095 bytes', `${'x'.repeat(4095)}\r`, `= ${hex('x'.repeat(4095))}`],
    ['a line of 4096 bytes', 'x'.repeat(4096), '! ERR_EXMEM_SIZE '],
  ];
  describe('takes', () => {
    // One process for all of them: starting Node.js is what takes long.
    let session: Session;
    before(async () => {
      const steps = [...lines.map(([, keys]) => keys), 'bye\r'].flatMap((keys) => [
        { expect: 'Say it: ' },
        { note: 'during' },
        { type: Buffer.from(keys, 'utf8').toString('latin1') },
      ]);
      session = await play([{ note: 'before' }, ...steps], 'again');
    });

    lines.forEach(([name, , result], i) => {
      it(name, () => {
        const answers = session.output.split('\r\n').filter((line) => /^[=!]/.test(line));
        expect(answers).to.have.length(lines.length + 1);
        expect(answers[i]).to.equal(result);
      });
    });

    it('them without echo', () => {
      const answers = /[=!] .*\r\n/g;
      expect(session.output.replace(answers, '')).to.equal(
        'Say it: \r\n'.repeat(lines.length + 1),
      );
      expect(session.notes).to.deep.equal(echo);
      expect(session.status).to.equal(0);
    });
  });

  it('does not block the event loop', async () => {
    const { output } = await play([...ask, { expect: 'tick tick tick' }, { type: 'a\r' }], 'ticks');
    expect(output).to.contain(`= ${hex('a')}`);
  });

  it('takes the descriptor of a terminal', async () => {
    const { output, notes } = await play([...ask, { type: 'a\r' }], 'fd');
    expect(output).to.contain(`= ${hex('a')}`);
    expect(notes).to.deep.equal(echo);
  });

  describe('restores the terminal', () => {
    it('when it is aborted', async () => {
      const { output, notes } = await play([...ask, { type: 'hun' }], 'abort');
      expect(output).to.contain('! 20 '); // DOMException.ABORT_ERR
      expect(notes).to.deep.equal(echo);
    });

    it('when the process exits', async () => {
      const { notes, status } = await play(ask, 'exit');
      expect(status).to.equal(7);
      expect(notes).to.deep.equal(echo);
    });

    for (const [name, signal] of Object.entries({ SIGTERM, SIGINT, SIGHUP })) {
      it(`when ${name} ends the process`, async () => {
        const { notes, status } = await play([...ask, { signal }]);
        expect(status).to.equal(-signal);
        expect(notes).to.deep.equal(echo);
      });
    }

    it('when the program itself handles the signal', async () => {
      const { notes, status } = await play([...ask, { signal: SIGTERM }], 'listen');
      expect(status).to.equal(9);
      expect(notes).to.deep.equal(echo);
    });
  });

  it('ends when the terminal hangs up', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'exmem-'));
    try {
      // Node.js aborts at exit if its standard streams hung up, so they are elsewhere. Descriptor
      // 9 keeps the terminal alive until the program opens it.
      const file = join(folder, 'output');
      const script = `exec "$0" "$1" survive 9<&0 < /dev/null > "${file}" 2>&1`;
      const command = ['sh', '-c', script, process.execPath, program];
      const { status } = await playCommand([...ask, { hang_up: true }], command);
      expect(readFileSync(file, 'utf8')).to.equal('! EIO read\n');
      expect(status).to.equal(0);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it('says that there is no terminal', () => {
    const { stdout } = spawnSync('setsid', ['--wait', process.execPath, program], {
      encoding: 'utf8',
    });
    expect(stdout).to.equal('! ENXIO open\n');
  });

  it('says that a descriptor is no terminal', async () => {
    using file = new Descriptor(openSync('/dev/null', 'r'));
    const error = await rejection(Secret.prompt({ policy, message: '', fd: file.fd }));
    expectErrno(error, 'ENOTTY', 'tcgetattr');
    expect(error.message).to.contain('Secret.fromFd()');
  });
});
