// SPDX-License-Identifier: MIT

/** Memory that begins with a page, as V8 gives to buffers that can grow. */
export function sharedPages(count: number): Uint8Array<SharedArrayBuffer> {
  const size = count * 4096;
  // The types of ES2023 know no second argument.
  const Growable = SharedArrayBuffer as unknown as new (
    size: number,
    options: { maxByteLength: number },
  ) => SharedArrayBuffer;
  return new Uint8Array(new Growable(size, { maxByteLength: size }));
}
