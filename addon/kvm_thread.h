// SPDX-License-Identifier: MIT
// The thread that runs a vCPU. It makes one system call on KVM, KVM_RUN, and
// knows nothing of JavaScript.
#pragma once

#include <linux/kvm.h>
#include <pthread.h>

#include <array>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "kvm_routes.h"

namespace exmem {

// A write for which the vCPU does not wait. src/kvm/posted.ts reads them.
struct PostedWrite {
  uint64_t address;  // or port
  std::array<uint8_t, 8> data;
  uint8_t size;
  uint8_t is_memory;
  std::array<uint8_t, 6> padding;
};
static_assert(sizeof(PostedWrite) == 24);

// Why the vCPU waits.
struct Exit {
  uint32_t reason;                   // KVM_EXIT_*
  int error;                         // errno of KVM_RUN, or 0
  std::array<uint8_t, 256> details;  // the union in kvm_run
  std::vector<uint8_t> data;         // of an `out`
};

// A signal takes it out of the guest. No handler is involved, and so none of
// the program's is disturbed: the thread has the signal blocked, but in KVM_RUN,
// which therefore returns EINTR and leaves it pending; then the thread takes it
// from there. It is SIGSTKFLT, which Linux itself never sends, and no real-time
// signal: those need memory, and sending one may fail.
//
// But for the constructor and Run(), everything is called on the JavaScript thread.
class KvmThread {
 public:
  class Listener {
   public:
    // There is something to Collect(). On the thread; must not block.
    virtual void Notify() = 0;

   protected:
    ~Listener() = default;
  };

  // Makes the vCPU `fd` leave the guest for the signal; may throw SystemFailure.
  KvmThread(int fd, kvm_run* run, Routes& routes, Listener& listener);
  ~KvmThread();
  KvmThread(const KvmThread&) = delete;
  KvmThread& operator=(const KvmThread&) = delete;

  void Start(uint32_t number);  // may throw SystemFailure
  void Pause();
  void Resume();
  // The thread ends soon.
  void Stop();
  // Stops it and waits for its end. Nothing happens if there is none.
  void Join();

  struct Mail {
    std::vector<PostedWrite> posted;
    std::optional<Exit> exit;  // once
    bool ended;
  };
  Mail Collect();

  // The guest goes on, with these bytes, or all ones.
  void Answer(const uint8_t* bytes, size_t size);

  // It may be in KVM_RUN, where other calls on the vCPU would wait for it.
  bool Busy();
  // Pause() was called, and it is not; nor is there an exit to collect.
  bool Parked();
  // There is a thread to Join().
  bool exists() const { return thread_.has_value(); }

 private:
  using Lock = std::unique_lock<std::mutex>;

  void Run();
  bool Enter();
  void HandleIo();
  void HandleMmio();
  void Post(const uint8_t* data, uint64_t address, uint32_t size, uint32_t count, bool is_memory);
  void Deliver(int error);
  void Fill(const uint8_t* bytes, size_t size);
  void Notify();
  void Kick();
  void TakeKick();

  uint8_t* io_data() { return reinterpret_cast<uint8_t*>(run_) + run_->io.data_offset; }

  const int fd_;
  kvm_run* const run_;
  Routes& routes_;
  Listener& listener_;
  std::optional<pthread_t> thread_;
  bool unfinished_ = false;  // the thread's: KVM_RUN has an instruction to complete

  std::mutex mutex_;  // for the rest
  std::condition_variable changed_;
  bool pause_ = false;
  bool stop_ = false;
  bool ended_ = true;
  bool in_guest_ = false;
  bool kicked_ = false;  // a signal is pending, or the thread is about to take it
  bool parked_ = false;
  bool waits_ = false;      // for the answer to exit_
  bool collected_ = false;  // exit_, that is
  bool notified_ = false;
  Exit exit_{};
  std::vector<PostedWrite> posted_;
};

}  // namespace exmem
