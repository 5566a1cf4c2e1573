// SPDX-License-Identifier: MIT
// ioctl numbers of KVM, of which the size of a structure is a part, for
// structures that end in a flexible array. <linux/stddef.h> begins those with an
// empty structure: that has a size for C++, and none for C, in which the kernel
// is written.
#pragma once

#include <linux/kvm.h>

#include <cstddef>

namespace exmem {

constexpr unsigned long WithHeaderOf(size_t size, unsigned long request) {
  return _IOC(_IOC_DIR(request), KVMIO, _IOC_NR(request), size);
}

}  // namespace exmem
