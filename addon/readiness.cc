// SPDX-License-Identifier: MIT
// A descriptor that the event loop waits for. Node.js has a poll handle of its
// own, but no door to it in Node-API: uv.h is not part of that.
#include <napi.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <unordered_map>

#include "errors.h"
#include "handover.h"
#include "readiness_thread.h"
#include "subjects.h"

namespace exmem {

namespace {

class PolledDescriptor;

// What one environment waits for: the main thread, or one worker thread. But
// for Report(), everything is called on its JavaScript thread.
class Waits final : public ReadinessThread::Listener {
 public:
  explicit Waits(Napi::Env env) : env_(env) {}

  uint64_t Join(PolledDescriptor* member);
  void Leave(uint64_t id);

  // The event loop goes on while somebody holds it.
  void Hold() {
    if (holders_++ == 0 && wakeup_) wakeup_->Ref(env_);
  }
  void LetGo() {
    if (--holders_ == 0 && wakeup_) wakeup_->Unref(env_);
  }

  void Report(uint64_t id) override {
    // There is no limit to the queue and no wait for it: this does not block.
    wakeup_->NonBlockingCall(reinterpret_cast<Ticket*>(id));
  }

 private:
  struct Ticket;  // never exists: its address is an id

  static void Deliver(Napi::Env env, Napi::Function, Waits* waits, Ticket* ticket);
  void End();

  using Wakeup = Napi::TypedThreadSafeFunction<Waits, Ticket, Deliver>;

  Napi::Env env_;
  std::optional<Wakeup> wakeup_;  // only while reports may come
  size_t holders_ = 0;
  std::unordered_map<uint64_t, PolledDescriptor*> members_;
};

class PolledDescriptor : public Napi::ObjectWrap<PolledDescriptor> {
 public:
  static Napi::Function Define(Napi::Env env, std::shared_ptr<Waits>* waits) {
    return DefineClass(env, "PolledDescriptor",
                       {InstanceMethod<&PolledDescriptor::Watch>("watch"),
                        InstanceMethod<&PolledDescriptor::HoldLoop>("ref"),
                        InstanceMethod<&PolledDescriptor::LetLoopGo>("unref"),
                        InstanceMethod<&PolledDescriptor::Close>("close"),
                        InstanceMethod<&PolledDescriptor::Release>("release")},
                       waits);
  }

  // new PolledDescriptor(fd): its owner, as a Descriptor is.
  explicit PolledDescriptor(const Napi::CallbackInfo& info)
      : ObjectWrap(info),
        waits_(*static_cast<std::shared_ptr<Waits>*>(info.Data())),
        fd_(info[0].As<Napi::Number>().Int32Value()) {
    Claim(fd_);
  }

  ~PolledDescriptor() override {
    // Not Disarm(): JavaScript may be over, and an armed one is never collected.
    const int fd = Take();
    if (fd >= 0) close(fd);
  }

  // Tells JavaScript, once for each time it was armed.
  void Ready() {
    if (armed_ == 0) return;  // a late report
    Napi::Object self = Value();
    Disarm();
    self.Get("onReady").As<Napi::Function>().Call(self, {});
  }

  // No report comes any more.
  void Forget() {
    if (known_) ReadinessThread::Get().Forget(fd_);
    known_ = false;
  }

 private:
  // watch(readable, writable): calls this.onReady() once, when it is one of
  // what is wished, has hung up, or has an error. Replaces what was wished before.
  void Watch(const Napi::CallbackInfo& info) {
    const uint32_t events = (info[0].ToBoolean() ? EPOLLIN : 0u) | (info[1].ToBoolean() ? EPOLLOUT : 0u);
    if (events == armed_ || fd_ < 0) return;
    if (events == 0) {
      Forget();
      Disarm();
      return;
    }
    try {
      if (id_ == 0) id_ = waits_->Join(this);
      ReadinessThread::Get().Arm(fd_, id_, events, known_);
    } catch (const SystemFailure& failure) {
      throw failure.ToError(info.Env());
    }
    known_ = true;
    if (armed_ == 0) {
      // Somebody waits, even if nothing in JavaScript refers to this any more.
      Ref();
      if (holds_loop_) waits_->Hold();
    }
    armed_ = events;
  }

  void Disarm() {
    if (armed_ == 0) return;
    armed_ = 0;
    if (holds_loop_) waits_->LetGo();
    Unref();
  }

  // ref(), unref(): whether the event loop goes on while this is watched.
  void HoldLoop(const Napi::CallbackInfo&) { SetHoldsLoop(true); }
  void LetLoopGo(const Napi::CallbackInfo&) { SetHoldsLoop(false); }

  void SetHoldsLoop(bool holds) {
    if (armed_ != 0 && holds != holds_loop_) holds ? waits_->Hold() : waits_->LetGo();
    holds_loop_ = holds;
  }

  void Close(const Napi::CallbackInfo& info) {
    const int fd = Take();
    Disarm();
    // As in descriptor.cc: the number is free in any case.
    if (fd >= 0 && close(fd) < 0 && errno != EINTR) {
      throw SystemFailure{errno, "close"}.ToError(info.Env());
    }
  }

  // Gives the number away: it is the caller's to close.
  Napi::Value Release(const Napi::CallbackInfo& info) {
    const int fd = Take();
    Disarm();
    return Napi::Number::New(info.Env(), fd);
  }

  int Take() {
    Forget();
    if (id_ != 0) waits_->Leave(id_);
    id_ = 0;
    const int fd = fd_;
    fd_ = -1;
    return fd;
  }

  const std::shared_ptr<Waits> waits_;
  int fd_;
  uint64_t id_ = 0;
  bool known_ = false;      // to epoll
  bool holds_loop_ = true;  // while it is armed
  uint32_t armed_ = 0;
};

uint64_t Waits::Join(PolledDescriptor* member) {
  if (!wakeup_) {
    wakeup_ = Wakeup::New(env_, "exclusive-memory readiness", 0, 1, this);
    wakeup_->Unref(env_);
    // Hooks run last in, first out: this one before the wake-up function's own,
    // after which a call from the thread would be a use after free.
    env_.AddCleanupHook([](Waits* waits) { waits->End(); }, this);
  }
  const uint64_t id = ReadinessThread::Get().Join(this);
  members_.emplace(id, member);
  return id;
}

void Waits::Leave(uint64_t id) {
  if (members_.erase(id) != 0) ReadinessThread::Get().Leave(id);
}

void Waits::Deliver(Napi::Env env, Napi::Function, Waits* waits, Ticket* ticket) {
  if (env == nullptr) return;  // the environment ends
  const auto found = waits->members_.find(reinterpret_cast<uint64_t>(ticket));
  if (found != waits->members_.end()) found->second->Ready();
}

void Waits::End() {
  for (const auto& [id, member] : members_) {
    member->Forget();
    ReadinessThread::Get().Leave(id);
  }
  members_.clear();
  wakeup_.reset();
}

}  // namespace

void RegisterReadiness(Napi::Env env, Napi::Object exports) {
  auto* waits = new std::shared_ptr<Waits>(std::make_shared<Waits>(env));
  env.AddCleanupHook([](std::shared_ptr<Waits>* last) { delete last; }, waits);
  exports.Set("PolledDescriptor", PolledDescriptor::Define(env, waits));
}

}  // namespace exmem
