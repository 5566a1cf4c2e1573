// SPDX-License-Identifier: MIT
// A line without echo, from a terminal straight into a mapping.
#include <napi.h>
#include <termios.h>
#include <unistd.h>

#include <memory>

#include "blocking.h"
#include "errors.h"
#include "mapping.h"
#include "subjects.h"

namespace exmem {

namespace {

enum class Line { kOpen, kDone, kCancelled, kTooLong };

struct Editor {
  std::shared_ptr<Region> region;
  size_t length;
  Line line = Line::kOpen;

  // The byte at data()[length] was just read. It is judged where it is, so
  // that no copy of it is made.
  void Take();

 private:
  void Erase();
};

void Editor::Erase() {
  // A UTF-8 character is its first byte and the 10xxxxxx bytes that follow.
  uint8_t* const data = region->data();
  while (length > 0) {
    length--;
    const bool continuation = (data[length] & 0xC0) == 0x80;
    data[length] = 0;
    if (!continuation) break;
  }
}

void Editor::Take() {
  uint8_t& byte = region->data()[length];
  switch (byte) {
    case '\r':
    case '\n':
    case 0x04:  // ^D
      line = Line::kDone;
      break;
    case 0x03:  // ^C
      line = Line::kCancelled;
      break;
    case 0x08:  // ^H
    case 0x7F:  // backspace
      byte = 0;
      Erase();
      return;
    case 0x15:  // ^U
      byte = 0;
      while (length > 0) Erase();
      return;
    default:
      // The last byte of the region is only ever a place to read into.
      if (length + 1 == region->byte_length()) {
        line = Line::kTooLong;
        break;
      }
      length++;
      return;
  }
  byte = 0;
}

// readLine(fd, mapping, length, timeoutMs): goes on with a line of which
// `length` bytes are in the mapping. Resolves to { state, length }.
Napi::Value ReadLine(const Napi::CallbackInfo& info) {
  const auto fd = std::make_shared<BorrowedFd>(info[0].As<Napi::Number>().Int32Value());
  const auto editor = std::make_shared<Editor>();
  editor->region = Mapping::RegionOf(info[1]);
  editor->length = info[2].As<Napi::Number>().Int64Value();
  const int timeout_ms = info[3].As<Napi::Number>().Int32Value();
  if (editor->length >= editor->region->byte_length()) {
    throw Napi::RangeError::New(info.Env(), "length");
  }
  return RunBlocking(
      info.Env(),
      [=] {
        while (editor->line == Line::kOpen && WaitReadable(fd->get(), timeout_ms)) {
          const ssize_t got = read(fd->get(), editor->region->data() + editor->length, 1);
          if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
          // Not the end of the line but of the terminal: it hung up, and what
          // was typed so far is not what the user meant.
          if (Check(got, "read") == 0) Fail(EIO, "read");
          editor->Take();
        }
      },
      [editor](Napi::Env env) {
        constexpr const char* kNames[] = {"open", "done", "cancelled", "too long"};
        Napi::Object result = Napi::Object::New(env);
        result.Set("state", kNames[static_cast<int>(editor->line)]);
        result.Set("length", Napi::Number::New(env, static_cast<double>(editor->length)));
        return result;
      });
}

// muteTerminal(fd): no echo, no line discipline, no signals from keys. Returns
// what restoreTerminal() needs.
Napi::Value MuteTerminal(const Napi::CallbackInfo& info) {
  const int fd = info[0].As<Napi::Number>().Int32Value();
  termios before;
  Check(tcgetattr(fd, &before), "tcgetattr");
  termios muted = before;
  muted.c_lflag &= ~(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
  muted.c_iflag &= ~(IXON | ISTRIP | INLCR | IGNCR);
  muted.c_cc[VMIN] = 1;
  muted.c_cc[VTIME] = 0;
  // TCSAFLUSH drops what was typed ahead, with echo, before the prompt.
  Check(tcsetattr(fd, TCSAFLUSH, &muted), "tcsetattr");
  return Napi::Buffer<uint8_t>::Copy(info.Env(), reinterpret_cast<uint8_t*>(&before),
                                     sizeof(before));
}

// restoreTerminal(fd, state)
Napi::Value RestoreTerminal(const Napi::CallbackInfo& info) {
  const int fd = info[0].As<Napi::Number>().Int32Value();
  Napi::Uint8Array state = info[1].As<Napi::Uint8Array>();
  if (state.ByteLength() != sizeof(termios)) throw Napi::TypeError::New(info.Env(), "state");
  termios before;
  std::memcpy(&before, state.Data(), sizeof(before));
  // TCSAFLUSH again: the rest of a cancelled line must not reach the shell.
  Check(tcsetattr(fd, TCSAFLUSH, &before), "tcsetattr");
  return info.Env().Undefined();
}

}  // namespace

void RegisterTerminal(Napi::Env env, Napi::Object exports) {
  Export<ReadLine>(env, exports, "readLine");
  Export<MuteTerminal>(env, exports, "muteTerminal");
  Export<RestoreTerminal>(env, exports, "restoreTerminal");
}

}  // namespace exmem
