// SPDX-License-Identifier: MIT
// Claims beside their evidence.
import { styleText } from 'node:util';

type Format = Parameters<typeof styleText>[0];

const width = 51;

export class Report {
  #failed = 0;

  section(title: string): void {
    console.log(`\n${paint('bold', title)}`);
  }

  fact(name: string, value: string): void {
    console.log(`    ${name.padEnd(width)} ${value}`);
  }

  /** A claim that `holds`, and what shows it. */
  claim(text: string, holds: boolean, evidence: string): void {
    if (!holds) this.#failed++;
    const mark = holds ? paint('green', '✔') : paint('red', '✘');
    console.log(`  ${mark} ${text.padEnd(width)} ${paint('dim', evidence)}`);
  }

  /** The status that the process should end with. */
  finish(): number {
    console.log(
      this.#failed === 0
        ? `\n${paint('green', 'Every claim holds.')}`
        : `\n${paint('red', `${this.#failed} of the claims above do not hold.`)}`,
    );
    return this.#failed === 0 ? 0 : 1;
  }
}

function paint(format: Format, text: string): string {
  return process.stdout.isTTY ? styleText(format, text) : text;
}
