// SPDX-License-Identifier: MIT
// AF_UNIX sockets from their making to their end: unix(7). What goes through
// them is in descriptor_passing.cc.
#include <fcntl.h>
#include <napi.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "errors.h"
#include "handover.h"
#include "subjects.h"

// Newer than the headers of some distributions.
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

namespace exmem {

namespace {

struct Address {
  // A path without its end, or a zero byte and an abstract name.
  explicit Address(const Napi::Value& value) {
    Napi::Uint8Array name = value.As<Napi::Uint8Array>();
    if (name.ByteLength() >= sizeof(socket_address.sun_path)) Fail(ENAMETOOLONG, "bind");
    socket_address.sun_family = AF_UNIX;
    std::memcpy(socket_address.sun_path, name.Data(), name.ByteLength());
    const bool abstract = name.ByteLength() > 0 && socket_address.sun_path[0] == '\0';
    length = offsetof(sockaddr_un, sun_path) + name.ByteLength() + (abstract ? 0 : 1);
  }

  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&socket_address); }

  sockaddr_un socket_address{};
  socklen_t length;
};

int FdOf(const Napi::Value& value) { return value.As<Napi::Number>().Int32Value(); }

int Option(int socket, int option) {
  int value = 0;
  socklen_t length = sizeof(value);
  Check(getsockopt(socket, SOL_SOCKET, option, &value, &length), "getsockopt");
  return value;
}

// unixSocket(type): 'seqpacket', 'stream' or 'dgram', close-on-exec; no call waits on it.
Napi::Value UnixSocket(const Napi::CallbackInfo& info) {
  const std::string name = info[0].As<Napi::String>();
  const int type = name == "seqpacket" ? SOCK_SEQPACKET : name == "stream" ? SOCK_STREAM : SOCK_DGRAM;
  return HandOver(info.Env(),
                  Check(socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket"));
}

// unixBind(fd, address)
Napi::Value UnixBind(const Napi::CallbackInfo& info) {
  const Address address(info[1]);
  Check(bind(FdOf(info[0]), address.get(), address.length), "bind");
  return info.Env().Undefined();
}

// unixListen(fd, backlog)
Napi::Value UnixListen(const Napi::CallbackInfo& info) {
  Check(listen(FdOf(info[0]), info[1].As<Napi::Number>().Int32Value()), "listen");
  return info.Env().Undefined();
}

// unixConnect(fd, address): whether it is connected; false while the
// listener's queue is full, of which poll(2) knows nothing.
Napi::Value UnixConnect(const Napi::CallbackInfo& info) {
  const Address address(info[1]);
  const int result = connect(FdOf(info[0]), address.get(), address.length);
  if (result < 0 && errno != EAGAIN) Fail(errno, "connect");
  return Napi::Boolean::New(info.Env(), result == 0);
}

// tryAccept(fd): the new descriptor; -1 if nobody waits.
Napi::Value TryAccept(const Napi::CallbackInfo& info) {
  int fd;
  do {
    fd = accept4(FdOf(info[0]), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
  } while (fd < 0 && errno == EINTR);
  if (fd >= 0) return HandOver(info.Env(), fd);
  if (errno != EAGAIN) Fail(errno, "accept4");
  return Napi::Number::New(info.Env(), -1);
}

// endSending(fd): no more goes out; what went can still be read.
Napi::Value EndSending(const Napi::CallbackInfo& info) {
  Check(shutdown(FdOf(info[0]), SHUT_WR), "shutdown");
  return info.Env().Undefined();
}

// peerEnded(fd): whether the other end sends no more.
Napi::Value PeerEnded(const Napi::CallbackInfo& info) {
  pollfd entry{FdOf(info[0]), POLLRDHUP, 0};
  int ready;
  do {
    ready = poll(&entry, 1, 0);
  } while (ready < 0 && errno == EINTR);
  Check(ready, "poll");
  return Napi::Boolean::New(info.Env(), entry.revents & (POLLRDHUP | POLLHUP));
}

// socketKind(fd): 'seqpacket' or 'stream'; 'other' if it is not AF_UNIX, of
// another type, or listens. ENOTSOCK.
Napi::Value SocketKind(const Napi::CallbackInfo& info) {
  const int fd = FdOf(info[0]);
  const int type = Option(fd, SO_TYPE);
  const char* kind = type == SOCK_SEQPACKET ? "seqpacket" : type == SOCK_STREAM ? "stream" : "other";
  if (Option(fd, SO_DOMAIN) != AF_UNIX || Option(fd, SO_ACCEPTCONN)) kind = "other";
  return Napi::String::New(info.Env(), kind);
}

// peerCredentials(fd): { pid, uid, gid }, of SO_PEERCRED.
Napi::Value PeerCredentials(const Napi::CallbackInfo& info) {
  ucred credentials{};
  socklen_t length = sizeof(credentials);
  Check(getsockopt(FdOf(info[0]), SOL_SOCKET, SO_PEERCRED, &credentials, &length), "getsockopt");
  Napi::Object result = Napi::Object::New(info.Env());
  result.Set("pid", Napi::Number::New(info.Env(), credentials.pid));
  result.Set("uid", Napi::Number::New(info.Env(), credentials.uid));
  result.Set("gid", Napi::Number::New(info.Env(), credentials.gid));
  return result;
}

// peerPidfd(fd): a descriptor of the peer's process, close-on-exec as every pidfd.
Napi::Value PeerPidfd(const Napi::CallbackInfo& info) {
  int pidfd = -1;
  socklen_t length = sizeof(pidfd);
  Check(getsockopt(FdOf(info[0]), SOL_SOCKET, SO_PEERPIDFD, &pidfd, &length),
        "getsockopt SO_PEERPIDFD");
  return HandOver(info.Env(), pidfd);
}

// setCloseOnExec(fd): what was inherited goes no further.
Napi::Value SetCloseOnExec(const Napi::CallbackInfo& info) {
  Check(fcntl(FdOf(info[0]), F_SETFD, FD_CLOEXEC), "fcntl");
  return info.Env().Undefined();
}

// tryLock(fd): flock(2), exclusive; false if somebody else has it.
Napi::Value TryLock(const Napi::CallbackInfo& info) {
  const int result = flock(FdOf(info[0]), LOCK_EX | LOCK_NB);
  if (result < 0 && errno != EWOULDBLOCK) Fail(errno, "flock");
  return Napi::Boolean::New(info.Env(), result == 0);
}

}  // namespace

void RegisterChannel(Napi::Env env, Napi::Object exports) {
  Export<UnixSocket>(env, exports, "unixSocket");
  Export<UnixBind>(env, exports, "unixBind");
  Export<UnixListen>(env, exports, "unixListen");
  Export<UnixConnect>(env, exports, "unixConnect");
  Export<TryAccept>(env, exports, "tryAccept");
  Export<EndSending>(env, exports, "endSending");
  Export<PeerEnded>(env, exports, "peerEnded");
  Export<SocketKind>(env, exports, "socketKind");
  Export<PeerCredentials>(env, exports, "peerCredentials");
  Export<PeerPidfd>(env, exports, "peerPidfd");
  Export<SetCloseOnExec>(env, exports, "setCloseOnExec");
  Export<TryLock>(env, exports, "tryLock");
}

}  // namespace exmem
