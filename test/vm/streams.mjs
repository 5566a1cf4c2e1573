// SPDX-License-Identifier: MIT
// The runner's own three streams, joined with those of COMMAND.

import { spawnSync } from 'node:child_process';

import { FRAME, STREAM_WINDOW, encodeFrame, encodePair } from './channel.mjs';

/** @typedef {(frame: Buffer) => void} Send */

/** What COMMAND writes, to where the runner's output goes. */
export class OutputStream {
  #type;
  #target;
  #send;
  #open = true;
  /** @type {Promise<void>} */
  #written = Promise.resolve();

  /**
   * @param {number} type
   * @param {NodeJS.WriteStream} target
   * @param {Send} send
   */
  constructor(type, target, send) {
    this.#type = type;
    this.#target = target;
    this.#send = send;
    target.on('error', () => { this.#close(); });
  }

  /** @param {Buffer} data */
  write(data) {
    if (!this.#open || data.length === 0) {
      return;
    }
    this.#written = new Promise((resolve) => {
      this.#target.write(data, (error) => {
        if (!error) {
          this.#send(encodePair(FRAME.CREDIT, this.#type, data.length));
        }
        resolve();
      });
    });
  }

  /** Everything is written, or nobody reads it. */
  flushed() {
    return this.#written;
  }

  #close() {
    if (this.#open) {
      this.#open = false;
      this.#send(encodePair(FRAME.CLOSED, this.#type));
    }
  }
}

/** What the runner reads, to COMMAND. */
export class InputStream {
  #source;
  #window = STREAM_WINDOW;

  /**
   * @param {NodeJS.ReadStream} source
   * @param {Send} send
   */
  constructor(source, send) {
    this.#source = source;
    source.on('data', (/** @type {Buffer} */ data) => {
      this.#window -= data.length;
      send(encodeFrame(FRAME.STDIN, data));
      if (this.#window <= 0) {
        source.pause();
      }
    });
    const end = () => { send(encodeFrame(FRAME.STDIN)); };
    source.on('end', end);
    source.on('error', end);
  }

  /** @param {number} bytes that COMMAND has taken */
  addCredit(bytes) {
    this.#window += bytes;
    if (this.#window > 0) {
      this.#source.resume();
    }
  }

  /** COMMAND does not want any more. */
  close() {
    this.#source.destroy();
  }
}

/**
 * With a terminal at both ends, COMMAND has one of the same size, and it handles every key.
 *
 * @param {Send} send
 * @returns {() => void} puts the terminal back
 */
export function joinTerminal(send) {
  const sendSize = () => { send(encodePair(FRAME.WINDOW_SIZE, process.stdout.rows, process.stdout.columns)); };
  sendSize();
  process.stdout.on('resize', sendSize);
  // Node's own raw mode still turns every line feed of the output into two characters.
  const settings = stty('-g');
  stty('raw', '-echo');
  return () => {
    process.stdout.off('resize', sendSize);
    stty(settings);
  };
}

/** @param {...string} args */
const stty = (...args) =>
  spawnSync('stty', args, { stdio: ['inherit', 'pipe', 'inherit'], encoding: 'utf8' }).stdout.trim();

/** Whether COMMAND is to have a terminal. */
export const isInteractive = () => process.stdin.isTTY && process.stdout.isTTY;
