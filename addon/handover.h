// SPDX-License-Identifier: MIT
// A new descriptor on its way from a system call to its owner in JavaScript.
#pragma once

#include <napi.h>

namespace exmem {

// The number of `fd`, for the JavaScript that makes a Descriptor or a
// PolledDescriptor of it next. A worker thread can be terminated between the
// two: what nobody claimed by then is closed when the thread's environment ends.
Napi::Number HandOver(Napi::Env env, int fd);

// It has an owner now. Nothing happens if it was not handed over.
void Claim(int fd);

}  // namespace exmem
