// SPDX-License-Identifier: MIT
// The ioctls of guest objects.
#include <linux/exclusive_memory.h>
#include <napi.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "blocking.h"
#include "errors.h"
#include "subjects.h"

namespace exmem {

namespace {

int Fd(const Napi::Value& value) { return value.As<Napi::Number>().Int32Value(); }

int64_t Number(const Napi::Value& value) { return value.As<Napi::Number>().Int64Value(); }

void CopyIn(int fd, uint64_t offset, const uint8_t* from, size_t length) {
  exmem_populate request{};
  request.offset = offset;
  request.len = length;
  request.src = reinterpret_cast<uintptr_t>(from);
  Check(ioctl(fd, EXMEM_POPULATE, &request), "ioctl EXMEM_POPULATE");
}

// populate(fd, offset, room, sourceFd, sourceOffset, length, timeoutMs): copies
// in what one read(2) of at most `length` bytes gives, by way of a buffer that
// JavaScript never sees, but no more than `room` bytes of it. sourceOffset -1
// reads where the source stands. Resolves to how much was read, 0 at the end of
// the source and -1 if nothing came in time.
Napi::Value Populate(const Napi::CallbackInfo& info) {
  const auto fd = std::make_shared<BorrowedFd>(Fd(info[0]));
  const uint64_t offset = Number(info[1]);
  const int64_t room = Number(info[2]);
  const auto source = std::make_shared<BorrowedFd>(Fd(info[3]));
  const off_t source_offset = Number(info[4]);
  const size_t length = Number(info[5]);
  const int timeout_ms = info[6].As<Napi::Number>().Int32Value();
  const auto count = std::make_shared<ssize_t>(-1);
  return RunBlocking(
      info.Env(),
      [=] {
        if (!WaitReadable(source->get(), timeout_ms)) return;
        const auto buffer = std::make_unique_for_overwrite<uint8_t[]>(length);
        const ssize_t got = source_offset < 0
                                ? read(source->get(), buffer.get(), length)
                                : pread(source->get(), buffer.get(), length, source_offset);
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
        Check(got, "read");
        const ssize_t fitting = std::min<int64_t>(got, room);
        if (fitting > 0) CopyIn(fd->get(), offset, buffer.get(), fitting);
        *count = got;
      },
      [count](Napi::Env env) { return Napi::Number::New(env, *count); });
}

// populateBytes(fd, offset, bytes, start, length): copies in a part of `bytes`.
Napi::Value PopulateBytes(const Napi::CallbackInfo& info) {
  const Napi::Uint8Array bytes = info[2].As<Napi::Uint8Array>();
  const size_t start = Number(info[3]);
  const size_t length = Number(info[4]);
  // Fewer than before if the buffer was transferred away meanwhile.
  if (start > bytes.ByteLength() || length > bytes.ByteLength() - start) {
    throw Napi::RangeError::New(info.Env(), "length");
  }
  CopyIn(Fd(info[0]), Number(info[1]), bytes.Data() + start, length);
  return info.Env().Undefined();
}

// seal(fd, what): STATE_CONTENT_SEALED, STATE_LAYOUT_SEALED.
Napi::Value Seal(const Napi::CallbackInfo& info) {
  const __u32 what = info[1].As<Napi::Number>().Uint32Value();
  Check(ioctl(Fd(info[0]), EXMEM_SEAL, &what), "ioctl EXMEM_SEAL");
  return info.Env().Undefined();
}

// setShared(fd, offset, size, flags)
Napi::Value SetShared(const Napi::CallbackInfo& info) {
  exmem_share request{};
  request.offset = Number(info[1]);
  request.len = Number(info[2]);
  request.flags = info[3].As<Napi::Number>().Uint32Value();
  Check(ioctl(Fd(info[0]), EXMEM_SET_SHARED, &request), "ioctl EXMEM_SET_SHARED");
  return info.Env().Undefined();
}

// bindVm(fd, vmFd)
Napi::Value BindVm(const Napi::CallbackInfo& info) {
  const __s32 vm = Fd(info[1]);
  Check(ioctl(Fd(info[0]), EXMEM_BIND_VM, &vm), "ioctl EXMEM_BIND_VM");
  return info.Env().Undefined();
}

}  // namespace

void RegisterGuest(Napi::Env env, Napi::Object exports) {
  Export<Populate>(env, exports, "populate");
  Export<PopulateBytes>(env, exports, "populateBytes");
  Export<Seal>(env, exports, "seal");
  Export<SetShared>(env, exports, "setShared");
  Export<BindVm>(env, exports, "bindVm");
}

}  // namespace exmem
