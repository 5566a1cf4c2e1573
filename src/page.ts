// SPDX-License-Identifier: MIT
import { native } from './native.js';

/** Bytes. */
export const pageSize = native.constants.PAGE_SIZE;

export const wholePages = (bytes: number) => Math.ceil(bytes / pageSize) * pageSize;
