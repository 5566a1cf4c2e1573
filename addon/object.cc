// SPDX-License-Identifier: MIT
// The ioctls of exclusive memory objects and restricted memfds.
#include <fcntl.h>
#include <linux/exclusive_memory.h>
#include <napi.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>

#include "blocking.h"
#include "errors.h"
#include "subjects.h"

namespace exmem {

namespace {

int Fd(const Napi::CallbackInfo& info) { return info[0].As<Napi::Number>().Int32Value(); }

// getVersion(deviceFd)
Napi::Value GetVersion(const Napi::CallbackInfo& info) {
  const int version = Check(ioctl(Fd(info), EXMEM_GET_VERSION), "ioctl EXMEM_GET_VERSION");
  return Napi::Number::New(info.Env(), version);
}

// create(deviceFd, size, flags, name): a restricted memfd, close-on-exec.
Napi::Value Create(const Napi::CallbackInfo& info) {
  exmem_create request{};
  request.size = info[1].As<Napi::Number>().Int64Value();
  request.flags = info[2].As<Napi::Number>().Uint32Value();
  request.fd_flags = O_CLOEXEC;
  const std::string name = info[3].As<Napi::String>();
  if (name.size() >= sizeof(request.name)) Fail(ENAMETOOLONG, "ioctl EXMEM_CREATE");
  std::memcpy(request.name, name.data(), name.size());
  const int fd = Check(ioctl(Fd(info), EXMEM_CREATE, &request), "ioctl EXMEM_CREATE");
  return Napi::Number::New(info.Env(), fd);
}

// setSize(fd, bytes)
Napi::Value SetSize(const Napi::CallbackInfo& info) {
  const __u64 size = info[1].As<Napi::Number>().Int64Value();
  Check(ioctl(Fd(info), EXMEM_SET_SIZE, &size), "ioctl EXMEM_SET_SIZE");
  return info.Env().Undefined();
}

// getInfo(fd)
Napi::Value GetInfo(const Napi::CallbackInfo& info) {
  exmem_info answer{};
  Check(ioctl(Fd(info), EXMEM_GET_INFO, &answer), "ioctl EXMEM_GET_INFO");
  Napi::Object result = Napi::Object::New(info.Env());
  const auto add = [&](const char* name, uint64_t value) {
    result.Set(name, Napi::Number::New(info.Env(), static_cast<double>(value)));
  };
  add("size", answer.size);
  add("resident", answer.resident);
  add("shared", answer.shared);
  add("flags", answer.flags);
  add("state", answer.state);
  add("references", answer.references);
  add("notifiers", answer.notifiers);
  return result;
}

// waitIdle(fd, timeoutMs): resolves to false if the time was up first.
Napi::Value WaitIdle(const Napi::CallbackInfo& info) {
  const auto fd = std::make_shared<BorrowedFd>(Fd(info));
  const exmem_wait wait{info[1].As<Napi::Number>().Int64Value() * 1'000'000, 0};
  const auto idle = std::make_shared<bool>(true);
  return RunBlocking(
      info.Env(),
      [=] {
        const int result = ioctl(fd->get(), EXMEM_WAIT_IDLE, &wait);
        // EINTR: a signal came to this thread; the caller sees a wait that is not over.
        if (result < 0 && (errno == ETIMEDOUT || errno == EINTR)) {
          *idle = false;
          return;
        }
        Check(result, "ioctl EXMEM_WAIT_IDLE");
      },
      [idle](Napi::Env env) { return Napi::Boolean::New(env, *idle); });
}

// destroy(fd)
Napi::Value Destroy(const Napi::CallbackInfo& info) {
  Check(ioctl(Fd(info), EXMEM_DESTROY), "ioctl EXMEM_DESTROY");
  return info.Env().Undefined();
}

}  // namespace

void RegisterObject(Napi::Env env, Napi::Object exports) {
  Export<GetVersion>(env, exports, "getVersion");
  Export<Create>(env, exports, "create");
  Export<SetSize>(env, exports, "setSize");
  Export<GetInfo>(env, exports, "getInfo");
  Export<WaitIdle>(env, exports, "waitIdle");
  Export<Destroy>(env, exports, "destroy");
}

}  // namespace exmem
