// SPDX-License-Identifier: MIT
// Each test boots a machine, so each looks at several things.

import { spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { expect } from 'chai';

import { RUNNER, startVm, vm } from './vm.mjs';

const MEGABYTES = 50;

describe('the VM runner', function () {
  this.timeout(180_000);

  /** @type {string} */
  let directory;
  /** The runner's own temporary files go there, so that leftovers are seen. @type {NodeJS.ProcessEnv} */
  let env;

  before(() => {
    directory = mkdtempSync(path.join(tmpdir(), 'exmem-vm-test-'));
    env = { TMPDIR: directory };
  });

  after(() => {
    rmSync(directory, { recursive: true, force: true });
  });

  afterEach('nothing is left behind', () => {
    expect(readdirSync(directory).filter((name) => name.startsWith('exmem-vm-'))).to.deep.equal([]);
  });

  it('carries status, both outputs, arguments, environment, directory, and drops changes', async () => {
    const script = `
      printf 'out\\0\\377' ; printf 'err\\0\\376' >&2
      pwd ; printf '%s|' "$@" ; printf '%s\\n' "$SOME_VALUE"
      cat ; id -u ; uname -r ; cat /sys/class/net/lo/operstate
      modprobe --show-depends loop >/dev/null && mount | grep -c cgroup2
      touch "$PWD/changed" && ls changed
      exit 7`;
    const { status, stdout, stderr } = await vm(
      ['--no-module', '--', 'sh', '-c', script, 'sh', 'a b', '', '-x', 'ü'],
      { cwd: directory, env: { ...env, SOME_VALUE: 'one\ntwo' } },
    );
    expect(stderr).to.equal(Buffer.from('err\0\xfe', 'latin1').toString());
    expect(stdout.subarray(0, 5)).to.deep.equal(Buffer.from('out\0\xff', 'latin1'));
    const lines = stdout.subarray(5).toString().split('\n');
    expect(lines.slice(0, 4)).to.deep.equal([directory, 'a b||-x|ü|one', 'two', '0']);
    expect(lines[4]).to.match(/^6\.1\./);
    expect(lines.slice(5)).to.deep.equal(['unknown', '1', 'changed', '']);
    expect(status).to.equal(7);
    expect(existsSync(path.join(directory, 'changed'))).to.equal(false);
  });

  it('carries much data both ways, and the signal that ended COMMAND', async () => {
    const input = randomBytes(MEGABYTES * 1024 * 1024);
    const { status, stdout, stderr } = await vm(
      ['--no-module', '--', 'sh', '-c', 'cat; kill -TERM $$'], { input, env },
    );
    expect(stderr).to.equal('');
    expect(createHash('sha256').update(stdout).digest('hex')).to.equal(createHash('sha256').update(input).digest('hex'));
    expect(status).to.equal(128 + 15);
  });

  it('ends COMMAND by SIGPIPE when nobody reads its output, and does not wait for its children', async () => {
    const { child, result } = startVm(
      ['--no-module', '--', 'sh', '-c', 'sleep 1000 & yes; echo yes: $? >&2; exit 3'],
      { input: randomBytes(1024 * 1024), env },
    );
    child.stdout.once('data', () => child.stdout.destroy());
    const { status, stderr } = await result;
    expect(stderr).to.equal('yes: 141\n');
    expect(status).to.equal(3);
  });

  it('gives COMMAND a terminal if there is one at both ends', async () => {
    // script(1) is what makes a terminal for us.
    const inner = `stty rows 33 cols 77; exec node ${RUNNER} --no-module -- sh -c 'tty; stty size; read line; echo "<$line>"; exit 5'`;
    const child = spawn('script', ['--quiet', '--return', '--command', inner, '/dev/null'], { env: { ...process.env, ...env } });
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (/** @type {string} */ text) => {
      output += text;
      if (text.includes('33 77')) {
        child.stdin.write('typed\r');
      }
    });
    await once(child, 'close');
    expect(output).to.equal('/dev/pts/0\r\n33 77\r\ntyped\r\n<typed>\r\n');
    expect(child.exitCode).to.equal(5);
  });

  it('takes away all privileges with --unprivileged', async () => {
    const { status, stdout, stderr } = await vm(
      ['--no-module', '--unprivileged', '--', 'sh', '-c', `
        id -u; id -g; grep -E 'Cap(Prm|Eff|Amb)' /proc/self/status
        touch "$HOME/file" && rm "$HOME/file" && [ -r /dev/kvm ] && [ ! -r /dev/mem ] && [ ! -w /etc ] && echo well`],
      { cwd: '/', env },
    );
    expect(stderr).to.equal('');
    expect(stdout.toString()).to.match(
      /^1000\n1000\nCapPrm:\s+0+\nCapEff:\s+0+\nCapAmb:\s+0+\nwell\n$/,
    );
    expect(status).to.equal(0);
  });

  it('gives 86 for a report in the kernel log, shows it, and keeps the log', async () => {
    const log = path.join(directory, 'log');
    const { status, stdout, stderr } = await vm(
      ['--no-module', '--console', log, '--append', 'exmem.test=1', '--', 'sh', '-c',
        'echo "WARNING: CPU: 0 PID: 1 at test" >/dev/kmsg; echo done; exit 3'],
      { env },
    );
    expect(status).to.equal(86);
    expect(stdout.toString()).to.equal('done\n');
    expect(stderr).to.include('WARNING: CPU: 0 PID: 1 at test');
    expect(readFileSync(log, 'utf8')).to.match(/Command line: .*exmem\.test=1[^]*WARNING: CPU: 0/);
  });

  it('gives 86 at once for a kernel that crashed', async () => {
    const { status, stderr } = await vm(
      ['--no-module', '--', 'sh', '-c', 'echo c >/proc/sysrq-trigger; sleep 1000'], { env },
    );
    expect(status).to.equal(86);
    expect(stderr).to.include('Kernel panic - not syncing: sysrq triggered crash');
  });

  it('serves the machine protocol, and gives 87 for a machine that went away', async () => {
    const socketPath = path.join(directory, 'qmp');
    const { child, result } = startVm(
      ['--no-module', '--qmp', socketPath, '--', 'sh', '-c', 'echo up; sleep 1000'], { env },
    );
    await once(child.stdout, 'data');
    const qmp = createConnection(socketPath).setEncoding('utf8');
    /** @type {string} */
    const greeting = await new Promise((resolve) => { qmp.once('data', resolve); });
    expect(JSON.parse(greeting)).to.have.nested.property('QMP.version.qemu');
    qmp.write('{"execute":"qmp_capabilities"}{"execute":"quit"}');
    const { status, stderr } = await result;
    qmp.destroy();
    expect(stderr).to.include('went down without a status');
    expect(status).to.equal(87);
  });

  it('gives 124 after --timeout', async () => {
    const { status, stdout, stderr } = await vm(
      ['--no-module', '--timeout', '12', '--', 'sh', '-c', 'echo up; sleep 1000'], { env },
    );
    expect(stderr).to.include('not done after 12 seconds');
    expect(stdout.toString()).to.equal('up\n');
    expect(status).to.equal(124);
  });

  it('takes the machine along when a signal ends it', async () => {
    const socketPath = path.join(directory, 'qmp');
    const { child, result } = startVm(
      ['--no-module', '--qmp', socketPath, '--', 'sh', '-c', 'echo up; sleep 1000'], { env },
    );
    await once(child.stdout, 'data');
    child.kill('SIGTERM');
    expect((await result).signal).to.equal('SIGTERM');
    await sleep(500);
    /** @type {NodeJS.ErrnoException} */
    const error = await new Promise((resolve) => { createConnection(socketPath).once('error', resolve); });
    expect(error.code).to.be.oneOf(['ECONNREFUSED', 'ENOENT']);
  });
});
