// SPDX-License-Identifier: MIT
export type { Policy, Problem } from './backend.js';
export {
  type BackendReport,
  type Capabilities,
  capabilities,
  type Limits,
} from './capabilities.js';
export { Descriptor } from './descriptor.js';
export {
  type Message,
  receiveDescriptors,
  sendDescriptors,
  socketPair,
} from './descriptor-passing.js';
export { ExclusiveMemoryError, type MisuseCode } from './errors.js';
export type { BackendName, Guarantees } from './guarantees.js';
export type { Mapping } from './mapping.js';
export type { MemoryInfo } from './memory-info.js';
export {
  RestrictedMemfd,
  type RestrictedMemfdOptions,
  type WaitOptions,
} from './restricted-memfd.js';
export {
  type PromptOptions,
  type ReadOptions,
  Secret,
  type SecretOptions,
} from './secret.js';
