// SPDX-License-Identifier: MIT
// The handlers of SIGBUS and SIGSEGV, of which a process has one each: what is
// not about a guarded range goes to whatever handler was there before. Node.js
// has one for SIGSEGV, by which WebAssembly notices accesses out of bounds.
#include "access_guard.h"

#include <napi.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <new>

#include "errors.h"
#include "subjects.h"

namespace exmem {

// A place in the table that the handlers read. They may run at any instant on
// any thread, so they take no lock: a slot is only ever changed while it is
// empty (begin is 0) and no handler is in it.
struct GuardSlot {
  std::atomic<uintptr_t> begin = 0;
  std::atomic<uintptr_t> end = 0;
  std::atomic<bool> whole = false;
  std::atomic<uint64_t> failure = 0;  // offset of the page | Loss
  std::atomic<uint32_t> placed = 0;   // pages
  std::atomic<uint32_t> handlers = 0;
  GuardSlot* next_free = nullptr;
};

namespace {

// Blocks are added and never freed. Constant initialization and no destructor,
// so that the table works until the very end of the process.
struct Block {
  std::array<GuardSlot, 256> slots;
  std::atomic<Block*> next = nullptr;
};

constinit Block first_block{};
constinit Block* last_block = nullptr;
constinit GuardSlot* free_slots = nullptr;
constinit std::mutex mutex;  // for these two

uintptr_t page_size;

// That many in a range, and the rest of it is as good as lost, too.
constexpr uint32_t kMostPages = 1024;

void FreeAllSlotsOf(Block& block) {
  for (GuardSlot& slot : block.slots) {
    slot.next_free = free_slots;
    free_slots = &slot;
  }
}

// What was there before our handlers.
struct Previous {
  struct sigaction action {};
  std::atomic<bool> used_up = false;  // SA_RESETHAND
};

constinit Previous previous_bus{};
constinit Previous previous_segv{};

Previous& PreviousOf(int signal) { return signal == SIGBUS ? previous_bus : previous_segv; }

bool PlaceZeros(uintptr_t begin, uintptr_t end) {
  return mmap(reinterpret_cast<void*>(begin), end - begin, PROT_READ | PROT_WRITE,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != MAP_FAILED;
}

bool Replace(GuardSlot& slot, uintptr_t address, Loss loss) {
  const uintptr_t begin = slot.begin.load();
  const uintptr_t end = slot.end.load();
  if (begin == 0 || address < begin || address >= end) return false;
  const uintptr_t page = address & ~(page_size - 1);
  // First: once zeros can be read there, nobody may take them for the truth.
  uint64_t none = 0;
  slot.failure.compare_exchange_strong(none, (page - begin) | static_cast<uint64_t>(loss));
  // Pages by themselves are mappings of their own, of which a process may have
  // only so many (vm.max_map_count).
  const bool alone = !slot.whole.load() && slot.placed.fetch_add(1) < kMostPages;
  return (alone && PlaceZeros(page, page + page_size)) || PlaceZeros(begin, end);
}

// Whether the address is in a guarded range, where zeros are now.
bool Absorb(uintptr_t address, Loss loss) {
  for (Block* block = &first_block; block; block = block->next.load()) {
    for (GuardSlot& slot : block->slots) {
      if (address < slot.begin.load() || address >= slot.end.load()) continue;
      // From here on, whoever empties the slot waits for us before unmapping.
      slot.handlers.fetch_add(1);
      const bool absorbed = Replace(slot, address, loss);
      slot.handlers.fetch_sub(1);
      if (absorbed) return true;
    }
  }
  return false;
}

Loss LossOf(int signal, const siginfo_t& info, const void* context) {
  // Bit 4 of the page fault's error code: an instruction fetch. Nobody jumps
  // into data and should survive it.
  const auto& registers = static_cast<const ucontext_t*>(context)->uc_mcontext.gregs;
  if (registers[REG_ERR] & 0x10) return Loss::kNone;
  const int code = info.si_code;
  if (signal == SIGSEGV) {
    // SEGV_MAPERR is also what the kernel says where a driver refuses.
    return code == SEGV_MAPERR || code == SEGV_ACCERR ? Loss::kDenied : Loss::kNone;
  }
  // BUS_MCEERR_AO is about no access of this thread.
  return code > 0 && code != BUS_MCEERR_AO ? Loss::kRevoked : Loss::kNone;
}

// Does what would have been done without us.
void Chain(int signal, siginfo_t* info, void* context) {
  Previous& previous = PreviousOf(signal);
  const struct sigaction& action = previous.action;
  const bool sent = info->si_code <= 0;  // by kill(2) or the like, not by an access
  const bool once = action.sa_flags & SA_RESETHAND;
  const bool handled = action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN &&
                       !(once && previous.used_up.exchange(true));
  if (handled) {
    // The mask that the kernel restores is the one from before our handler.
    pthread_sigmask(SIG_BLOCK, &action.sa_mask, nullptr);
    if (action.sa_flags & SA_NODEFER) {
      sigset_t self;
      sigemptyset(&self);
      sigaddset(&self, signal);
      pthread_sigmask(SIG_UNBLOCK, &self, nullptr);
    }
    if (action.sa_flags & SA_SIGINFO) {
      action.sa_sigaction(signal, info, context);
    } else {
      action.sa_handler(signal);
    }
    return;
  }
  if (sent && action.sa_handler == SIG_IGN) return;
  // An access cannot be ignored: the kernel kills then, too. It is repeated
  // when we return, and one that was sent is sent again.
  struct sigaction fallback {};
  fallback.sa_handler = SIG_DFL;
  sigaction(signal, &fallback, nullptr);
  if (sent) raise(signal);
}

void OnFault(int signal, siginfo_t* info, void* context) {
  const int error = errno;
  const Loss loss = LossOf(signal, *info, context);
  const bool absorbed =
      loss != Loss::kNone && Absorb(reinterpret_cast<uintptr_t>(info->si_addr), loss);
  errno = error;
  if (!absorbed) Chain(signal, info, context);
}

void Install(int signal) {
  // Known before our handler can need it.
  sigaction(signal, nullptr, &PreviousOf(signal).action);
  struct sigaction ours {};
  ours.sa_sigaction = OnFault;
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
  sigemptyset(&ours.sa_mask);
  Check(sigaction(signal, &ours, nullptr), "sigaction");
}

bool IsOurs(int signal) {
  struct sigaction current {};
  sigaction(signal, nullptr, &current);
  return (current.sa_flags & SA_SIGINFO) && current.sa_sigaction == OnFault;
}

// With the mutex held; once.
void Prepare() {
  page_size = sysconf(_SC_PAGESIZE);
  FreeAllSlotsOf(first_block);
  last_block = &first_block;
  Install(SIGBUS);
  Install(SIGSEGV);
}

GuardSlot* TakeSlot() {
  const std::lock_guard lock(mutex);
  if (!last_block) Prepare();
  if (!free_slots) {
    auto* block = new (std::nothrow) Block;
    if (!block) Fail(ENOMEM, "mmap");
    FreeAllSlotsOf(*block);
    last_block->next.store(block);
    last_block = block;
  }
  GuardSlot* const slot = free_slots;
  free_slots = slot->next_free;
  return slot;
}

// displacedHandlers(): the signals whose handler somebody replaced after ours.
// Whether that one passes on to ours what it does not know, nobody can tell.
Napi::Value DisplacedHandlers(const Napi::CallbackInfo& info) {
  Napi::Array names = Napi::Array::New(info.Env());
  const std::lock_guard lock(mutex);
  if (last_block) {
    if (!IsOurs(SIGBUS)) names.Set(names.Length(), "SIGBUS");
    if (!IsOurs(SIGSEGV)) names.Set(names.Length(), "SIGSEGV");
  }
  return names;
}

}  // namespace

AccessGuard::AccessGuard(void* address, size_t length, Replace replace) : slot_(TakeSlot()) {
  const auto begin = reinterpret_cast<uintptr_t>(address);
  slot_->end = begin + length;
  slot_->whole = replace == Replace::kWhole;
  slot_->failure = 0;
  slot_->placed = 0;
  slot_->begin = begin;  // last: now it counts
}

AccessGuard::~AccessGuard() {
  slot_->begin = 0;
  // A handler that found the range before may be about to map there.
  while (slot_->handlers != 0) sched_yield();
  const std::lock_guard lock(mutex);
  slot_->next_free = free_slots;
  free_slots = slot_;
}

FailedAccess AccessGuard::first_failure() const {
  const uint64_t failure = slot_->failure;
  constexpr uint64_t kLossBits = 3;
  return {static_cast<Loss>(failure & kLossBits), static_cast<size_t>(failure & ~kLossBits)};
}

void RegisterAccessGuard(Napi::Env env, Napi::Object exports) {
  Export<DisplacedHandlers>(env, exports, "displacedHandlers");
}

}  // namespace exmem
