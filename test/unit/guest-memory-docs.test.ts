// SPDX-License-Identifier: MIT
// What docs/guest-memory.md shows is what is there.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';

const inRepository = (name: string) => fileURLToPath(new URL(`../../../../${name}`, import.meta.url));
const read = (name: string) => readFileSync(inRepository(name), 'utf8');

describe('docs/guest-memory.md', () => {
  const page = read('docs/guest-memory.md');

  it('shows the example as it is', () => {
    const program = read('examples/guest-memory.ts').replace(/^(\/\/.*\n)+/, '');
    expect(page).to.contain(`\`\`\`ts\n${program}\`\`\``);
  });

  it('shows C that compiles', function () {
    this.timeout(60_000);
    const [, program = ''] = /```c\n([^]*?)```/.exec(page) ?? [];
    expect(program).to.contain('EXMEM_SEAL');
    const flags = ['-std=gnu11', '-Wall', '-Wextra', '-Werror', '-fsyntax-only', '-x', 'c', '-'];
    execFileSync('gcc', ['-I', inRepository('kmod/include/uapi'), ...flags], {
      input: program,
      stdio: ['pipe', 'inherit', 'inherit'],
    });
  });
});
