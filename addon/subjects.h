// SPDX-License-Identifier: MIT
// What addon.cc registers; each function is defined in the file of its subject.
#pragma once

#include <napi.h>

namespace exmem {

void RegisterConstants(Napi::Env env, Napi::Object exports);
void RegisterDescriptor(Napi::Env env, Napi::Object exports);
void RegisterObject(Napi::Env env, Napi::Object exports);
void RegisterGuest(Napi::Env env, Napi::Object exports);
void RegisterView(Napi::Env env, Napi::Object exports);
void RegisterAccessGuard(Napi::Env env, Napi::Object exports);
void RegisterMapping(Napi::Env env, Napi::Object exports);
void RegisterBytes(Napi::Env env, Napi::Object exports);
void RegisterMemfdSecret(Napi::Env env, Napi::Object exports);
void RegisterDescriptorPassing(Napi::Env env, Napi::Object exports);
void RegisterHandover(Napi::Env env, Napi::Object exports);
void RegisterChannel(Napi::Env env, Napi::Object exports);
void RegisterReadiness(Napi::Env env, Napi::Object exports);
void RegisterTerminal(Napi::Env env, Napi::Object exports);
void RegisterLimits(Napi::Env env, Napi::Object exports);
void RegisterSlotRegion(Napi::Env env, Napi::Object exports);
void RegisterKvm(Napi::Env env, Napi::Object exports);
void RegisterKvmMachine(Napi::Env env, Napi::Object exports);
void RegisterKvmProcessor(Napi::Env env, Napi::Object exports);
void RegisterSeccomp(Napi::Env env, Napi::Object exports);

}  // namespace exmem
