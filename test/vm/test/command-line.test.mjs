// SPDX-License-Identifier: MIT
import { expect } from 'chai';

import { parseOptions } from '../options.mjs';
import { vm } from './vm.mjs';

describe('the command line of the VM runner', () => {
  it('leaves the options of COMMAND to COMMAND', () => {
    expect(parseOptions(['--cpus', '1', '--', 'ls', '-l', '--help']).command).to.deep.equal(['ls', '-l', '--help']);
    expect(parseOptions(['--cpus', '1', 'ls', '-l', '--', '-x']).command).to.deep.equal(['ls', '-l', '--', '-x']);
    expect(parseOptions(['--cpus', '1', 'ls']).options?.cpus).to.equal(1);
  });

  for (const { args, says } of [
    { args: ['--no-such-option', '--', 'true'], says: /--no-such-option/ },
    { args: ['--kernel', '6.12', '--', 'true'], says: /6\.12 is not supported yet/ },
    { args: ['--kernel', '7.2', '--', 'true'], says: /7\.2 is not supported yet/ },
    { args: ['--kernel', '2.4', '--', 'true'], says: /Expected a kernel of 6\.1, debug, received "2\.4"/ },
    { args: ['--memory', 'much', '--', 'true'], says: /--memory, received "much"/ },
    { args: ['--timeout', '0', '--', 'true'], says: /at least 1 for --timeout, received "0"/ },
    { args: ['--no-module'], says: /Expected a COMMAND/ },
  ]) {
    it(`refuses ${args.join(' ')}`, async () => {
      const { status, stdout, stderr } = await vm(args);
      expect(stderr).to.match(says);
      expect(status).to.equal(2);
      expect(stdout).to.have.length(0);
    });
  }

  it('explains itself', async () => {
    const { status, stderr } = await vm(['--help']);
    expect(status).to.equal(0);
    expect(stderr).to.include('Usage: npm run vm');
  });
});
