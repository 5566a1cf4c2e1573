// SPDX-License-Identifier: MIT
// memfd_secret(2), the mainline relative: fewer promises, no module needed.
#include <fcntl.h>
#include <linux/magic.h>
#include <napi.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "errors.h"
#include "subjects.h"

namespace exmem {

namespace {

// memfdSecret(): a descriptor of size 0, close-on-exec.
Napi::Value MemfdSecret(const Napi::CallbackInfo& info) {
  // glibc has no wrapper.
  const long fd = Check(syscall(SYS_memfd_secret, O_CLOEXEC), "memfd_secret");
  return Napi::Number::New(info.Env(), fd);
}

// isMemfdSecret(fd)
Napi::Value IsMemfdSecret(const Napi::CallbackInfo& info) {
  struct statfs answer;
  Check(fstatfs(info[0].As<Napi::Number>().Int32Value(), &answer), "fstatfs");
  return Napi::Boolean::New(info.Env(), answer.f_type == SECRETMEM_MAGIC);
}

}  // namespace

void RegisterMemfdSecret(Napi::Env env, Napi::Object exports) {
  Export<MemfdSecret>(env, exports, "memfdSecret");
  Export<IsMemfdSecret>(env, exports, "isMemfdSecret");
}

}  // namespace exmem
