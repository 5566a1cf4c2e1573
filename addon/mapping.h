// SPDX-License-Identifier: MIT
// The JavaScript object that stands for a Region; addresses stay in C++.
#pragma once

#include <napi.h>

#include <memory>

#include "region.h"

namespace exmem {

class Mapping : public Napi::ObjectWrap<Mapping> {
 public:
  static Napi::Function Define(Napi::Env env);

  // new Mapping(fd, byteLength): of a whole object.
  // new Mapping(fd, byteLength, offset, writable): of a window.
  explicit Mapping(const Napi::CallbackInfo& info);

  // The region of a JavaScript Mapping; a TypeError if the value is none, or
  // is unmapped.
  static std::shared_ptr<Region> RegionOf(const Napi::Value& value);

 private:
  Napi::Value View(const Napi::CallbackInfo& info);
  Napi::Value FirstFailure(const Napi::CallbackInfo& info);
  Napi::Value Retire(const Napi::CallbackInfo& info);
  void Unmap(const Napi::CallbackInfo& info);

  std::shared_ptr<Region> region_;
};

}  // namespace exmem
