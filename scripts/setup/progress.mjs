// SPDX-License-Identifier: MIT
// One line on stderr per step that really runs; on a terminal also what a slow step is doing right now.

const QUIET_MS = 2000;
const REFRESH_MS = 200;

/** @param {number} started a value of performance.now() */
export function elapsed(started) {
  const seconds = (performance.now() - started) / 1000;
  return seconds < 60
    ? `${seconds.toFixed(1)} s`
    : `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`;
}

export class Progress {
  #title;
  #started = performance.now();
  #activity = '';
  #live = process.stderr.isTTY;
  /** @type {NodeJS.Timeout} */
  #timer;

  /** @param {string} title */
  constructor(title) {
    this.#title = title;
    if (this.#live) {
      this.#draw();
      this.#timer = setInterval(() => { this.#draw(); }, REFRESH_MS);
    } else {
      // A log has no use for a moving line, but a reader should know what takes long.
      this.#timer = setTimeout(() => process.stderr.write(`${title} ...\n`), QUIET_MS);
    }
    this.#timer.unref();
  }

  /**
   * Output of the running command; its last line is shown.
   *
   * @param {string} text
   */
  saw(text) {
    const lines = text.split(/[\r\n]+/).filter((line) => line.trim() !== '');
    this.#activity = lines.at(-1)?.replace(/[\p{Cc}]/gu, ' ') ?? this.#activity;
  }

  /** @param {boolean} succeeded */
  end(succeeded) {
    clearInterval(this.#timer);
    const erase = this.#live ? '\r\x1b[K' : '';
    process.stderr.write(
      `${erase}${succeeded ? '✓' : '✗'} ${this.#title} (${elapsed(this.#started)})\n`,
    );
  }

  #draw() {
    let line = `… ${this.#title} (${elapsed(this.#started)})`;
    if (performance.now() - this.#started > QUIET_MS && this.#activity !== '') {
      line += `  ${this.#activity}`;
    }
    process.stderr.write(`\r\x1b[K${line.slice(0, (process.stderr.columns || 80) - 1)}`);
  }
}
