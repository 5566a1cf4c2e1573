// SPDX-License-Identifier: MIT
// Registration only: every subject exports its own calls.
#include <napi.h>

#include "subjects.h"

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  exmem::RegisterConstants(env, exports);
  exmem::RegisterDescriptor(env, exports);
  exmem::RegisterObject(env, exports);
  exmem::RegisterGuest(env, exports);
  exmem::RegisterView(env, exports);
  exmem::RegisterAccessGuard(env, exports);
  exmem::RegisterMapping(env, exports);
  exmem::RegisterBytes(env, exports);
  exmem::RegisterMemfdSecret(env, exports);
  exmem::RegisterDescriptorPassing(env, exports);
  exmem::RegisterHandover(env, exports);
  exmem::RegisterChannel(env, exports);
  exmem::RegisterReadiness(env, exports);
  exmem::RegisterTerminal(env, exports);
  exmem::RegisterLimits(env, exports);
  exmem::RegisterSlotRegion(env, exports);
  exmem::RegisterKvm(env, exports);
  exmem::RegisterKvmMachine(env, exports);
  exmem::RegisterKvmProcessor(env, exports);
  exmem::RegisterSeccomp(env, exports);
  return exports;
}

NODE_API_MODULE(exclusive_memory, Init)
