// SPDX-License-Identifier: MIT
// Who answers an access of a guest that reaches no memory: for all vCPUs of a VM.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <shared_mutex>
#include <vector>

namespace exmem {

enum class Route : uint8_t {
  kNone,   // nobody: reads give all ones, writes are dropped
  kReply,  // a constant
  kExit,   // JavaScript, and the vCPU waits for it
  kPost,   // JavaScript, later
};

// Changed by one thread, that of JavaScript; read by all vCPUs at any time.
class Routes {
 public:
  struct Read {
    Route route;
    uint32_t value;  // of kReply
  };

  Read ReadOf(uint16_t port) const;
  Route WriteOf(uint16_t port) const;
  void SetRead(uint16_t first, uint16_t last, Read read);
  void SetWrite(uint16_t first, uint16_t last, Route route);

  struct MmioRange {
    uint64_t start;
    uint64_t end;
    bool post;
  };

  Route LoadOf(uint64_t address) const;
  Route StoreOf(uint64_t address) const;
  // In order, and they do not overlap.
  void SetMmio(std::vector<MmioRange> ranges);

 private:
  const MmioRange* FindMmio(uint64_t address) const;

  // The reply in the low half, and above it the two routes: one word, so that a
  // vCPU never finds a route with the value of another.
  std::array<std::atomic<uint64_t>, 0x10000> ports_{};
  mutable std::shared_mutex mutex_;  // for the rest
  std::vector<MmioRange> mmio_;
};

}  // namespace exmem
