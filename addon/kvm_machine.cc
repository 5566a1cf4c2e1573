// SPDX-License-Identifier: MIT
#include "kvm_machine.h"

#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <string>

#include "errors.h"
#include "handover.h"
#include "subjects.h"

namespace exmem {

namespace {

constexpr napi_type_tag kTag = {0x7d9b1f2a60c84e35, 0xb3e05a9c41d7682f};

constexpr char kSetRegion[] = "ioctl KVM_SET_USER_MEMORY_REGION";

Route RouteOf(const Napi::Value& value) {
  const std::string name = value.As<Napi::String>();
  if (name == "reply") return Route::kReply;
  if (name == "exit") return Route::kExit;
  if (name == "post") return Route::kPost;
  return Route::kNone;
}

class KvmMachine : public Napi::ObjectWrap<KvmMachine> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "KvmMachine",
                       {InstanceMethod<&KvmMachine::SetSlot>("setSlot"),
                        InstanceMethod<&KvmMachine::RemoveSlot>("removeSlot"),
                        InstanceMethod<&KvmMachine::DirtyLog>("dirtyLog"),
                        InstanceMethod<&KvmMachine::RouteIn>("routeIn"),
                        InstanceMethod<&KvmMachine::RouteOut>("routeOut"),
                        InstanceMethod<&KvmMachine::SetMmioRoutes>("setMmioRoutes"),
                        InstanceMethod<&KvmMachine::Close>("close")});
  }

  // new KvmMachine(fd): its owner, as a Descriptor is.
  explicit KvmMachine(const Napi::CallbackInfo& info) : ObjectWrap(info) {
    const int fd = info[0].As<Napi::Number>().Int32Value();
    Claim(fd);
    machine_ = std::make_shared<Machine>(fd);
    info.This().As<Napi::Object>().TypeTag(&kTag);
  }

  const std::shared_ptr<Machine>& machine() const { return machine_; }

 private:
  static uint32_t SlotOf(const Napi::CallbackInfo& info) {
    return info[0].As<Napi::Number>().Uint32Value();
  }
  static uint16_t PortOf(const Napi::Value& value) {
    return static_cast<uint16_t>(value.As<Napi::Number>().Uint32Value());
  }

  // setSlot(slot, flags, gpa, region, offset, size)
  void SetSlot(const Napi::CallbackInfo& info) {
    const uint32_t flags = info[1].As<Napi::Number>().Uint32Value();
    const uint64_t gpa = info[2].As<Napi::Number>().Int64Value();
    const uint64_t offset = info[4].As<Napi::Number>().Int64Value();
    const uint64_t size = info[5].As<Napi::Number>().Int64Value();
    Machine::Slot slot{SlotRegion::Of(info[3]), size};
    Guard(info, [&](Machine& machine) {
      machine.SetSlot(SlotOf(info), flags, gpa, offset, std::move(slot));
    });
  }

  // removeSlot(slot)
  void RemoveSlot(const Napi::CallbackInfo& info) {
    Guard(info, [&](Machine& machine) { machine.RemoveSlot(SlotOf(info)); });
  }

  // dirtyLog(slot)
  Napi::Value DirtyLog(const Napi::CallbackInfo& info) {
    std::vector<uint8_t> bits;
    Guard(info, [&](Machine& machine) { bits = machine.DirtyLog(SlotOf(info)); });
    Napi::Uint8Array result = Napi::Uint8Array::New(info.Env(), bits.size());
    std::copy(bits.begin(), bits.end(), result.Data());
    return result;
  }

  // routeIn(first, last, route, value)
  void RouteIn(const Napi::CallbackInfo& info) {
    const Routes::Read read{RouteOf(info[2]), info[3].As<Napi::Number>().Uint32Value()};
    Machine::Of(info.This())->routes().SetRead(PortOf(info[0]), PortOf(info[1]), read);
  }

  // routeOut(first, last, route)
  void RouteOut(const Napi::CallbackInfo& info) {
    Machine::Of(info.This())->routes().SetWrite(PortOf(info[0]), PortOf(info[1]), RouteOf(info[2]));
  }

  // setMmioRoutes([start, end, post, ...])
  void SetMmioRoutes(const Napi::CallbackInfo& info) {
    const Napi::Array triples = info[0].As<Napi::Array>();
    const auto number = [&](uint32_t index) {
      return triples.Get(index).As<Napi::Number>().Int64Value();
    };
    std::vector<Routes::MmioRange> ranges;
    for (uint32_t i = 0; i + 2 < triples.Length(); i += 3) {
      ranges.push_back({static_cast<uint64_t>(number(i)), static_cast<uint64_t>(number(i + 1)),
                        number(i + 2) != 0});
    }
    Machine::Of(info.This())->routes().SetMmio(std::move(ranges));
  }

  void Close(const Napi::CallbackInfo&) { machine_.reset(); }

  template <typename Body>
  void Guard(const Napi::CallbackInfo& info, Body body) {
    try {
      body(*Machine::Of(info.This()));
    } catch (const SystemFailure& failure) {
      throw failure.ToError(info.Env());
    }
  }

  std::shared_ptr<Machine> machine_;
};

}  // namespace

Machine::~Machine() {
  // Somebody may have duplicated the descriptor: the machine would live on, with
  // slots at addresses where other memory comes to be.
  for (const auto& [slot, memory] : slots_) {
    kvm_userspace_memory_region none{};
    none.slot = slot;
    ioctl(fd_, KVM_SET_USER_MEMORY_REGION, &none);
  }
  close(fd_);
}

void Machine::SetSlot(uint32_t slot, uint32_t flags, uint64_t gpa, uint64_t offset, Slot memory) {
  kvm_userspace_memory_region region{};
  region.slot = slot;
  region.flags = flags;
  region.guest_phys_addr = gpa;
  region.memory_size = memory.size;
  region.userspace_addr = memory.region->address() + offset;
  Check(ioctl(fd_, KVM_SET_USER_MEMORY_REGION, &region), kSetRegion);
  slots_[slot] = std::move(memory);
}

void Machine::RemoveSlot(uint32_t slot) {
  kvm_userspace_memory_region none{};
  none.slot = slot;
  Check(ioctl(fd_, KVM_SET_USER_MEMORY_REGION, &none), kSetRegion);
  slots_.erase(slot);
}

std::vector<uint8_t> Machine::DirtyLog(uint32_t slot) const {
  constexpr char kName[] = "ioctl KVM_GET_DIRTY_LOG";
  const auto found = slots_.find(slot);
  if (found == slots_.end()) Fail(ENOENT, kName);
  const uint64_t pages = found->second.size / sysconf(_SC_PAGESIZE);
  // The kernel writes whole words.
  std::vector<uint8_t> bits((pages + 63) / 64 * 8);
  kvm_dirty_log log{};
  log.slot = slot;
  log.dirty_bitmap = bits.data();
  Check(ioctl(fd_, KVM_GET_DIRTY_LOG, &log), kName);
  bits.resize((pages + 7) / 8);
  return bits;
}

std::shared_ptr<Machine> Machine::Of(const Napi::Value& value) {
  if (value.IsObject() && value.As<Napi::Object>().CheckTypeTag(&kTag)) {
    const auto* wrap = KvmMachine::Unwrap(value.As<Napi::Object>());
    if (wrap->machine()) return wrap->machine();
  }
  throw Napi::TypeError::New(value.Env(), "Expected a virtual machine that is not closed");
}

void RegisterKvmMachine(Napi::Env env, Napi::Object exports) {
  exports.Set("KvmMachine", KvmMachine::Define(env));
}

}  // namespace exmem
