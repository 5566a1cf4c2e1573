// SPDX-License-Identifier: MIT
// The ioctls of the control file of a memory view.
#include <linux/exclusive_memory.h>
#include <napi.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "blocking.h"
#include "errors.h"
#include "subjects.h"

namespace exmem {

namespace {

int Fd(const Napi::CallbackInfo& info) { return info[0].As<Napi::Number>().Int32Value(); }

__u64 Number(const Napi::Value& value) { return value.As<Napi::Number>().Int64Value(); }

// viewSetSize(controlFd, bytes)
Napi::Value SetSize(const Napi::CallbackInfo& info) {
  const __u64 size = Number(info[1]);
  Check(ioctl(Fd(info), MEMVIEW_SET_SIZE, &size), "ioctl MEMVIEW_SET_SIZE");
  return info.Env().Undefined();
}

// viewMapFd(controlFd, sourceFd, sourceOffset, size, at, flags)
Napi::Value MapFd(const Napi::CallbackInfo& info) {
  memview_map_fd_info request{};
  request.fd = info[1].As<Napi::Number>().Int32Value();
  request.fd_offset = Number(info[2]);
  request.size = Number(info[3]);
  request.mem_offset = Number(info[4]);
  request.flags = info[5].As<Napi::Number>().Uint32Value();
  Check(ioctl(Fd(info), MEMVIEW_MAP_FD, &request), "ioctl MEMVIEW_MAP_FD");
  return info.Env().Undefined();
}

// viewMapMemory(controlFd, bytes, at, flags). Whoever calls it keeps the bytes
// where they are for as long as the view shows them.
Napi::Value MapMemory(const Napi::CallbackInfo& info) {
  Napi::Uint8Array bytes = info[1].As<Napi::Uint8Array>();
  memview_map_mem request{};
  request.addr = reinterpret_cast<uintptr_t>(bytes.Data());
  request.size = bytes.ByteLength();
  request.mem_offset = Number(info[2]);
  request.flags = info[3].As<Napi::Number>().Uint32Value();
  Check(ioctl(Fd(info), MEMVIEW_MAP_MEM, &request), "ioctl MEMVIEW_MAP_MEM");
  return info.Env().Undefined();
}

// offsetInPage(bytes): of the first one.
Napi::Value OffsetInPage(const Napi::CallbackInfo& info) {
  Napi::Uint8Array bytes = info[0].As<Napi::Uint8Array>();
  const uintptr_t address = reinterpret_cast<uintptr_t>(bytes.Data());
  return Napi::Number::New(info.Env(), address % sysconf(_SC_PAGESIZE));
}

// viewUnmap(controlFd, at, size)
Napi::Value Unmap(const Napi::CallbackInfo& info) {
  const memview_unmap request{Number(info[1]), Number(info[2])};
  Check(ioctl(Fd(info), MEMVIEW_UNMAP_FD, &request), "ioctl MEMVIEW_UNMAP_FD");
  return info.Env().Undefined();
}

// viewProtect(controlFd, at, size, flags)
Napi::Value Protect(const Napi::CallbackInfo& info) {
  memview_protect request{};
  request.mem_offset = Number(info[1]);
  request.size = Number(info[2]);
  request.flags = info[3].As<Napi::Number>().Uint32Value();
  Check(ioctl(Fd(info), MEMVIEW_PROTECT, &request), "ioctl MEMVIEW_PROTECT");
  return info.Env().Undefined();
}

// viewGetHandle(controlFd, cap): a view fd.
Napi::Value GetHandle(const Napi::CallbackInfo& info) {
  const unsigned long cap = info[1].As<Napi::Number>().Uint32Value();
  const int fd = Check(ioctl(Fd(info), MEMVIEW_GET_VIEWFD, cap), "ioctl MEMVIEW_GET_VIEWFD");
  return Napi::Number::New(info.Env(), fd);
}

std::vector<memview_range> RangesOf(int fd) {
  std::vector<memview_range> ranges(64);
  for (;;) {
    memview_get_ranges request{};
    request.ranges = reinterpret_cast<uintptr_t>(ranges.data());
    request.capacity = ranges.size();
    Check(ioctl(fd, MEMVIEW_GET_RANGES, &request), "ioctl MEMVIEW_GET_RANGES");
    const bool all = request.count <= ranges.size();
    // Another thread may add some meanwhile: there is room for twice as many.
    ranges.resize(all ? request.count : 2 * size_t{request.count});
    if (all) return ranges;
  }
}

// viewGetRanges(controlFd): { at, size, offset, flags, kind } of each range, in
// order. The offset in the memory of a process is an address.
Napi::Value GetRanges(const Napi::CallbackInfo& info) {
  const std::vector<memview_range> ranges = RangesOf(Fd(info));
  Napi::Array result = Napi::Array::New(info.Env(), ranges.size());
  for (size_t i = 0; i < ranges.size(); i++) {
    const memview_range& range = ranges[i];
    Napi::Object entry = Napi::Object::New(info.Env());
    const auto add = [&](const char* name, uint64_t value) {
      entry.Set(name, Napi::Number::New(info.Env(), static_cast<double>(value)));
    };
    add("at", range.mem_offset);
    add("size", range.size);
    add("offset", range.offset);
    add("flags", range.flags);
    add("kind", range.kind);
    result.Set(static_cast<uint32_t>(i), entry);
  }
  return result;
}

// viewSync(controlFd): resolves when every change of a source so far has
// reached every mapping.
Napi::Value Sync(const Napi::CallbackInfo& info) {
  const auto fd = std::make_shared<BorrowedFd>(Fd(info));
  return RunBlocking(
      info.Env(),
      [=] {
        int result;
        do {
          result = ioctl(fd->get(), MEMVIEW_SYNC);
        } while (result < 0 && errno == EINTR);
        Check(result, "ioctl MEMVIEW_SYNC");
      },
      [](Napi::Env env) { return env.Undefined(); });
}

}  // namespace

void RegisterView(Napi::Env env, Napi::Object exports) {
  Export<SetSize>(env, exports, "viewSetSize");
  Export<MapFd>(env, exports, "viewMapFd");
  Export<MapMemory>(env, exports, "viewMapMemory");
  Export<OffsetInPage>(env, exports, "offsetInPage");
  Export<Unmap>(env, exports, "viewUnmap");
  Export<Protect>(env, exports, "viewProtect");
  Export<GetHandle>(env, exports, "viewGetHandle");
  Export<GetRanges>(env, exports, "viewGetRanges");
  Export<Sync>(env, exports, "viewSync");
}

}  // namespace exmem
