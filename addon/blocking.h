// SPDX-License-Identifier: MIT
// System calls that may sleep run on the thread pool and settle a promise.
#pragma once

#include <napi.h>

#include <functional>

namespace exmem {

// Runs `work` on the thread pool, where it may throw SystemFailure, and then
// `result` on the JavaScript thread to make the promise's value.
Napi::Promise RunBlocking(Napi::Env env, std::function<void()> work,
                          std::function<Napi::Value(Napi::Env)> result);

// A second descriptor of the same open file for the time of a blocking call:
// JavaScript may close the first meanwhile, and its number be used again.
class BorrowedFd {
 public:
  explicit BorrowedFd(int fd);
  ~BorrowedFd();
  BorrowedFd(const BorrowedFd&) = delete;
  BorrowedFd& operator=(const BorrowedFd&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

// Waits until `fd` can be read. Returns false after `timeout_ms`.
bool WaitReadable(int fd, int timeout_ms);

}  // namespace exmem
