// SPDX-License-Identifier: MIT
// One mapping in this process: of a whole object, or of a window of a view.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>

#include "access_guard.h"

namespace exmem {

// What of a view, or of any file, is mapped.
struct Window {
  off_t offset;  // bytes
  bool writable;
};

// The address range stays reserved for as long as anything may still point
// into it: whoever does (an ArrayBuffer, a call on the thread pool) shares
// ownership of the Region, and the last owner gives the range back. Until then
// a late access finds zero pages, never an unrelated mapping and never a fault.
//
// So does an access to what was there and is not any more: see AccessGuard.
class Region {
 public:
  // Maps the whole of `fd`, an object of `byte_length` bytes.
  Region(int fd, size_t byte_length);
  // Maps `byte_length` bytes of `fd`.
  Region(int fd, size_t byte_length, Window window);
  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  // Gives the object back at once: zero pages take its place in one step, so
  // that at no instant another thread could map something else there.
  void Vacate();

  // The address, for JavaScript, which may pass it on to who knows whom.
  uint8_t* Lend();

  uint8_t* data() const { return base_ + lead_; }
  size_t byte_length() const { return byte_length_; }

  // The offset is that in the object or view.
  FailedAccess first_failure() const;

 private:
  Region(int fd, size_t byte_length, Window window, AccessGuard::Replace replace);
  bool TryVacate();
  size_t mapped_length() const;

  off_t offset_;  // of data()
  size_t lead_;   // data() in its page
  size_t byte_length_;
  uint8_t* base_;
  std::unique_ptr<AccessGuard> guard_;
  bool lent_ = false;
  bool vacant_ = false;
};

}  // namespace exmem
