// SPDX-License-Identifier: MIT
// The JavaScript object of a vCPU, and how its thread reaches the event loop.
#include <linux/kvm.h>
#include <napi.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <initializer_list>
#include <memory>
#include <optional>
#include <unordered_map>
#include <utility>

#include "errors.h"
#include "handover.h"
#include "kvm_machine.h"
#include "kvm_thread.h"
#include "subjects.h"

namespace exmem {

namespace {

class KvmProcessor;

// The vCPUs of one environment, as far as they have a thread. But for Notify(),
// everything is called on its JavaScript thread.
class Running {
 public:
  explicit Running(Napi::Env env) : env_(env) {}

  uint64_t Join(KvmProcessor* member);
  void Leave(uint64_t id);

  void Notify(uint64_t id) {
    // There is no limit to the queue and no wait for it: this does not block.
    wakeup_->NonBlockingCall(reinterpret_cast<Ticket*>(id));
  }

 private:
  struct Ticket;  // never exists: its address is an id

  static void Deliver(Napi::Env env, Napi::Function, Running* running, Ticket* ticket);
  void End();

  using Wakeup = Napi::TypedThreadSafeFunction<Running, Ticket, Deliver>;

  Napi::Env env_;
  std::optional<Wakeup> wakeup_;
  uint64_t last_id_ = 0;
  std::unordered_map<uint64_t, KvmProcessor*> members_;
};

// The vCPU's descriptor, and what it shares with the kernel.
class RunState {
 public:
  RunState(int fd, size_t size) : fd_(fd), size_(size) {
    void* const address = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (address == MAP_FAILED) {
      const int error = errno;
      close(fd);
      Fail(error, "mmap");
    }
    run_ = static_cast<kvm_run*>(address);
  }
  ~RunState() {
    munmap(run_, size_);
    close(fd_);
  }
  RunState(const RunState&) = delete;
  RunState& operator=(const RunState&) = delete;

  int fd() const { return fd_; }
  kvm_run* get() const { return run_; }

 private:
  const int fd_;
  const size_t size_;
  kvm_run* run_;
};

class KvmProcessor : public Napi::ObjectWrap<KvmProcessor>, public KvmThread::Listener {
 public:
  static Napi::Function Define(Napi::Env env, std::shared_ptr<Running>* running) {
    return DefineClass(env, "KvmProcessor",
                       {InstanceMethod<&KvmProcessor::Start>("start"),
                        InstanceMethod<&KvmProcessor::Busy>("busy"),
                        InstanceMethod<&KvmProcessor::Parked>("parked"),
                        InstanceMethod<&KvmProcessor::Answer>("answer"),
                        InstanceMethod<&KvmProcessor::Pause>("pause"),
                        InstanceMethod<&KvmProcessor::Resume>("resume"),
                        InstanceMethod<&KvmProcessor::Stop>("stop"),
                        InstanceMethod<&KvmProcessor::Close>("close")},
                       running);
  }

  // new KvmProcessor(machine, fd, runSize): the owner of the descriptor.
  explicit KvmProcessor(const Napi::CallbackInfo& info)
      : ObjectWrap(info), running_(*static_cast<std::shared_ptr<Running>*>(info.Data())) {
    machine_ = Machine::Of(info[0]);
    const int fd = info[1].As<Napi::Number>().Int32Value();
    Claim(fd);
    try {
      state_.emplace(fd, info[2].As<Napi::Number>().Int64Value());
      thread_.emplace(fd, state_->get(), machine_->routes(), *this);
    } catch (const SystemFailure& failure) {
      throw failure.ToError(info.Env());
    }
  }

  // Not when JavaScript is over, too: Running::End() was first.
  ~KvmProcessor() override { thread_.reset(); }

  // Whatever there is to tell JavaScript.
  void Deliver() {
    Napi::Object self = Value();
    KvmThread::Mail mail = thread_->Collect();
    if (!mail.posted.empty()) {
      Call(self, "onPosted", {Bytes(mail.posted.data(), mail.posted.size() * sizeof(PostedWrite))});
    }
    // JavaScript may have closed it by now.
    if (mail.exit && thread_) {
      const Exit& exit = *mail.exit;
      Call(self, "onExit",
           {Napi::Number::New(Env(), exit.reason), Napi::Number::New(Env(), exit.error),
            Bytes(exit.details.data(), exit.details.size()),
            Bytes(exit.data.data(), exit.data.size())});
    }
    if (thread_ && thread_->Parked()) Call(self, "onParked", {});
    if (mail.ended && thread_) {
      End();
      Call(self, "onEnded", {});
    }
  }

