// SPDX-License-Identifier: MIT
// The ioctls of KVM that take a structure or a number, by name.
#include <linux/kvm.h>
#include <napi.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include <cstring>
#include <string>

#include "errors.h"
#include "handover.h"
#include "kvm_abi.h"
#include "subjects.h"

namespace exmem {

namespace {

struct KvmCallEntry {
  const char* name;  // as `syscall` of an error
  unsigned long request;
  size_t size = 0;   // of the structure; 0: the argument is a number
  size_t entry = 0;  // of a table, whose first word says how many there are
};

// A table begins with a count and padding.
constexpr size_t kTable = 2 * sizeof(uint32_t);

#define KVM_CALL(name, ...) \
  { "ioctl " #name, name, __VA_ARGS__ }
#define KVM_TABLE(name, entry) \
  { "ioctl " #name, WithHeaderOf(kTable, name), kTable, sizeof(entry) }

constexpr KvmCallEntry kCalls[] = {
    KVM_CALL(KVM_GET_API_VERSION),
    KVM_CALL(KVM_CHECK_EXTENSION),
    KVM_CALL(KVM_GET_VCPU_MMAP_SIZE),
    KVM_TABLE(KVM_GET_SUPPORTED_CPUID, kvm_cpuid_entry2),
    KVM_CALL(KVM_SET_TSS_ADDR),
    KVM_CALL(KVM_CREATE_IRQCHIP),
    KVM_CALL(KVM_CREATE_PIT2, sizeof(kvm_pit_config)),
    KVM_CALL(KVM_ENABLE_CAP, sizeof(kvm_enable_cap)),
    KVM_CALL(KVM_IRQ_LINE, sizeof(kvm_irq_level)),
    KVM_CALL(KVM_IRQFD, sizeof(kvm_irqfd)),
    KVM_CALL(KVM_IOEVENTFD, sizeof(kvm_ioeventfd)),
    KVM_TABLE(KVM_SET_CPUID2, kvm_cpuid_entry2),
    KVM_CALL(KVM_GET_REGS, sizeof(kvm_regs)),
    KVM_CALL(KVM_SET_REGS, sizeof(kvm_regs)),
    KVM_CALL(KVM_GET_SREGS, sizeof(kvm_sregs)),
    KVM_CALL(KVM_SET_SREGS, sizeof(kvm_sregs)),
    KVM_TABLE(KVM_GET_MSRS, kvm_msr_entry),
    KVM_TABLE(KVM_SET_MSRS, kvm_msr_entry),
    KVM_CALL(KVM_GET_TSC_KHZ),
    KVM_CALL(KVM_SET_TSC_KHZ),
};

const KvmCallEntry& Find(Napi::Env env, const std::string& name) {
  for (const KvmCallEntry& call : kCalls) {
    if (name == call.name + std::strlen("ioctl ")) return call;
  }
  throw Napi::TypeError::New(env, "Expected a call of KVM but received " + name);
}

// The memory that the kernel reads and writes: all of it is the array's.
void* StructureOf(const KvmCallEntry& call, const Napi::Value& value) {
  if (value.IsTypedArray()) {
    auto bytes = value.As<Napi::Uint8Array>();
    size_t size = call.size;
    uint32_t count = 0;
    if (call.entry != 0 && bytes.ByteLength() >= sizeof(count)) {
      std::memcpy(&count, bytes.Data(), sizeof(count));
      size += count * call.entry;
    }
    if (bytes.ByteLength() == size) return bytes.Data();
  }
  throw Napi::TypeError::New(value.Env(), std::string("Expected the structure of ") + call.name);
}

// kvmCall(fd, name, argument?)
Napi::Value KvmCall(const Napi::CallbackInfo& info) {
  const int fd = info[0].As<Napi::Number>().Int32Value();
  const KvmCallEntry& call = Find(info.Env(), info[1].As<Napi::String>());
  int result;
  if (call.size != 0) {
    result = ioctl(fd, call.request, StructureOf(call, info[2]));
  } else {
    const unsigned long number = info[2].IsNumber() ? info[2].As<Napi::Number>().Int64Value() : 0;
    result = ioctl(fd, call.request, number);
  }
  return Napi::Number::New(info.Env(), Check(result, call.name));
}

// kvmCreateVm(kvmFd)
Napi::Value KvmCreateVm(const Napi::CallbackInfo& info) {
  const int fd = info[0].As<Napi::Number>().Int32Value();
  return HandOver(info.Env(), Check(ioctl(fd, KVM_CREATE_VM, 0), "ioctl KVM_CREATE_VM"));
}

// kvmCreateVcpu(vmFd, id)
Napi::Value KvmCreateVcpu(const Napi::CallbackInfo& info) {
  const int fd = info[0].As<Napi::Number>().Int32Value();
  const unsigned long id = info[1].As<Napi::Number>().Uint32Value();
  return HandOver(info.Env(), Check(ioctl(fd, KVM_CREATE_VCPU, id), "ioctl KVM_CREATE_VCPU"));
}

// eventFd()
Napi::Value EventFd(const Napi::CallbackInfo& info) {
  return HandOver(info.Env(), Check(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd"));
}

void AddConstants(Napi::Env env, Napi::Object exports) {
  Napi::Object constants = Napi::Object::New(env);
  const auto add = [&](const char* name, uint32_t value) {
    constants.Set(name, Napi::Number::New(env, value));
  };
#define KVM_CONSTANT(name) add(#name, name)
  KVM_CONSTANT(KVM_API_VERSION);
  add("KVM_MAX_CPUID_ENTRIES", 256);  // what the kernel takes at most; not in the header
  KVM_CONSTANT(KVM_CAP_IRQCHIP);
  KVM_CONSTANT(KVM_CAP_NR_VCPUS);
  KVM_CONSTANT(KVM_CAP_NR_MEMSLOTS);
  KVM_CONSTANT(KVM_CAP_MAX_VCPUS);
  KVM_CONSTANT(KVM_CAP_IRQFD);
  KVM_CONSTANT(KVM_CAP_IRQFD_RESAMPLE);
  KVM_CONSTANT(KVM_CAP_PIT2);
  KVM_CONSTANT(KVM_CAP_IOEVENTFD);
  KVM_CONSTANT(KVM_CAP_TSC_CONTROL);
  KVM_CONSTANT(KVM_CAP_GET_TSC_KHZ);
  KVM_CONSTANT(KVM_CAP_TSC_DEADLINE_TIMER);
  KVM_CONSTANT(KVM_CAP_READONLY_MEM);
  KVM_CONSTANT(KVM_CAP_SPLIT_IRQCHIP);
  KVM_CONSTANT(KVM_CAP_X2APIC_API);
  KVM_CONSTANT(KVM_CAP_ENFORCE_PV_FEATURE_CPUID);
  KVM_CONSTANT(KVM_CAP_EXIT_HYPERCALL);
  KVM_CONSTANT(KVM_CAP_EXIT_ON_EMULATION_FAILURE);
  KVM_CONSTANT(KVM_EXIT_IO);
  KVM_CONSTANT(KVM_EXIT_HYPERCALL);
  KVM_CONSTANT(KVM_EXIT_HLT);
  KVM_CONSTANT(KVM_EXIT_MMIO);
  KVM_CONSTANT(KVM_EXIT_SHUTDOWN);
  KVM_CONSTANT(KVM_EXIT_FAIL_ENTRY);
  KVM_CONSTANT(KVM_EXIT_INTERNAL_ERROR);
  KVM_CONSTANT(KVM_EXIT_SYSTEM_EVENT);
  KVM_CONSTANT(KVM_MEM_LOG_DIRTY_PAGES);
  KVM_CONSTANT(KVM_MEM_READONLY);
  KVM_CONSTANT(KVM_IRQFD_FLAG_DEASSIGN);
  KVM_CONSTANT(KVM_IRQFD_FLAG_RESAMPLE);
  KVM_CONSTANT(KVM_IOEVENTFD_FLAG_DATAMATCH);
  KVM_CONSTANT(KVM_IOEVENTFD_FLAG_PIO);
  KVM_CONSTANT(KVM_IOEVENTFD_FLAG_DEASSIGN);
  KVM_CONSTANT(KVM_PIT_SPEAKER_DUMMY);
  exports.Set("kvmConstants", constants);
}

}  // namespace

void RegisterKvm(Napi::Env env, Napi::Object exports) {
  AddConstants(env, exports);
  Export<KvmCall>(env, exports, "kvmCall");
  Export<KvmCreateVm>(env, exports, "kvmCreateVm");
  Export<KvmCreateVcpu>(env, exports, "kvmCreateVcpu");
  Export<EventFd>(env, exports, "eventFd");
}

}  // namespace exmem
