// SPDX-License-Identifier: MIT
#include "kvm_thread.h"

#include <signal.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "errors.h"
#include "kvm_abi.h"

namespace exmem {

namespace {

constexpr int kKick = SIGSTKFLT;

// So many writes may be on their way before the vCPU waits for JavaScript.
constexpr size_t kMostPosted = 4096;

constexpr uint64_t Bit(int signal) { return uint64_t{1} << (signal - 1); }

// The two that the C library needs on every thread, for setuid(2) and pthread_cancel(3).
constexpr uint64_t kOfTheLibrary = Bit(32) | Bit(33);

}  // namespace

KvmThread::KvmThread(int fd, kvm_run* run, Routes& routes, Listener& listener)
    : fd_(fd), run_(run), routes_(routes), listener_(listener) {
  // The kernel's sigset_t, of 64 bits, follows the header.
  struct {
    uint32_t length;
    uint32_t blocked[2];
  } mask;
  const uint64_t blocked = ~(Bit(kKick) | kOfTheLibrary);
  mask.length = sizeof(blocked);
  std::memcpy(mask.blocked, &blocked, sizeof(blocked));
  constexpr auto kRequest = WithHeaderOf(offsetof(decltype(mask), blocked), KVM_SET_SIGNAL_MASK);
  Check(ioctl(fd, kRequest, &mask), "ioctl KVM_SET_SIGNAL_MASK");
}

KvmThread::~KvmThread() { Join(); }

void KvmThread::Start(uint32_t number) {
  stop_ = pause_ = parked_ = waits_ = notified_ = ended_ = false;
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  const int error = pthread_create(
      &thread, nullptr,
      [](void* self) -> void* {
        static_cast<KvmThread*>(self)->Run();
        return nullptr;
      },
      this);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (error != 0) {
    ended_ = true;
    Fail(error, "pthread_create");
  }
  char name[16];  // what there is room for
  std::snprintf(name, sizeof(name), "exmem-vcpu-%u", number % 10'000);
  pthread_setname_np(thread, name);
  const Lock lock(mutex_);
  thread_ = thread;
}

void KvmThread::Pause() {
  const Lock lock(mutex_);
  pause_ = true;
  Kick();
  changed_.notify_all();
}

void KvmThread::Resume() {
  const Lock lock(mutex_);
  pause_ = false;
  changed_.notify_all();
}

void KvmThread::Stop() {
  const Lock lock(mutex_);
  stop_ = true;
  Kick();
  changed_.notify_all();
}

void KvmThread::Join() {
  if (!thread_) return;
  Stop();
  pthread_join(*thread_, nullptr);
  const Lock lock(mutex_);
  thread_.reset();
}

KvmThread::Mail KvmThread::Collect() {
  const Lock lock(mutex_);
  notified_ = false;
  Mail mail{std::move(posted_), std::nullopt, ended_};
  posted_.clear();
  if (waits_ && !collected_) {
    collected_ = true;
    mail.exit = std::move(exit_);
  }
  changed_.notify_all();
  return mail;
}

void KvmThread::Answer(const uint8_t* bytes, size_t size) {
  Lock lock(mutex_);
  if (!waits_ || !collected_) return;
  if (exit_.error == 0) Fill(bytes, size);
  waits_ = false;
  changed_.notify_all();
  // The instruction is completed now, not at some moment of the pause. It takes
  // no time: KVM_RUN returns at once.
  if (pause_) changed_.wait(lock, [this] { return parked_ || waits_ || ended_; });
}

bool KvmThread::Busy() {
  const Lock lock(mutex_);
  return !ended_ && !parked_ && !waits_;
}

bool KvmThread::Parked() {
  const Lock lock(mutex_);
  return !ended_ && pause_ && (parked_ || (waits_ && collected_));
}

void KvmThread::Run() {
  while (Enter()) {
    const int result = ioctl(fd_, KVM_RUN, 0);
    const int error = result < 0 ? errno : 0;
    {
      const Lock lock(mutex_);
      in_guest_ = false;
    }
    unfinished_ = error == 0;
    // EAGAIN: a processor that waits to be started was woken, but not started.
    if (error == EINTR || error == EAGAIN) continue;
    if (error == 0 && run_->exit_reason == KVM_EXIT_IO) {
      HandleIo();
    } else if (error == 0 && run_->exit_reason == KVM_EXIT_MMIO) {
      HandleMmio();
    } else {
      Deliver(error);
    }
  }
  const Lock lock(mutex_);
  ended_ = true;
  changed_.notify_all();
  Notify();
}

// Waits while it is paused. False: it is to end.
bool KvmThread::Enter() {
  Lock lock(mutex_);
  TakeKick();
  // KVM finishes an instruction only when it is called again. It does that
  // first, and with immediate_exit nothing else.
  while (!unfinished_ && (stop_ || pause_)) {
    if (stop_) return false;
    if (!parked_) {
      parked_ = true;
      changed_.notify_all();
      Notify();
    }
    changed_.wait(lock);
    TakeKick();
  }
  parked_ = false;
  run_->immediate_exit = stop_ || pause_;
  in_guest_ = true;
  return true;
}

void KvmThread::HandleIo() {
  const auto& io = run_->io;
  const size_t size = static_cast<size_t>(io.size) * io.count;
  if (io.direction == KVM_EXIT_IO_OUT) {
    const Route route = routes_.WriteOf(io.port);
    if (route == Route::kExit) Deliver(0);
    if (route == Route::kPost) Post(io_data(), io.port, io.size, io.count, false);
    return;
  }
  const Routes::Read read = routes_.ReadOf(io.port);
  switch (read.route) {
    case Route::kExit:
      Deliver(0);
      break;
    case Route::kReply:
      for (size_t at = 0; at < size; at += io.size) {
        std::memcpy(io_data() + at, &read.value, io.size);
      }
      break;
    default:
      std::memset(io_data(), 0xff, size);
  }
}

void KvmThread::HandleMmio() {
  auto& mmio = run_->mmio;
  if (!mmio.is_write) {
    if (routes_.LoadOf(mmio.phys_addr) == Route::kExit) {
      Deliver(0);
    } else {
      std::memset(mmio.data, 0xff, sizeof(mmio.data));
    }
    return;
  }
  const Route route = routes_.StoreOf(mmio.phys_addr);
  if (route == Route::kExit) Deliver(0);
  if (route == Route::kPost) Post(mmio.data, mmio.phys_addr, mmio.len, 1, true);
}

void KvmThread::Post(const uint8_t* data, uint64_t address, uint32_t size, uint32_t count,
                     bool is_memory) {
  Lock lock(mutex_);
  changed_.wait(lock, [this] { return posted_.size() < kMostPosted || pause_ || stop_; });
  for (uint32_t i = 0; i < count; i++) {
    PostedWrite write{address, {}, static_cast<uint8_t>(size), is_memory, {}};
    std::memcpy(write.data.data(), data + static_cast<size_t>(i) * size, size);
    posted_.push_back(write);
  }
  Notify();
}

// Waits until JavaScript has answered.
void KvmThread::Deliver(int error) {
  Lock lock(mutex_);
  // Nobody listens any more, but KVM may still have an instruction to complete.
  if (!stop_) {
    exit_ = Exit{run_->exit_reason, error, {}, {}};
    std::memcpy(exit_.details.data(), run_->padding, exit_.details.size());
    if (error == 0 && run_->exit_reason == KVM_EXIT_IO && run_->io.direction == KVM_EXIT_IO_OUT) {
      exit_.data.assign(io_data(), io_data() + static_cast<size_t>(run_->io.size) * run_->io.count);
    }
    waits_ = true;
    collected_ = false;
    changed_.notify_all();
    Notify();
    changed_.wait(lock, [this] { return !waits_ || stop_; });
  }
  if (stop_) {
    waits_ = false;
    if (error == 0) Fill(nullptr, 0);
  }
}

// What the guest reads: `bytes`, or all ones if there are none.
void KvmThread::Fill(const uint8_t* bytes, size_t size) {
  uint8_t* to;
  size_t room;
  switch (run_->exit_reason) {
    case KVM_EXIT_IO:
      if (run_->io.direction == KVM_EXIT_IO_OUT) return;
      to = io_data();
      room = static_cast<size_t>(run_->io.size) * run_->io.count;
      break;
    case KVM_EXIT_MMIO:
      if (run_->mmio.is_write) return;
      to = run_->mmio.data;
      room = sizeof(run_->mmio.data);
      break;
    case KVM_EXIT_HYPERCALL:
      to = reinterpret_cast<uint8_t*>(&run_->hypercall.ret);
      room = sizeof(run_->hypercall.ret);
      break;
    default:
      return;
  }
  std::memset(to, 0xff, room);
  if (bytes != nullptr) std::memcpy(to, bytes, std::min(size, room));
}

void KvmThread::Notify() {
  if (notified_) return;
  notified_ = true;
  listener_.Notify();
}

void KvmThread::Kick() {
  if (!in_guest_ || kicked_) return;
  kicked_ = true;
  pthread_kill(*thread_, kKick);
}

void KvmThread::TakeKick() {
  if (!kicked_) return;
  sigset_t kick;
  sigemptyset(&kick);
  sigaddset(&kick, kKick);
  const timespec at_once{};
  sigtimedwait(&kick, nullptr, &at_once);
  kicked_ = false;
}

}  // namespace exmem
