// SPDX-License-Identifier: MIT
// Address ranges that are not used again for a while.
#pragma once

#include <cstddef>

namespace exmem {

// Node.js passes bare addresses of ArrayBuffers to its thread pool (randomFill()
// of node:crypto, for one), which no detaching takes back. A range that was lent
// to JavaScript is therefore not unmapped with its last owner, but 1024 others
// later; it holds zero pages until then. Takes over the range; any thread.
void Quarantine(void* address, size_t length);

}  // namespace exmem
