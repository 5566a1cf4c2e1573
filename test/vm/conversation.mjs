// SPDX-License-Identifier: MIT
// What the runner and the guest's first process have to say to each other.

import { FRAME, FrameDecoder, encodeFrame } from './channel.mjs';
import { InputStream, OutputStream, isInteractive, joinTerminal } from './streams.mjs';

export class Conversation {
  #socket;
  #stdin;
  #stdout;
  #stderr;
  /** @type {(() => void) | undefined} */
  #restoreTerminal;
  #onStatus;

  /**
   * @param {import('node:net').Socket} socket to the guest
   * @param {Buffer} request see init/request.h
   * @param {(status: number) => void} onStatus
   */
  constructor(socket, request, onStatus) {
    this.#socket = socket;
    this.#onStatus = onStatus;
    // A machine that ends takes its end of the connection along, which is noticed elsewhere.
    socket.on('error', () => undefined);
    /** @param {Buffer} frame */
    const send = (frame) => { socket.write(frame); };

    send(encodeFrame(FRAME.REQUEST, request));
    this.#stdin = new InputStream(process.stdin, send);
    this.#stdout = new OutputStream(FRAME.STDOUT, process.stdout, send);
    this.#stderr = new OutputStream(FRAME.STDERR, process.stderr, send);
    if (isInteractive()) {
      this.#restoreTerminal = joinTerminal(send);
    }
    const decoder = new FrameDecoder();
    socket.on('data', (chunk) => {
      for (const { type, payload } of decoder.push(chunk)) {
        this.#receive(type, payload);
      }
    });
  }

  /** All output that has arrived is written, or nobody reads it. */
  async flushed() {
    await Promise.all([this.#stdout.flushed(), this.#stderr.flushed()]);
  }

  /** Gives the runner's terminal and input back. */
  close() {
    this.#restoreTerminal?.();
    this.#stdin.close();
    this.#socket.destroy();
  }

  /**
   * @param {number} type
   * @param {Buffer} payload
   */
  #receive(type, payload) {
    switch (type) {
      case FRAME.STDOUT:
        this.#stdout.write(payload);
        break;
      case FRAME.STDERR:
        this.#stderr.write(payload);
        break;
      case FRAME.CREDIT:
        this.#stdin.addCredit(payload.readUInt32LE(4));
        break;
      case FRAME.CLOSED:
        this.#stdin.close();
        break;
      case FRAME.EXIT: {
        const signal = payload.readUInt32LE(4);
        this.#socket.write(encodeFrame(FRAME.BYE));
        this.#onStatus(signal === 0 ? payload.readUInt32LE(0) : 128 + signal);
        break;
      }
      default:
        throw new Error(`Expected a frame of a known type from the guest, received type ${type}`);
    }
  }
}
