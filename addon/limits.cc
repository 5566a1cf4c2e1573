// SPDX-License-Identifier: MIT
#include <napi.h>
#include <sys/resource.h>

#include <limits>

#include "errors.h"
#include "subjects.h"

namespace exmem {

namespace {

// memlockLimit(): { soft, hard } of RLIMIT_MEMLOCK in bytes, Infinity for none.
Napi::Value MemlockLimit(const Napi::CallbackInfo& info) {
  rlimit limit{};
  Check(getrlimit(RLIMIT_MEMLOCK, &limit), "getrlimit");
  const auto bytes = [&](rlim_t value) {
    return Napi::Number::New(info.Env(), value == RLIM_INFINITY
                                             ? std::numeric_limits<double>::infinity()
                                             : static_cast<double>(value));
  };
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("soft", bytes(limit.rlim_cur));
  result.Set("hard", bytes(limit.rlim_max));
  return result;
}

}  // namespace

void RegisterLimits(Napi::Env env, Napi::Object exports) {
  Export<MemlockLimit>(env, exports, "memlockLimit");
}

}  // namespace exmem
