// SPDX-License-Identifier: MIT
#include "readiness_thread.h"

#include <pthread.h>
#include <signal.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <array>

#include "errors.h"

namespace exmem {

ReadinessThread& ReadinessThread::Get() {
  static ReadinessThread* const thread = new ReadinessThread();
  return *thread;
}

ReadinessThread::ReadinessThread() : epoll_(Check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1")) {
  // Signals are for the threads that Node.js expects them on.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  const int error = pthread_create(
      &thread, nullptr,
      [](void* self) -> void* {
        static_cast<ReadinessThread*>(self)->Run();
        return nullptr;
      },
      this);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) {
    close(epoll_);
    Fail(error, "pthread_create");
  }
  pthread_setname_np(thread, "exmem-readiness");
  pthread_detach(thread);
}

uint64_t ReadinessThread::Join(Listener* listener) {
  const std::lock_guard lock(mutex_);
  listeners_.emplace(++last_id_, listener);
  return last_id_;
}

void ReadinessThread::Leave(uint64_t id) {
  const std::lock_guard lock(mutex_);
  listeners_.erase(id);
}

void ReadinessThread::Arm(int fd, uint64_t id, uint32_t events, bool known) {
  epoll_event event{};
  // One report, and then silence: also about a hang-up, which would otherwise
  // be reported again and again.
  event.events = events | EPOLLONESHOT;
  event.data.u64 = id;
  Check(epoll_ctl(epoll_, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &event), "epoll_ctl");
}

void ReadinessThread::Forget(int fd) { epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr); }

void ReadinessThread::Run() {
  std::array<epoll_event, 64> events;
  for (;;) {
    const int count = epoll_wait(epoll_, events.data(), events.size(), -1);
    // Negative: EINTR, when the process was stopped and goes on.
    const std::lock_guard lock(mutex_);
    for (int i = 0; i < count; i++) {
      const auto found = listeners_.find(events[i].data.u64);
      if (found != listeners_.end()) found->second->Report(found->first);
    }
  }
}

}  // namespace exmem
