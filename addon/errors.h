// SPDX-License-Identifier: MIT
// How errno travels from a system call to JavaScript.
#pragma once

#include <napi.h>

namespace exmem {

// Thrown on any thread where a system call failed. It holds no napi_env, so
// that the code around system calls is the same on the JavaScript thread and
// on the thread pool.
struct SystemFailure {
  int error;            // errno, positive
  const char* syscall;  // static string: "mmap", "ioctl EXMEM_CREATE"

  // An Error with `errno` (negative, as in libuv) and `syscall`. src/errors.ts
  // turns it into the public class with a JavaScript stack and a message.
  Napi::Error ToError(Napi::Env env) const;
};

// Returns `result`, or throws what errno says if it is negative.
template <typename T>
T Check(T result, const char* syscall);

[[noreturn]] void Fail(int error, const char* syscall);

// The value a finished call gives JavaScript.
using Call = Napi::Value (*)(const Napi::CallbackInfo&);

// Makes a SystemFailure of `call` a JavaScript exception.
template <Call call>
Napi::Value Guarded(const Napi::CallbackInfo& info) {
  try {
    return call(info);
  } catch (const SystemFailure& failure) {
    throw failure.ToError(info.Env());
  }
}

template <Call call>
void Export(Napi::Env env, Napi::Object exports, const char* name) {
  exports.Set(name, Napi::Function::New<Guarded<call>>(env, name));
}

template <typename T>
T Check(T result, const char* syscall) {
  if (result < 0) Fail(errno, syscall);
  return result;
}

}  // namespace exmem
