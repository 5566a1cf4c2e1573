// SPDX-License-Identifier: MIT
#include "quarantine.h"

#include <sys/mman.h>

#include <array>
#include <mutex>

namespace exmem {

namespace {

struct Range {
  void* address = nullptr;
  size_t length = 0;
  AccessGuard* guard = nullptr;  // owned
};

// One for the process, since threads share the address space; constant
// initialization and no destructor, so that it works until the very end.
constinit std::mutex mutex;
constinit std::array<Range, 1024> ring{};
constinit size_t oldest = 0;

}  // namespace

void Quarantine(void* address, size_t length, std::unique_ptr<AccessGuard> guard) {
  Range released{address, length, guard.release()};
  {
    const std::lock_guard lock(mutex);
    std::swap(released, ring[oldest]);
    oldest = (oldest + 1) % ring.size();
  }
  delete released.guard;
  if (released.address) munmap(released.address, released.length);
}

}  // namespace exmem
