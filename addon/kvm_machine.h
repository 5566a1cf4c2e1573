// SPDX-License-Identifier: MIT
// A virtual machine: what its vCPUs and its JavaScript object share.
#pragma once

#include <napi.h>

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "kvm_routes.h"
#include "slot_region.h"

namespace exmem {

// Closes the descriptor with the last of its owners: the object in JavaScript,
// and each vCPU. Only the slots' memory goes after that. But for the routes,
// everything is called on the JavaScript thread.
class Machine {
 public:
  explicit Machine(int fd) : fd_(fd) {}
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  struct Slot {
    std::shared_ptr<SlotRegion> region;
    uint64_t size;
  };

  void SetSlot(uint32_t slot, uint32_t flags, uint64_t gpa, uint64_t offset, Slot memory);
  void RemoveSlot(uint32_t slot);
  // One bit for each page, the first in bit 0.
  std::vector<uint8_t> DirtyLog(uint32_t slot) const;

  Routes& routes() { return routes_; }

  // That of a JavaScript KvmMachine; a TypeError if the value is none, or is closed.
  static std::shared_ptr<Machine> Of(const Napi::Value& value);

 private:
  const int fd_;
  std::map<uint32_t, Slot> slots_;
  Routes routes_;
};

}  // namespace exmem
