// SPDX-License-Identifier: MIT
// One mapping of one object in this process.
#pragma once

#include <cstddef>
#include <cstdint>

namespace exmem {

// The address range stays reserved for as long as anything may still point
// into it: whoever does (an ArrayBuffer, a call on the thread pool) shares
// ownership of the Region, and the last owner gives the range back. Until then
// a late access finds zero pages, never an unrelated mapping and never a fault.
class Region {
 public:
  // Maps the whole of `fd`, an object of `byte_length` bytes.
  Region(int fd, size_t byte_length);
  ~Region();
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;

  // Gives the object back at once: zero pages take its place in one step, so
  // that at no instant another thread could map something else there.
  void Vacate();

  // The address, for JavaScript, which may pass it on to who knows whom.
  uint8_t* Lend();

  uint8_t* data() const { return data_; }
  // Of the object; the mapping itself is this, rounded up to whole pages.
  size_t byte_length() const { return byte_length_; }

 private:
  bool TryVacate();
  size_t mapped_length() const;

  uint8_t* data_;
  size_t byte_length_;
  bool lent_ = false;
  bool vacant_ = false;
};

}  // namespace exmem
