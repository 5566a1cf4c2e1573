// SPDX-License-Identifier: MIT
// Everything that touches the bytes of a mapping without JavaScript seeing them.
#include <napi.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "blocking.h"
#include "errors.h"
#include "mapping.h"
#include "subjects.h"

namespace exmem {

namespace {

// fillRandom(mapping): getrandom(2) straight into it.
Napi::Value FillRandom(const Napi::CallbackInfo& info) {
  const auto region = Mapping::RegionOf(info[0]);
  size_t done = 0;
  while (done < region->byte_length()) {
    const ssize_t got = getrandom(region->data() + done, region->byte_length() - done, 0);
    if (got < 0 && errno == EINTR) continue;
    done += Check(got, "getrandom");
  }
  return info.Env().Undefined();
}

// wipe(mapping)
Napi::Value Wipe(const Napi::CallbackInfo& info) {
  const auto region = Mapping::RegionOf(info[0]);
  explicit_bzero(region->data(), region->byte_length());
  return info.Env().Undefined();
}

// equal(a, b): the time it takes depends on the lengths alone.
Napi::Value Equal(const Napi::CallbackInfo& info) {
  const auto a = Mapping::RegionOf(info[0]);
  const auto b = Mapping::RegionOf(info[1]);
  if (a->byte_length() != b->byte_length()) return Napi::Boolean::New(info.Env(), false);
  // volatile keeps the compiler from stopping at the first difference.
  const volatile uint8_t* left = a->data();
  const volatile uint8_t* right = b->data();
  volatile uint8_t difference = 0;
  for (size_t i = 0; i < a->byte_length(); i++) difference = difference | (left[i] ^ right[i]);
  return Napi::Boolean::New(info.Env(), difference == 0);
}

// copy(from, to): as many bytes as fit.
Napi::Value Copy(const Napi::CallbackInfo& info) {
  const auto from = Mapping::RegionOf(info[0]);
  const auto to = Mapping::RegionOf(info[1]);
  std::memmove(to->data(), from->data(), std::min(from->byte_length(), to->byte_length()));
  return info.Env().Undefined();
}

// The part of an Uint8Array that the arguments from `at` on name: start, length.
uint8_t* PartOf(const Napi::CallbackInfo& info, size_t at, size_t room) {
  Napi::Uint8Array bytes = info[at].As<Napi::Uint8Array>();
  const size_t start = info[at + 1].As<Napi::Number>().Int64Value();
  const size_t length = info[at + 2].As<Napi::Number>().Int64Value();
  if (start > bytes.ByteLength() || length > bytes.ByteLength() - start || length > room) {
    throw Napi::RangeError::New(info.Env(), "length");
  }
  return bytes.Data() + start;
}

// Where the arguments say a copy begins in a mapping, and how much is left there.
std::pair<std::shared_ptr<Region>, size_t> PlaceOf(const Napi::CallbackInfo& info) {
  const auto region = Mapping::RegionOf(info[0]);
  const size_t offset = info[1].As<Napi::Number>().Int64Value();
  if (offset > region->byte_length()) throw Napi::RangeError::New(info.Env(), "offset");
  return {region, offset};
}

// copyOut(mapping, offset, bytes, start, length): out of a mapping, into `bytes`
// from `start` on.
Napi::Value CopyOut(const Napi::CallbackInfo& info) {
  const auto [region, offset] = PlaceOf(info);
  uint8_t* const to = PartOf(info, 2, region->byte_length() - offset);
  std::memmove(to, region->data() + offset, info[4].As<Napi::Number>().Int64Value());
  return info.Env().Undefined();
}

// copyIn(mapping, offset, bytes, start, length): the other way.
Napi::Value CopyIn(const Napi::CallbackInfo& info) {
  const auto [region, offset] = PlaceOf(info);
  const uint8_t* const from = PartOf(info, 2, region->byte_length() - offset);
  std::memmove(region->data() + offset, from, info[4].As<Napi::Number>().Int64Value());
  return info.Env().Undefined();
}

// read(fd, mapping, offset, timeoutMs): fills the mapping from `offset` on with
// what one read(2) gives. Resolves to the count, 0 at the end of the input and
// -1 if nothing came in time.
Napi::Value Read(const Napi::CallbackInfo& info) {
  const auto fd = std::make_shared<BorrowedFd>(info[0].As<Napi::Number>().Int32Value());
  const auto region = Mapping::RegionOf(info[1]);
  const size_t offset = info[2].As<Napi::Number>().Int64Value();
  const int timeout_ms = info[3].As<Napi::Number>().Int32Value();
  if (offset >= region->byte_length()) throw Napi::RangeError::New(info.Env(), "offset");
  const auto count = std::make_shared<ssize_t>(-1);
  return RunBlocking(
      info.Env(),
      [=] {
        if (!WaitReadable(fd->get(), timeout_ms)) return;
        const ssize_t got =
            read(fd->get(), region->data() + offset, region->byte_length() - offset);
        if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
        *count = Check(got, "read");
      },
      [count](Napi::Env env) { return Napi::Number::New(env, *count); });
}

}  // namespace

void RegisterBytes(Napi::Env env, Napi::Object exports) {
  Export<FillRandom>(env, exports, "fillRandom");
  Export<Wipe>(env, exports, "wipe");
  Export<Equal>(env, exports, "equal");
  Export<Copy>(env, exports, "copy");
  Export<CopyOut>(env, exports, "copyOut");
  Export<CopyIn>(env, exports, "copyIn");
  Export<Read>(env, exports, "read");
}

}  // namespace exmem
