// SPDX-License-Identifier: MIT
// SCM_RIGHTS over an AF_UNIX socket: unix(7).
#include <napi.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "errors.h"
#include "subjects.h"

namespace exmem {

namespace {

// SCM_MAX_FD of the kernel; a message with more is refused with EINVAL.
constexpr size_t kMaxDescriptors = 253;

struct Control {
  alignas(cmsghdr) char bytes[CMSG_SPACE(sizeof(int) * kMaxDescriptors)];
};

// socketPair(): two connected AF_UNIX SOCK_SEQPACKET sockets, close-on-exec.
Napi::Value SocketPair(const Napi::CallbackInfo& info) {
  int fds[2];
  Check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), "socketpair");
  Napi::Array result = Napi::Array::New(info.Env(), 2);
  result.Set(0u, Napi::Number::New(info.Env(), fds[0]));
  result.Set(1u, Napi::Number::New(info.Env(), fds[1]));
  return result;
}

// send(socketFd, payload, fds)
Napi::Value Send(const Napi::CallbackInfo& info) {
  const int socket = info[0].As<Napi::Number>().Int32Value();
  Napi::Uint8Array payload = info[1].As<Napi::Uint8Array>();
  Napi::Array list = info[2].As<Napi::Array>();
  std::vector<int> fds;
  for (uint32_t i = 0; i < list.Length(); i++) {
    fds.push_back(list.Get(i).As<Napi::Number>().Int32Value());
  }
  if (fds.size() > kMaxDescriptors) Fail(EINVAL, "sendmsg");

  Control control{};
  iovec vector{payload.Data(), payload.ByteLength()};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    std::memcpy(CMSG_DATA(header), fds.data(), sizeof(int) * fds.size());
  }

  ssize_t sent;
  do {
    sent = sendmsg(socket, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  Check(sent, "sendmsg");
  return info.Env().Undefined();
}

// receive(socketFd, payload, timeoutMs): { length, fds, truncated }. The bytes
// are in `payload` afterwards; ETIMEDOUT if nothing came.
Napi::Value Receive(const Napi::CallbackInfo& info) {
  const int socket = info[0].As<Napi::Number>().Int32Value();
  Napi::Uint8Array payload = info[1].As<Napi::Uint8Array>();
  const int timeout_ms = info[2].As<Napi::Number>().Int32Value();

  Control control{};
  iovec vector{payload.Data(), payload.ByteLength()};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof(control.bytes);

  pollfd entry{socket, POLLIN, 0};
  int ready;
  do {
    ready = poll(&entry, 1, timeout_ms);
  } while (ready < 0 && errno == EINTR);
  if (Check(ready, "poll") == 0) Fail(ETIMEDOUT, "recvmsg");

  ssize_t got;
  do {
    got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  Check(got, "recvmsg");

  Napi::Array fds = Napi::Array::New(info.Env());
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
      fds.Set(fds.Length(), Napi::Number::New(info.Env(), fd));
    }
  }
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("length", Napi::Number::New(info.Env(), got));
  result.Set("fds", fds);
  result.Set("truncated",
             Napi::Boolean::New(info.Env(), message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)));
  return result;
}

}  // namespace

void RegisterDescriptorPassing(Napi::Env env, Napi::Object exports) {
  Export<SocketPair>(env, exports, "socketPair");
  Export<Send>(env, exports, "send");
  Export<Receive>(env, exports, "receive");
}

}  // namespace exmem
