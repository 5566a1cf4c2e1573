// SPDX-License-Identifier: MIT
#include "region.h"

#include <sys/mman.h>
#include <unistd.h>

#include <utility>

#include "errors.h"
#include "quarantine.h"

namespace exmem {

namespace {

size_t PageSize() { return sysconf(_SC_PAGESIZE); }

uint8_t* Map(int fd, size_t length, off_t offset, bool writable) {
  const int protection = writable ? PROT_READ | PROT_WRITE : PROT_READ;
  void* const address = mmap(nullptr, length, protection, MAP_SHARED, fd, offset);
  if (address == MAP_FAILED) Fail(errno, "mmap");
  return static_cast<uint8_t*>(address);
}

}  // namespace

Region::Region(int fd, size_t byte_length)
    : Region(fd, byte_length, Window{0, true}, AccessGuard::Replace::kWhole) {}

Region::Region(int fd, size_t byte_length, Window window)
    : Region(fd, byte_length, window, AccessGuard::Replace::kPage) {}

Region::Region(int fd, size_t byte_length, Window window, AccessGuard::Replace replace)
    : offset_(window.offset),
      lead_(window.offset % PageSize()),
      byte_length_(byte_length),
      base_(Map(fd, mapped_length(), window.offset - lead_, window.writable)) {
  try {
    guard_ = std::make_unique<AccessGuard>(base_, mapped_length(), replace);
  } catch (...) {
    munmap(base_, mapped_length());
    throw;
  }
}

Region::~Region() {
  if (lent_ && TryVacate()) {
    Quarantine(base_, mapped_length(), std::move(guard_));
  } else {
    guard_.reset();
    munmap(base_, mapped_length());
  }
}

uint8_t* Region::Lend() {
  lent_ = true;
  return data();
}

void Region::Vacate() {
  if (!TryVacate()) Fail(errno, "mmap");
}

bool Region::TryVacate() {
  if (!vacant_) {
    void* address = mmap(base_, mapped_length(), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    vacant_ = address != MAP_FAILED;
  }
  return vacant_;
}

FailedAccess Region::first_failure() const {
  FailedAccess failure = guard_->first_failure();
  failure.offset += offset_ - lead_;
  return failure;
}

size_t Region::mapped_length() const {
  const size_t page = PageSize();
  return (lead_ + byte_length_ + page - 1) / page * page;
}

}  // namespace exmem
