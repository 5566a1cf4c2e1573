// SPDX-License-Identifier: MIT
// The runner's command line.

import { parseArgs } from 'node:util';

import { Failure } from '../../scripts/setup/failure.mjs';
import { checkKernelName } from '../../scripts/setup/kernel.mjs';

export const help = `Usage: npm run vm -- [OPTION...] -- COMMAND [ARG...]

Boots a kernel in a virtual machine, loads the module, and runs COMMAND as root: in this directory, with this
environment and these files. What it changes in files is dropped.

  --kernel NAME           6.1 or debug (default: 6.1)
  --memory MIB            (default: 2048)
  --cpus N                (default: 2)
  --one-thread            emulate all CPUs on one thread: slower, but QEMU's threads race where the kernel changes its own
                          code, as KVM makes it do for the first machine, and may stand still then
  --append PARAMETERS     add to the kernel's command line
  --module-params "K=V ..."
  --no-module             load no module
  --unprivileged          run COMMAND as a user without capabilities, who may use the module's devices
  --timeout SECONDS       end the machine then, with status 124
  --console FILE          keep the kernel's log there
  --qmp PATH              let QEMU serve its machine protocol there
  --help

The status is COMMAND's, or 128 and the number of the signal that ended it. It is 86 if the kernel reported trouble,
whatever COMMAND said, and 87 if the machine went down without a status.

npm writes lines of its own to standard output; "npm run --silent vm" and "node test/vm/run.mjs" do not.
`;

const OPTIONS = /** @type {const} */ ({
  kernel: { type: 'string', default: '6.1' },
  memory: { type: 'string', default: '2048' },
  cpus: { type: 'string', default: '2' },
  'one-thread': { type: 'boolean', default: false },
  append: { type: 'string', default: '' },
  'module-params': { type: 'string', default: '' },
  'no-module': { type: 'boolean', default: false },
  unprivileged: { type: 'boolean', default: false },
  timeout: { type: 'string' },
  console: { type: 'string' },
  qmp: { type: 'string' },
  help: { type: 'boolean', default: false },
});

/**
 * @param {string[]} args
 */
export function parseOptions(args) {
  // COMMAND begins at the first argument that is not an option: its own options are not ours.
  const { tokens } = parseArgs({ args, options: OPTIONS, strict: false, allowPositionals: true, tokens: true });
  const end = tokens.find(({ kind }) => kind !== 'option');
  const optionCount = end?.index ?? args.length;
  const command = args.slice(end?.kind === 'option-terminator' ? optionCount + 1 : optionCount);

  const values = parse(args.slice(0, optionCount));
  if (values.help) {
    return { help: true, command, options: undefined };
  }
  if (command.length === 0) {
    throw misuse('Expected a COMMAND to run, received none.');
  }
  return {
    help: false,
    command,
    options: {
      kernel: checkKernelName(values.kernel),
      memory: wholeNumber('--memory', values.memory, 256),
      cpus: wholeNumber('--cpus', values.cpus, 1),
      oneThread: values['one-thread'],
      append: values.append,
      module: !values['no-module'],
      moduleParameters: values['module-params'],
      unprivileged: values.unprivileged,
      timeout: values.timeout === undefined ? undefined : wholeNumber('--timeout', values.timeout, 1),
      console: values.console,
      qmp: values.qmp,
    },
  };
}

/** @param {string[]} args */
function parse(args) {
  try {
    return parseArgs({ args, options: OPTIONS }).values;
  } catch (error) {
    throw misuse(/** @type {Error} */ (error).message);
  }
}

/**
 * @param {string} option
 * @param {string} value
 * @param {number} least
 */
function wholeNumber(option, value, least) {
  const number = /^\d+$/.test(value) ? Number(value) : NaN;
  if (!(number >= least)) {
    throw misuse(`Expected a whole number of at least ${least} for ${option}, received "${value}".`);
  }
  return number;
}

/** @param {string} message */
const misuse = (message) => new Failure(`${message}\nSee "npm run vm -- --help".`, 2);
