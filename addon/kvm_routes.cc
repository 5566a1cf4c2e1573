// SPDX-License-Identifier: MIT
#include "kvm_routes.h"

#include <algorithm>
#include <mutex>
#include <utility>

namespace exmem {

namespace {

constexpr int kReadShift = 32;
constexpr int kWriteShift = 40;
constexpr uint64_t kWriteMask = uint64_t{0xff} << kWriteShift;

}  // namespace

Routes::Read Routes::ReadOf(uint16_t port) const {
  const uint64_t word = ports_[port].load(std::memory_order_relaxed);
  return {static_cast<Route>(word >> kReadShift & 0xff), static_cast<uint32_t>(word)};
}

Route Routes::WriteOf(uint16_t port) const {
  return static_cast<Route>(ports_[port].load(std::memory_order_relaxed) >> kWriteShift & 0xff);
}

void Routes::SetRead(uint16_t first, uint16_t last, Read read) {
  const uint64_t half = static_cast<uint64_t>(read.route) << kReadShift | read.value;
  for (uint32_t port = first; port <= last; port++) {
    const uint64_t word = ports_[port].load(std::memory_order_relaxed);
    ports_[port].store((word & kWriteMask) | half, std::memory_order_relaxed);
  }
}

void Routes::SetWrite(uint16_t first, uint16_t last, Route route) {
  const uint64_t part = static_cast<uint64_t>(route) << kWriteShift;
  for (uint32_t port = first; port <= last; port++) {
    const uint64_t word = ports_[port].load(std::memory_order_relaxed);
    ports_[port].store((word & ~kWriteMask) | part, std::memory_order_relaxed);
  }
}

Route Routes::LoadOf(uint64_t address) const {
  const std::shared_lock lock(mutex_);
  return FindMmio(address) ? Route::kExit : Route::kNone;
}

Route Routes::StoreOf(uint64_t address) const {
  const std::shared_lock lock(mutex_);
  const MmioRange* const range = FindMmio(address);
  if (range == nullptr) return Route::kNone;
  return range->post ? Route::kPost : Route::kExit;
}

void Routes::SetMmio(std::vector<MmioRange> ranges) {
  const std::unique_lock lock(mutex_);
  mmio_ = std::move(ranges);
}

const Routes::MmioRange* Routes::FindMmio(uint64_t address) const {
  const auto behind = std::upper_bound(
      mmio_.begin(), mmio_.end(), address,
      [](uint64_t value, const MmioRange& range) { return value < range.start; });
  if (behind == mmio_.begin()) return nullptr;
  const MmioRange& range = *std::prev(behind);
  return address < range.end ? &range : nullptr;
}

}  // namespace exmem
