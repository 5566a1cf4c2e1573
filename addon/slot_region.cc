// SPDX-License-Identifier: MIT
#include "slot_region.h"

#include <sys/mman.h>

#include "errors.h"
#include "subjects.h"

namespace exmem {

namespace {

constexpr napi_type_tag kTag = {0x51c06e0b2f6a4c1d, 0x8a7be4d0937f2c56};

// By the numbers that JavaScript has for them.
constexpr int kProtections[] = {PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE};

void* Map(int fd, size_t size, off_t offset, int protection) {
  void* const address = mmap(nullptr, size, protection, MAP_SHARED, fd, offset);
  if (address == MAP_FAILED) Fail(errno, "mmap");
  return address;
}

class SlotRegionHandle : public Napi::ObjectWrap<SlotRegionHandle> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "SlotRegion", {InstanceMethod<&SlotRegionHandle::Release>("release")});
  }

  // new SlotRegion(fd, size, offset, access)
  explicit SlotRegionHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
    const size_t size = info[1].As<Napi::Number>().Int64Value();
    const off_t offset = info[2].As<Napi::Number>().Int64Value();
    const uint32_t access = info[3].As<Napi::Number>().Uint32Value();
    try {
      if (access >= std::size(kProtections)) Fail(EINVAL, "mmap");
      region_ = std::make_shared<SlotRegion>(info[0].As<Napi::Number>().Int32Value(), size, offset,
                                             kProtections[access]);
    } catch (const SystemFailure& failure) {
      throw failure.ToError(info.Env());
    }
    info.This().As<Napi::Object>().TypeTag(&kTag);
  }

  const std::shared_ptr<SlotRegion>& region() const { return region_; }

 private:
  void Release(const Napi::CallbackInfo&) { region_.reset(); }

  std::shared_ptr<SlotRegion> region_;
};

}  // namespace

SlotRegion::SlotRegion(int fd, size_t size, off_t offset, int protection)
    : size_(size), base_(Map(fd, size, offset, protection)) {}

SlotRegion::~SlotRegion() { munmap(base_, size_); }

std::shared_ptr<SlotRegion> SlotRegion::Of(const Napi::Value& value) {
  if (value.IsObject() && value.As<Napi::Object>().CheckTypeTag(&kTag)) {
    const auto* handle = SlotRegionHandle::Unwrap(value.As<Napi::Object>());
    if (handle->region()) return handle->region();
  }
  throw Napi::TypeError::New(value.Env(), "Expected a slot region that is not released");
}

void RegisterSlotRegion(Napi::Env env, Napi::Object exports) {
  exports.Set("SlotRegion", SlotRegionHandle::Define(env));
}

}  // namespace exmem
