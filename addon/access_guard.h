// SPDX-License-Identifier: MIT
// Losing access to a mapping is an event that is noted, not the end of the process.
#pragma once

#include <cstddef>
#include <cstdint>

namespace exmem {

// What became of the first access to a guarded range that failed.
enum class Loss : uint64_t {
  kNone = 0,
  kRevoked = 1,  // SIGBUS: there is no page (any more)
  kDenied = 2,   // SIGSEGV: there is one, but it does not allow this access
};

struct FailedAccess {
  Loss loss = Loss::kNone;
  size_t offset = 0;  // of its page, from the start of the range
};

struct GuardSlot;

// While it exists, no load or store in the range ends the process, on whatever
// thread: where the kernel would raise SIGBUS or SIGSEGV, a zero page takes the
// place of what is not there, and absorbs stores. It stays until the range is
// mapped anew. (The technique of libwayland's wl_shm_buffer_begin_access().)
//
// System calls that are given such an address fail with EFAULT, as always.
class AccessGuard {
 public:
  // kWhole where the kernel lets no part of the mapping be replaced.
  enum class Replace { kPage, kWhole };

  // Page-aligned. It must be gone before the range is given to anybody else.
  AccessGuard(void* address, size_t length, Replace replace);
  ~AccessGuard();
  AccessGuard(const AccessGuard&) = delete;
  AccessGuard& operator=(const AccessGuard&) = delete;

  FailedAccess first_failure() const;

 private:
  GuardSlot* slot_;
};

}  // namespace exmem
