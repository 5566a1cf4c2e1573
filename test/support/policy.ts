// SPDX-License-Identifier: MIT
// The tests of Secret run on either backend: once on the module, and once with
// EXMEM_POLICY=prefer where there is no module.
import type { BackendName } from 'exclusive-memory';

export const policy = process.env.EXMEM_POLICY === 'prefer' ? 'prefer' : 'require';

export const backend: BackendName = policy === 'prefer' ? 'memfd_secret' : 'module';
