// SPDX-License-Identifier: MIT
// A mapping that nobody in this process reads: the memory behind a slot of a VM.
#pragma once

#include <napi.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>

namespace exmem {

// Whoever uses the addresses (JavaScript's handle, each slot) shares ownership:
// a range that KVM still shows a guest must not become somebody else's memory.
class SlotRegion {
 public:
  SlotRegion(int fd, size_t size, off_t offset, int protection);
  ~SlotRegion();
  SlotRegion(const SlotRegion&) = delete;
  SlotRegion& operator=(const SlotRegion&) = delete;

  uint64_t address() const { return reinterpret_cast<uintptr_t>(base_); }

  // The region of a JavaScript SlotRegion; a TypeError if the value is none, or
  // was released.
  static std::shared_ptr<SlotRegion> Of(const Napi::Value& value);

 private:
  const size_t size_;
  void* const base_;
};

}  // namespace exmem
