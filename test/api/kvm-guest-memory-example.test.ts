// SPDX-License-Identifier: MIT
// The program in docs/guest-memory.md, and what it says there that it prints.
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect } from 'chai';
import { requireKvm } from '../support/real-mode-guest.js';

const program = fileURLToPath(new URL('../../examples/guest-memory.js', import.meta.url));
const documentation = fileURLToPath(new URL('../../../../docs/guest-memory.md', import.meta.url));

describe('examples/guest-memory.ts', () => {
  before(requireKvm);

  it('prints what the documentation says', async () => {
    const [, promised] = /It prints:\n\n```\n([^]*?)```/.exec(readFileSync(documentation, 'utf8')) ?? [];
    const { stdout, stderr } = await promisify(execFile)(process.execPath, [program]);
    expect(stderr).to.equal('');
    expect(stdout).to.equal(promised);
  });
});
