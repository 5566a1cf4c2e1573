// SPDX-License-Identifier: MIT
#include "region.h"

#include <sys/mman.h>
#include <unistd.h>

#include "errors.h"
#include "quarantine.h"

namespace exmem {

Region::Region(int fd, size_t byte_length) : byte_length_(byte_length) {
  void* address = mmap(nullptr, mapped_length(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (address == MAP_FAILED) Fail(errno, "mmap");
  data_ = static_cast<uint8_t*>(address);
}

Region::~Region() {
  if (lent_ && TryVacate()) {
    Quarantine(data_, mapped_length());
  } else {
    munmap(data_, mapped_length());
  }
}

uint8_t* Region::Lend() {
  lent_ = true;
  return data_;
}

void Region::Vacate() {
  if (!TryVacate()) Fail(errno, "mmap");
}

bool Region::TryVacate() {
  if (!vacant_) {
    void* address = mmap(data_, mapped_length(), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    vacant_ = address != MAP_FAILED;
  }
  return vacant_;
}

size_t Region::mapped_length() const {
  const size_t page = sysconf(_SC_PAGESIZE);
  return (byte_length_ + page - 1) / page * page;
}

}  // namespace exmem
