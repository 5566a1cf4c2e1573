// SPDX-License-Identifier: MIT
// A vhost-user front-end with one queue: the monitor's side of a device that
// another process emulates.
import { ExclusiveMemoryError, HandleChannel, type ReceivedMessage } from 'exclusive-memory';
import { decodeHeader, encode, headerSize, joined, request, u32s, u64s } from './messages.js';
import type { Virtqueue } from './virtqueue.js';

/** VIRTIO_F_VERSION_1 and VHOST_USER_F_PROTOCOL_FEATURES. */
const features = (1n << 32n) | (1n << 30n);
const protocolFeatureReplyAck = 1n << 3n;
const protocolFeatureConfig = 1n << 9n;

/** Where guest memory would be in the front-end's own address space: an arbitrary number. */
const userAddress = 0x7000_0000_0000;

/** The device emulation process is gone, or did not keep to the protocol. */
export class BackEndGone extends Error {}

export class FrontEnd implements Disposable {
  readonly #channel: HandleChannel;
  /** The device's end is a descriptor like an eventfd: 8 bytes are one event. */
  readonly #kick: HandleChannel;
  readonly #call: HandleChannel;

  private constructor(channel: HandleChannel, kick: HandleChannel, call: HandleChannel) {
    this.#channel = channel;
    this.#kick = kick;
    this.#call = call;
  }

  /**
   * Connects to a back-end, and starts the queue.
   *
   * @param path Of its socket.
   * @param memory What it is to take for guest memory, from guest-physical address 0.
   */
  static async start(
    path: string,
    memory: { readonly fd: number; readonly size: number },
    queue: Virtqueue,
  ): Promise<FrontEnd> {
    const channel = await HandleChannel.connect(path, { framing: 'stream' });
    const [kick, kickOfDevice] = HandleChannel.pair({ framing: 'stream' });
    const [call, callOfDevice] = HandleChannel.pair({ framing: 'stream' });
    const frontEnd = new FrontEnd(channel, kick, call);
    try {
      await frontEnd.#negotiate();
      await frontEnd.#setMemory(memory);
      await frontEnd.#startQueue(queue, kickOfDevice.fd, callOfDevice.fd);
    } catch (error) {
      frontEnd[Symbol.dispose]();
      throw error;
    } finally {
      kickOfDevice.close();
      callOfDevice.close();
    }
    return frontEnd;
  }

  async #negotiate(): Promise<void> {
    await this.#ask(request.getFeatures);
    await this.#tell(request.setFeatures, u64s(features));
    const offered = await this.#ask(request.getProtocolFeatures);
    const wanted = protocolFeatureReplyAck | protocolFeatureConfig;
    if ((offered & wanted) !== wanted) throw new BackEndGone('The back-end lacks REPLY_ACK or CONFIG');
    await this.#tell(request.setProtocolFeatures, u64s(wanted));
    await this.#tell(request.setOwner);
  }

  async #setMemory({ fd, size }: { readonly fd: number; readonly size: number }): Promise<void> {
    const region = u64s(0, size, userAddress, 0);
    await this.#acknowledged(request.setMemTable, joined(u32s(1, 0), region), [fd]);
  }

  async #startQueue(queue: Virtqueue, kick: number, call: number): Promise<void> {
    await this.#tell(request.setVringNum, u32s(0, queue.size));
    await this.#tell(request.setVringBase, u32s(0, 0));
    const addresses = [queue.descriptorTable, queue.used, queue.available].map((at) => userAddress + at);
    await this.#tell(request.setVringAddr, joined(u32s(0, 0), u64s(...addresses, 0)));
    await this.#tell(request.setVringCall, u64s(0), [call]);
    await this.#tell(request.setVringKick, u64s(0), [kick]);
    await this.#acknowledged(request.setVringEnable, u32s(0, 1), []);
  }

  /** The device's configuration space. */
  async config(size: number): Promise<Uint8Array> {
    const headerOfConfig = u32s(0, size, 0);
    const reply = await this.#exchange(
      request.getConfig,
      joined(headerOfConfig, new Uint8Array(size)),
    );
    return reply.subarray(headerOfConfig.length);
  }

  /** Tells the device that there is something in the queue. */
  async kick(): Promise<void> {
    await orGone(this.#kick.send(u64s(1)));
  }

  /** Resolves when the device says that it has used something, or is gone. */
  async called(): Promise<void> {
    const gone = new AbortController();
    try {
      await Promise.race([
        payloadOf(this.#call.receiveExactly(8, { signal: gone.signal })),
        this.#backEndEnded(gone.signal),
      ]);
    } finally {
      gone.abort();
    }
  }

  /** Rejects once the back-end has ended. */
  async #backEndEnded(signal: AbortSignal): Promise<void> {
    await payloadOf(this.#channel.receiveExactly(headerSize, { signal }));
    throw new BackEndGone('The back-end said something, and was not asked');
  }

  async #tell(code: number, payload: Uint8Array = new Uint8Array(0), fds: readonly number[] = []): Promise<void> {
    await orGone(this.#channel.send(encode(code, payload, false), fds));
  }

  async #acknowledged(code: number, payload: Uint8Array, fds: readonly number[]): Promise<void> {
    const reply = await this.#exchange(code, payload, fds);
    if (reply.some((byte) => byte !== 0)) throw new BackEndGone(`The back-end refused request ${code}`);
  }

  async #ask(code: number): Promise<bigint> {
    const reply = await this.#exchange(code);
    return new DataView(reply.buffer, reply.byteOffset).getBigUint64(0, true);
  }

  async #exchange(
    code: number,
    payload: Uint8Array = new Uint8Array(0),
    fds: readonly number[] = [],
  ): Promise<Uint8Array> {
    await orGone(this.#channel.send(encode(code, payload, true), fds));
    const header = decodeHeader(await payloadOf(this.#channel.receiveExactly(headerSize)));
    if (!header.isReply || header.request !== code) {
      throw new BackEndGone(`Expected a reply to request ${code}, received request ${header.request}`);
    }
    return header.size === 0 ? new Uint8Array(0) : payloadOf(this.#channel.receiveExactly(header.size));
  }

  [Symbol.dispose](): void {
    this.#channel.close();
    this.#kick.close();
    this.#call.close();
  }
}

async function orGone<T>(transfer: Promise<T>): Promise<T> {
  try {
    return await transfer;
  } catch (error) {
    if (!(error instanceof ExclusiveMemoryError) || error.syscall === undefined) throw error;
    throw new BackEndGone('The connection to the back-end broke', { cause: error });
  }
}

async function payloadOf(transfer: Promise<ReceivedMessage | undefined>): Promise<Uint8Array> {
  const message = await orGone(transfer);
  if (message) return message.payload;
  throw new BackEndGone('The back-end has ended');
}
