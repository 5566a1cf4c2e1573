// SPDX-License-Identifier: MIT
#include "blocking.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <optional>

#include "errors.h"

namespace exmem {

namespace {

class Worker : public Napi::AsyncWorker {
 public:
  Worker(Napi::Env env, std::function<void()> work, std::function<Napi::Value(Napi::Env)> result)
      : AsyncWorker(env),
        deferred_(Napi::Promise::Deferred::New(env)),
        work_(std::move(work)),
        result_(std::move(result)) {}

  Napi::Promise promise() const { return deferred_.Promise(); }

 protected:
  void Execute() override {
    try {
      work_();
    } catch (const SystemFailure& failure) {
      failure_ = failure;
    }
    // Drops what the work borrowed (descriptors, mappings) before the promise
    // settles, so that whoever awaits it finds them given back.
    work_ = nullptr;
  }

  void OnOK() override {
    if (failure_) {
      deferred_.Reject(failure_->ToError(Env()).Value());
    } else {
      deferred_.Resolve(result_(Env()));
    }
  }

  void OnError(const Napi::Error& error) override { deferred_.Reject(error.Value()); }

 private:
  Napi::Promise::Deferred deferred_;
  std::function<void()> work_;
  std::function<Napi::Value(Napi::Env)> result_;
  std::optional<SystemFailure> failure_;
};

}  // namespace

Napi::Promise RunBlocking(Napi::Env env, std::function<void()> work,
                          std::function<Napi::Value(Napi::Env)> result) {
  auto* worker = new Worker(env, std::move(work), std::move(result));  // deletes itself
  Napi::Promise promise = worker->promise();
  worker->Queue();
  return promise;
}

BorrowedFd::BorrowedFd(int fd) : fd_(Check(fcntl(fd, F_DUPFD_CLOEXEC, 0), "fcntl")) {}

BorrowedFd::~BorrowedFd() { close(fd_); }

bool WaitReadable(int fd, int timeout_ms) {
  pollfd entry{fd, POLLIN, 0};
  int ready = poll(&entry, 1, timeout_ms);
  if (ready < 0 && errno == EINTR) return false;
  return Check(ready, "poll") > 0;
}

}  // namespace exmem
