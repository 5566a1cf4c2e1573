// SPDX-License-Identifier: MIT
// The monitor example boots Linux in a virtual machine, and a witness outside of
// that looks for the secret that the guest has made.
import { execFileSync } from 'node:child_process';
import { expect } from 'chai';
import { isEmulatorFailure, MachineWithWitness } from '../../examples/monitor/outside/machine-with-witness.js';
import type { Sight, SightedPage } from '../../examples/monitor/sight.js';

/** Aligned words in the secret, a page. */
const words = 512;

/** Builds what the monitor needs; its guest's kernel is the one that the machine itself boots. */
function prepare(): string {
  const program = `await (await import('./scripts/setup/monitor.mjs')).ensureMonitor();
    const { image } = await (await import('./scripts/setup/kernel.mjs')).ensureKernel('6.1');
    console.log(image);`;
  const args = ['--input-type=module', '--eval', program];
  return execFileSync(process.execPath, args, { encoding: 'utf8' }).trim();
}

interface Run {
  readonly status: number;
  readonly output: string;
  readonly sights: readonly Sight[];
}

async function runOnce(kernel: string, args: readonly string[]): Promise<Run> {
  const sights: Sight[] = [];
  const chunks: Uint8Array[] = [];
  await using machine = new MachineWithWitness(['--kernel', kernel, ...args], {
    onOutput: (bytes) => chunks.push(bytes),
    onSight: (sight) => sights.push(sight),
  });
  const status = await machine.status();
  return { status, output: Buffer.concat(chunks).toString(), sights };
}

async function run(kernel: string, ...args: string[]): Promise<Run> {
  for (let left = 2; left > 0; left--) {
    const outcome = await runOnce(kernel, args);
    if (!isEmulatorFailure(outcome.status)) return outcome;
  }
  return runOnce(kernel, args);
}

/** What was seen at the only look, and the page with most of the secret. */
function seen({ sights }: Run): { sight: Sight; page: SightedPage } {
  expect(sights).to.have.length(1);
  const [sight] = sights;
  const page = sight?.pages[0];
  if (!sight || !page) throw new Error('the secret is nowhere');
  return { sight, page };
}

describe('a witness outside the monitor’s machine', function () {
  this.timeout(3_000_000);

  let kernel: string;
  before('build the monitor', () => { kernel = prepare(); });

  it('finds the guest’s secret in one page, at no address of the kernel or of any process', async () => {
    const outcome = await run(kernel);
    expect(outcome.status, outcome.output).to.equal(0);
    const { sight, page } = seen(outcome);
    expect(sight.pages.map((one) => one.words), 'words of the secret, by page').to.deep.equal([words]);
    expect(page.kernelAddresses).to.deep.equal([]);
    expect(page.processAddresses).to.deep.equal([]);
    expect(page.inDirectMap).to.equal('another page');
    // The kernel's, the monitor's and init's at least.
    expect(sight.addressSpaces).to.be.at.least(3);

    expect(outcome.output).to.match(/Linux boots, and says hello through the window +Linux 6\.1\./);
    expect(outcome.output).to.match(/a load of its own: refused +mov: SIGSEGV/);
    expect(outcome.output).to.match(/another virtual machine: refused +KVM_CREATE_VM: EPERM/);
    expect(outcome.output).to.match(/decoded +by the (processor|stand-in of the tests)/);
    expect(outcome.output).to.match(/\[through the window: Greetings from the shell\]/);
    expect(outcome.output).to.match(/the guest has ended its machine +power-off/);
    expect(outcome.output).to.match(/Every claim holds\.\s*$/);
  });

  it('finds it at addresses of the kernel and of the monitor, where the guest has ordinary memory', async () => {
    const outcome = await run(kernel, '--plain');
    expect(outcome.status, outcome.output).to.equal(0);
    const { page } = seen(outcome);
    // Whoever has looked at it left copies of some bytes elsewhere.
    expect(page.words).to.equal(words);
    expect(page.inDirectMap).to.equal('itself');
    expect(page.kernelAddresses).to.include(`0x${(0xffff888000000000n + BigInt(page.page)).toString(16)}`);
    expect(page.processAddresses.join()).to.match(/\b0x7f[0-9a-f]{10}\b/);
    expect(outcome.output).to.match(/a load of its own: possible +mov: the secret/);
  });
});
