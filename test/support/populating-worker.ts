// SPDX-License-Identifier: MIT
// A worker thread that waits for an initial image which does not come.
import { parentPort, workerData } from 'node:worker_threads';
import { populate } from '#internal/guest-image.js';

const { fd, source } = workerData as { fd: number; source: number };
const filling = populate({ fd, size: 4096 }, source, {});
parentPort?.postMessage('waiting');
await filling;
