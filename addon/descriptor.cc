// SPDX-License-Identifier: MIT
// A file descriptor with an owner: closed when JavaScript says so, or when the
// object is collected or its worker ends, whichever comes first.
#include <fcntl.h>
#include <napi.h>
#include <unistd.h>

#include "errors.h"
#include "handover.h"
#include "subjects.h"

namespace exmem {

namespace {

class Descriptor : public Napi::ObjectWrap<Descriptor> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "Descriptor",
                       {InstanceMethod<&Descriptor::Close>("close"),
                        InstanceMethod<&Descriptor::Release>("release")});
  }

  // new Descriptor(fd)
  explicit Descriptor(const Napi::CallbackInfo& info)
      : ObjectWrap(info), fd_(info[0].As<Napi::Number>().Int32Value()) {
    Claim(fd_);
  }

  ~Descriptor() override {
    if (fd_ >= 0) close(fd_);
  }

 private:
  void Close(const Napi::CallbackInfo& info) {
    const int fd = Take();
    // close(2) frees the number even where it reports an error; no retry.
    if (fd >= 0 && close(fd) < 0 && errno != EINTR) {
      throw SystemFailure{errno, "close"}.ToError(info.Env());
    }
  }

  // Gives the number away: it is the caller's to close.
  Napi::Value Release(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), Take());
  }

  int Take() {
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }

  int fd_;
};

// duplicate(fd): another descriptor of the same open file, close-on-exec.
Napi::Value Duplicate(const Napi::CallbackInfo& info) {
  const int fd = info[0].As<Napi::Number>().Int32Value();
  return HandOver(info.Env(), Check(fcntl(fd, F_DUPFD_CLOEXEC, 0), "fcntl"));
}

}  // namespace

void RegisterDescriptor(Napi::Env env, Napi::Object exports) {
  Export<Duplicate>(env, exports, "duplicate");
  exports.Set("Descriptor", Descriptor::Define(env));
}

}  // namespace exmem
