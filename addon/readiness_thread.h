// SPDX-License-Identifier: MIT
// Waiting for descriptors: one thread for the whole process, asleep in
// epoll_wait(2) until something that was asked for happens.
#pragma once

#include <cstdint>
#include <mutex>
#include <unordered_map>

namespace exmem {

class ReadinessThread {
 public:
  // Whom it tells. Report() runs on the thread, under its lock: it may only
  // pass the word on. It is not called any more once Leave() has returned.
  class Listener {
   public:
    virtual void Report(uint64_t id) = 0;

   protected:
    ~Listener() = default;
  };

  // Starts at the first call, and never ends: nothing wakes it without need,
  // and static destructors must not run under it when the process exits.
  static ReadinessThread& Get();

  // A number that is never used again, so that a late report finds nobody.
  uint64_t Join(Listener* listener);
  void Leave(uint64_t id);

  // Asks for one report when one of `events` (epoll(7)), a hang-up or an error
  // is there; at once if it is there already. `known`: it was armed before, and
  // not forgotten since.
  void Arm(int fd, uint64_t id, uint32_t events, bool known);

  // Before `fd` is closed: an open file that another process holds too would
  // stay in the epoll set without it.
  void Forget(int fd);

 private:
  ReadinessThread();
  void Run();

  const int epoll_;
  std::mutex mutex_;
  uint64_t last_id_ = 0;
  std::unordered_map<uint64_t, Listener*> listeners_;
};

}  // namespace exmem
