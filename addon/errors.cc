// SPDX-License-Identifier: MIT
#include "errors.h"

namespace exmem {

Napi::Error SystemFailure::ToError(Napi::Env env) const {
  Napi::Error failure = Napi::Error::New(env, syscall);
  failure.Set("errno", Napi::Number::New(env, -error));
  failure.Set("syscall", Napi::String::New(env, syscall));
  return failure;
}

void Fail(int error, const char* syscall) { throw SystemFailure{error, syscall}; }

}  // namespace exmem
