// SPDX-License-Identifier: MIT
export type { Access } from './access.js';
export {
  AddressSpace,
  type Location,
  type Part,
  type PartOptions,
  type SpaceAttachOptions,
} from './address-space.js';
export type { Policy, Problem } from './backend.js';
export {
  type Availability,
  type BackendReport,
  type Capabilities,
  capabilities,
  type Limits,
} from './capabilities.js';
export { Descriptor, type DescriptorLike } from './descriptor.js';
export {
  type Message,
  receiveDescriptors,
  sendDescriptors,
  socketPair,
} from './descriptor-passing.js';
export {
  ExclusiveMemoryError,
  type MisuseCode,
  NoAccessError,
  RevokedError,
} from './errors.js';
export type { FramingName } from './framing.js';
export type { BackendName, Guarantees } from './guarantees.js';
export type { ImageSource, PopulateOptions } from './guest-image.js';
export {
  type AttachOptions,
  type ConvertOptions,
  GuestMemory,
  type GuestMemoryOptions,
  type GuestWindowOptions,
  type SealOptions,
} from './guest-memory.js';
export { HandleChannel, type PeerCredentials } from './handle-channel.js';
export { HandleChannelListener } from './handle-channel-listener.js';
export type {
  ConnectOptions,
  HandleChannelOptions,
  ListenOptions,
  TransferOptions,
} from './handle-channel-options.js';
export type { Mapping } from './mapping.js';
export type { MemoryInfo } from './memory-info.js';
export {
  type HandleOptions,
  type MapMemoryOptions,
  type MapOptions,
  MemoryView,
  type MemoryViewOptions,
  type ViewRange,
} from './memory-view.js';
export { ReceivedMessage } from './received-message.js';
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
export type { Bytes } from './validate.js';
export { type AccessOptions, ViewHandle } from './view-handle.js';
export type { ViewSource } from './view-source.js';
