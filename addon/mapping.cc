// SPDX-License-Identifier: MIT
#include "mapping.h"

#include "errors.h"
#include "subjects.h"

namespace exmem {

namespace {

// Tells a Mapping from any other wrapped object, of this addon or another.
constexpr napi_type_tag kMappingTag = {0x3a1f6c0f5e7b4d29, 0x9b04c1d87e25f6a3};

}  // namespace

Napi::Function Mapping::Define(Napi::Env env) {
  return DefineClass(env, "Mapping",
                     {InstanceMethod<&Mapping::View>("view"),
                      InstanceMethod<&Mapping::FirstFailure>("firstFailure"),
                      InstanceMethod<&Mapping::Retire>("retire"),
                      InstanceMethod<&Mapping::Unmap>("unmap")});
}

Mapping::Mapping(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  const int fd = info[0].As<Napi::Number>().Int32Value();
  const size_t byte_length = info[1].As<Napi::Number>().Int64Value();
  try {
    if (info.Length() > 2) {
      const Window window{info[2].As<Napi::Number>().Int64Value(), info[3].As<Napi::Boolean>()};
      region_ = std::make_shared<Region>(fd, byte_length, window);
    } else {
      region_ = std::make_shared<Region>(fd, byte_length);
    }
  } catch (const SystemFailure& failure) {
    throw failure.ToError(info.Env());
  }
  info.This().As<Napi::Object>().TypeTag(&kMappingTag);
}

std::shared_ptr<Region> Mapping::RegionOf(const Napi::Value& value) {
  if (value.IsObject() && value.As<Napi::Object>().CheckTypeTag(&kMappingTag)) {
    const Mapping* mapping = Unwrap(value.As<Napi::Object>());
    if (mapping->region_) return mapping->region_;
  }
  throw Napi::TypeError::New(value.Env(), "Expected a mapping that is not unmapped");
}

// A new ArrayBuffer over the region. Several can exist at once; each is
// detached on its own.
Napi::Value Mapping::View(const Napi::CallbackInfo& info) {
  const std::shared_ptr<Region> region = RegionOf(info.This());
  auto* owner = new std::shared_ptr<Region>(region);
  try {
    return Napi::ArrayBuffer::New(
        info.Env(), region->Lend(), region->byte_length(),
        [](Napi::BasicEnv, void*, std::shared_ptr<Region>* held) { delete held; }, owner);
  } catch (...) {
    delete owner;
    throw;
  }
}

// What became of the first access that failed: { offset, denied }, or
// undefined if none did. The offset is that of a page in the object or view.
Napi::Value Mapping::FirstFailure(const Napi::CallbackInfo& info) {
  if (!region_) return info.Env().Undefined();
  const FailedAccess failure = region_->first_failure();
  if (failure.loss == Loss::kNone) return info.Env().Undefined();
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("offset", Napi::Number::New(info.Env(), static_cast<double>(failure.offset)));
  result.Set("denied", Napi::Boolean::New(info.Env(), failure.loss == Loss::kDenied));
  return result;
}

// Detaches a view. False if it was detached already, which means that its
// memory was moved to an ArrayBuffer that nobody here knows.
Napi::Value Mapping::Retire(const Napi::CallbackInfo& info) {
  Napi::ArrayBuffer view = info[0].As<Napi::ArrayBuffer>();
  const bool ours = !view.IsDetached();
  if (ours) view.Detach();
  return Napi::Boolean::New(info.Env(), ours);
}

void Mapping::Unmap(const Napi::CallbackInfo& info) {
  if (!region_) return;
  try {
    // The finalizer of a detached view runs on a later turn of the event loop,
    // and that of one that was transferred away when its new owner dies. The
    // object is given back now all the same.
    if (region_.use_count() > 1) region_->Vacate();
  } catch (const SystemFailure& failure) {
    throw failure.ToError(info.Env());
  }
  region_.reset();
}

void RegisterMapping(Napi::Env env, Napi::Object exports) {
  exports.Set("Mapping", Mapping::Define(env));
}

}  // namespace exmem
