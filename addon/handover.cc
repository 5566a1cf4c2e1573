// SPDX-License-Identifier: MIT
#include "handover.h"

#include <unistd.h>

#include <unordered_set>

#include "subjects.h"

namespace exmem {

namespace {

// Each environment has a thread of its own.
thread_local std::unordered_set<int> on_their_way;

}  // namespace

Napi::Number HandOver(Napi::Env env, int fd) {
  on_their_way.insert(fd);
  return Napi::Number::New(env, fd);
}

void Claim(int fd) { on_their_way.erase(fd); }

void RegisterHandover(Napi::Env env, Napi::Object) {
  env.AddCleanupHook([] {
    for (const int fd : on_their_way) close(fd);
    on_their_way.clear();
  });
}

}  // namespace exmem
