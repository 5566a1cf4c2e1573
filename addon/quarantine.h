// SPDX-License-Identifier: MIT
// Address ranges that are not used again for a while.
#pragma once

#include <cstddef>
#include <memory>

#include "access_guard.h"

namespace exmem {

// Node.js passes bare addresses of ArrayBuffers to its thread pool (randomFill()
// of node:crypto, for one), which no detaching takes back. A range that was lent
// to JavaScript is therefore not unmapped with its last owner, but 1024 others
// later; it holds zero pages until then, and stays guarded: an access that began
// before it held them may only now get to the handler. Any thread.
void Quarantine(void* address, size_t length, std::unique_ptr<AccessGuard> guard);

}  // namespace exmem
