// SPDX-License-Identifier: MIT
// The numbers of the uapi header and the kernel, so that TypeScript has none of its own.
#include <linux/exclusive_memory.h>
#include <napi.h>
#include <unistd.h>

#include "subjects.h"

namespace exmem {

void RegisterConstants(Napi::Env env, Napi::Object exports) {
  Napi::Object constants = Napi::Object::New(env);
  const auto add = [&](const char* name, uint32_t value) {
    constants.Set(name, Napi::Number::New(env, value));
  };
  add("API_VERSION", EXMEM_API_VERSION);
  add("NAME_SIZE", EXMEM_NAME_SIZE);
  add("CREATE_GUEST", EXMEM_CREATE_GUEST);
  add("CREATE_HUGE", EXMEM_CREATE_HUGE);
  add("CREATE_HOST_ACCESS", EXMEM_CREATE_HOST_ACCESS);
  add("STATE_MAPPED", EXMEM_STATE_MAPPED);
  add("STATE_DESTROYED", EXMEM_STATE_DESTROYED);
  add("STATE_CONTENT_SEALED", EXMEM_STATE_CONTENT_SEALED);
  add("STATE_LAYOUT_SEALED", EXMEM_STATE_LAYOUT_SEALED);
  add("STATE_BOUND", EXMEM_STATE_BOUND);
  add("STATE_DIRECT_MAP_REMOVED", EXMEM_STATE_DIRECT_MAP_REMOVED);
  add("SHARE_SHARED", EXMEM_SHARE_SHARED);
  add("SHARE_WIPE", EXMEM_SHARE_WIPE);
  add("MEMVIEW_READ", MEMVIEW_MAP_READ);
  add("MEMVIEW_WRITE", MEMVIEW_MAP_WRITE);
  add("MEMVIEW_EXEC", MEMVIEW_MAP_EXEC);
  add("MEMVIEW_REPLACE", MEMVIEW_MAP_REPLACE);
  add("MEMVIEW_YIELD", MEMVIEW_MAP_YIELD);
  add("MEMVIEW_KIND_FILE", MEMVIEW_KIND_FILE);
  add("MEMVIEW_KIND_EXCLUSIVE", MEMVIEW_KIND_EXCLUSIVE);
  add("MEMVIEW_KIND_PROCESS", MEMVIEW_KIND_PROCESS);
  add("PAGE_SIZE", sysconf(_SC_PAGESIZE));
  exports.Set("constants", constants);
}

}  // namespace exmem