  // Ends the thread, whatever it does.
  void End() {
    if (!thread_ || !thread_->exists()) return;
    thread_->Join();
    running_->Leave(std::exchange(id_, 0));
    Unref();
  }

 private:
  // start(number)
  void Start(const Napi::CallbackInfo& info) {
    id_ = running_->Join(this);
    // It runs, even if nothing in JavaScript refers to it any more.
    Ref();
    try {
      thread_->Start(info[0].As<Napi::Number>().Uint32Value());
    } catch (const SystemFailure& failure) {
      running_->Leave(std::exchange(id_, 0));
      Unref();
      throw failure.ToError(info.Env());
    }
  }

  Napi::Value Busy(const Napi::CallbackInfo& info) {
    return Napi::Boolean::New(info.Env(), thread_ && thread_->Busy());
  }

  Napi::Value Parked(const Napi::CallbackInfo& info) {
    return Napi::Boolean::New(info.Env(), thread_ && thread_->Parked());
  }

  // answer(bytes?)
  void Answer(const Napi::CallbackInfo& info) {
    if (!thread_) return;
    if (info[0].IsUndefined()) {
      thread_->Answer(nullptr, 0);
    } else {
      const auto bytes = info[0].As<Napi::Uint8Array>();
      thread_->Answer(bytes.Data(), bytes.ByteLength());
    }
  }

  void Pause(const Napi::CallbackInfo&) {
    if (thread_) thread_->Pause();
  }
  void Resume(const Napi::CallbackInfo&) {
    if (thread_) thread_->Resume();
  }
  void Stop(const Napi::CallbackInfo&) {
    if (thread_) thread_->Stop();
  }

  void Close(const Napi::CallbackInfo&) {
    End();
    thread_.reset();
    state_.reset();
    machine_.reset();
  }

  void Notify() override { running_->Notify(id_); }

  void Call(Napi::Object self, const char* name, const std::initializer_list<napi_value>& args) {
    self.Get(name).As<Napi::Function>().Call(self, args);
  }

  Napi::Value Bytes(const void* data, size_t size) {
    Napi::Uint8Array bytes = Napi::Uint8Array::New(Env(), size);
    if (size != 0) std::memcpy(bytes.Data(), data, size);
    return bytes;
  }

  const std::shared_ptr<Running> running_;
  uint64_t id_ = 0;
  // In this order: the machine's descriptor is closed last.
  std::shared_ptr<Machine> machine_;
  std::optional<RunState> state_;
  std::optional<KvmThread> thread_;
};

uint64_t Running::Join(KvmProcessor* member) {
  if (!wakeup_) {
    wakeup_ = Wakeup::New(env_, "exclusive-memory vCPUs", 0, 1, this);
    wakeup_->Unref(env_);
    // Hooks run last in, first out: this one before the wake-up function's own,
    // after which a call from a thread would be a use after free.
    env_.AddCleanupHook([](Running* running) { running->End(); }, this);
  }
  if (members_.empty()) wakeup_->Ref(env_);
  members_.emplace(++last_id_, member);
  return last_id_;
}

void Running::Leave(uint64_t id) {
  if (members_.erase(id) != 0 && members_.empty()) wakeup_->Unref(env_);
}

void Running::Deliver(Napi::Env env, Napi::Function, Running* running, Ticket* ticket) {
  if (env == nullptr) return;  // the environment ends
  const auto found = running->members_.find(reinterpret_cast<uint64_t>(ticket));
  if (found != running->members_.end()) found->second->Deliver();
}

void Running::End() {
  while (!members_.empty()) members_.begin()->second->End();
  wakeup_.reset();
}

}  // namespace

void RegisterKvmProcessor(Napi::Env env, Napi::Object exports) {
  auto* running = new std::shared_ptr<Running>(std::make_shared<Running>(env));
  env.AddCleanupHook([](std::shared_ptr<Running>* last) { delete last; }, running);
  exports.Set("KvmProcessor", KvmProcessor::Define(env, running));
}

}  // namespace exmem
