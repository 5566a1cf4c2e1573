// SPDX-License-Identifier: MIT
// SCM_RIGHTS over an AF_UNIX socket: unix(7). The only sendmsg(2) and
// recvmsg(2) of the addon.
#include <napi.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "errors.h"
#include "handover.h"
#include "subjects.h"

// Newer than the headers of some distributions.
#ifndef SCM_PIDFD
#define SCM_PIDFD 0x04
#endif

namespace exmem {

namespace {

// SCM_MAX_FD of the kernel; a message with more is refused with EINVAL.
constexpr size_t kMaxDescriptors = 253;

struct Control {
  // What the socket's owner before us may have switched on comes first
  // (SO_PASSCRED, SO_PASSPIDFD, SO_PASSSEC), and must not take the room.
  alignas(cmsghdr) char bytes[CMSG_SPACE(sizeof(int) * kMaxDescriptors) +
                              CMSG_SPACE(sizeof(ucred)) + CMSG_SPACE(sizeof(int)) +
                              CMSG_SPACE(256)];
};

// socketPair(seqpacket): two connected AF_UNIX sockets, SOCK_SEQPACKET or
// SOCK_STREAM, close-on-exec. They block where a call does not say otherwise:
// one of them may go to a program that expects that.
Napi::Value SocketPair(const Napi::CallbackInfo& info) {
  const int type = info[0].ToBoolean() ? SOCK_SEQPACKET : SOCK_STREAM;
  int fds[2];
  Check(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds), "socketpair");
  const Napi::Number ends[] = {HandOver(info.Env(), fds[0]), HandOver(info.Env(), fds[1])};
  Napi::Array result = Napi::Array::New(info.Env(), 2);
  result.Set(0u, ends[0]);
  result.Set(1u, ends[1]);
  return result;
}

// One sendmsg(2) of the arguments (socketFd, payload, fds): how many bytes the
// kernel took, or -1 with errno.
ssize_t SendOnce(const Napi::CallbackInfo& info, int flags) {
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
    sent = sendmsg(socket, &message, MSG_NOSIGNAL | flags);
  } while (sent < 0 && errno == EINTR);
  return sent;
}

// send(socketFd, payload, fds): waits for room in the socket's buffer.
Napi::Value Send(const Napi::CallbackInfo& info) {
  Check(SendOnce(info, 0), "sendmsg");
  return info.Env().Undefined();
}

// trySend(socketFd, payload, fds): how many bytes went, with all of the
// descriptors; -1 if there is no room.
Napi::Value TrySend(const Napi::CallbackInfo& info) {
  ssize_t sent = SendOnce(info, MSG_DONTWAIT);
  if (sent >= 0 || errno != EAGAIN) Check(sent, "sendmsg");
  return Napi::Number::New(info.Env(), static_cast<double>(sent));
}

// The descriptors that came with a message.
Napi::Array Arrived(Napi::Env env, msghdr* message) {
  std::vector<Napi::Number> fds;
  for (cmsghdr* header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(message, header)) {
    if (header->cmsg_level != SOL_SOCKET) continue;
    const bool rights = header->cmsg_type == SCM_RIGHTS;
    if (!rights && header->cmsg_type != SCM_PIDFD) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
      if (rights) {
        fds.push_back(HandOver(env, fd));
      } else if (fd >= 0) {
        close(fd);  // nobody asked for it
      }
    }
  }
  Napi::Array result = Napi::Array::New(env, fds.size());
  for (uint32_t i = 0; i < fds.size(); i++) result.Set(i, fds[i]);
  return result;
}

// One recvmsg(2) of the arguments (socketFd, payload): { length, fds,
// payloadTruncated, descriptorsTruncated }, or undefined if nothing is there.
// The bytes are in `payload` afterwards.
Napi::Value ReceiveOnce(const Napi::CallbackInfo& info, int flags) {
  const int socket = info[0].As<Napi::Number>().Int32Value();
  Napi::Uint8Array payload = info[1].As<Napi::Uint8Array>();

  Control control{};
  iovec vector{payload.Data(), payload.ByteLength()};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control.bytes;
  message.msg_controllen = sizeof(control.bytes);

  ssize_t got;
  do {
    got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | flags);
  } while (got < 0 && errno == EINTR);
  if (got < 0 && errno == EAGAIN && (flags & MSG_DONTWAIT)) return info.Env().Undefined();
  Check(got, "recvmsg");

  // First of all: whatever fails afterwards, they are known.
  const Napi::Array fds = Arrived(info.Env(), &message);
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("length", Napi::Number::New(info.Env(), static_cast<double>(got)));
  result.Set("payloadTruncated", Napi::Boolean::New(info.Env(), message.msg_flags & MSG_TRUNC));
  result.Set("descriptorsTruncated", Napi::Boolean::New(info.Env(), message.msg_flags & MSG_CTRUNC));
  result.Set("fds", fds);
  return result;
}

// receive(socketFd, payload, timeoutMs): what ReceiveOnce() gives; ETIMEDOUT if
// nothing came.
Napi::Value Receive(const Napi::CallbackInfo& info) {
  pollfd entry{info[0].As<Napi::Number>().Int32Value(), POLLIN, 0};
  int ready;
  do {
    ready = poll(&entry, 1, info[2].As<Napi::Number>().Int32Value());
  } while (ready < 0 && errno == EINTR);
  if (Check(ready, "poll") == 0) Fail(ETIMEDOUT, "recvmsg");
  return ReceiveOnce(info, 0);
}

// tryReceive(socketFd, payload): the same, and undefined if nothing is there.
Napi::Value TryReceive(const Napi::CallbackInfo& info) { return ReceiveOnce(info, MSG_DONTWAIT); }

}  // namespace

void RegisterDescriptorPassing(Napi::Env env, Napi::Object exports) {
  Export<SocketPair>(env, exports, "socketPair");
  Export<Send>(env, exports, "send");
  Export<TrySend>(env, exports, "trySend");
  Export<Receive>(env, exports, "receive");
  Export<TryReceive>(env, exports, "tryReceive");
}

}  // namespace exmem
