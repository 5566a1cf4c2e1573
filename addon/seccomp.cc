// SPDX-License-Identifier: MIT
// System calls taken away from every thread of the process, for good.
// libseccomp makes the filter; src/kvm/lockdown.ts says what is in it.
#include <linux/exclusive_memory.h>
#include <linux/kvm.h>
#include <linux/sched.h>
#include <napi.h>
#include <seccomp.h>
#include <sys/ioctl.h>

#include <memory>
#include <set>
#include <string>
#include <type_traits>

#include "errors.h"
#include "subjects.h"

namespace exmem {

namespace {

using Filter = std::unique_ptr<std::remove_pointer_t<scmp_filter_ctx>, decltype(&seccomp_release)>;

// libseccomp returns -errno, and 0.
void Require(int result, const char* call) {
  if (result < 0) Fail(-result, call);
}

// An errno, 0 for leave, -1 for the end of the process.
uint32_t ActionOf(const Napi::Value& value) {
  const int action = value.As<Napi::Number>().Int32Value();
  if (action == 0) return SCMP_ACT_ALLOW;
  return action < 0 ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_ERRNO(action);
}

int NumberOf(const Napi::Value& name) {
  // Negative numbers are libseccomp's own, for what this processor does not have.
  const int number = seccomp_syscall_resolve_name(name.As<Napi::String>().Utf8Value().c_str());
  if (number < 0) Fail(EINVAL, "seccomp_syscall_resolve_name");
  return number;
}

// { syscall, action, argument?: { index, mask, value } }; the number of the call.
int AddRule(const Filter& filter, uint32_t otherwise, const Napi::Object& rule) {
  const int number = NumberOf(rule.Get("syscall"));
  const uint32_t action = ActionOf(rule.Get("action"));
  // libseccomp refuses a rule that changes nothing.
  if (action == otherwise) return number;
  const Napi::Value condition = rule.Get("argument");
  scmp_arg_cmp comparison{};
  if (condition.IsObject()) {
    const Napi::Object argument = condition.As<Napi::Object>();
    const auto field = [&](const char* name) {
      return argument.Get(name).As<Napi::Number>().Uint32Value();
    };
    comparison = {field("index"), SCMP_CMP_MASKED_EQ, field("mask"), field("value")};
  }
  const unsigned count = condition.IsObject() ? 1 : 0;
  Require(seccomp_rule_add_exact_array(filter.get(), action, number, count, &comparison),
          "seccomp_rule_add");
  return number;
}

// installFilter({ rules, reviewedUpTo, otherwise }): every call up to
// `reviewedUpTo` that has no rule is allowed; what no rule matches gets `otherwise`.
Napi::Value InstallFilter(const Napi::CallbackInfo& info) {
  const Napi::Object policy = info[0].As<Napi::Object>();
  const uint32_t otherwise = ActionOf(policy.Get("otherwise"));
  const Filter filter(seccomp_init(otherwise), seccomp_release);
  if (!filter) Fail(ENOMEM, "seccomp_init");

  const auto set = [&](scmp_filter_attr attribute, uint32_t value) {
    Require(seccomp_attr_set(filter.get(), attribute, value), "seccomp_attr_set");
  };
  set(SCMP_FLTATR_CTL_NNP, 1);
  set(SCMP_FLTATR_CTL_TSYNC, 1);
  // The kernel's own errno rather than ECANCELED.
  set(SCMP_FLTATR_API_SYSRAWRC, 1);
  // Calls of the i386 and x32 ABIs have other numbers for the same things.
  set(SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
  // A binary search for the number: KVM_RUN is a system call, too.
  set(SCMP_FLTATR_CTL_OPTIMIZE, 2);

  std::set<int> ruled;
  const Napi::Array rules = policy.Get("rules").As<Napi::Array>();
  for (uint32_t i = 0; i < rules.Length(); i++) {
    ruled.insert(AddRule(filter, otherwise, rules.Get(i).As<Napi::Object>()));
  }
  const int last = NumberOf(policy.Get("reviewedUpTo"));
  for (int number = 0; number <= last; number++) {
    if (ruled.contains(number)) continue;
    Require(seccomp_rule_add_exact_array(filter.get(), SCMP_ACT_ALLOW, number, 0, nullptr),
            "seccomp_rule_add");
  }
  Require(seccomp_load(filter.get()), "seccomp");
  return info.Env().Undefined();
}

}  // namespace

void RegisterSeccomp(Napi::Env env, Napi::Object exports) {
  Export<InstallFilter>(env, exports, "installFilter");

  Napi::Object numbers = Napi::Object::New(env);
#define ADD(name) numbers.Set(#name, Napi::Number::New(env, static_cast<uint32_t>(name)))
  ADD(CLONE_NEWCGROUP);
  ADD(CLONE_NEWIPC);
  ADD(CLONE_NEWNET);
  ADD(CLONE_NEWNS);
  ADD(CLONE_NEWPID);
  ADD(CLONE_NEWUSER);
  ADD(CLONE_NEWUTS);
  ADD(KVMIO);
  ADD(KVM_GET_DIRTY_LOG);
  ADD(KVM_IOEVENTFD);
  ADD(KVM_IRQFD);
  ADD(KVM_IRQ_LINE);
  ADD(KVM_RUN);
  ADD(KVM_SIGNAL_MSI);
  ADD(EXMEM_IOC_MAGIC);
  ADD(EXMEM_GET_VERSION);
  ADD(EXMEM_CREATE);
  ADD(EXMEM_SET_SIZE);
  ADD(EXMEM_GET_INFO);
  ADD(EXMEM_WAIT_IDLE);
  ADD(EXMEM_DESTROY);
  ADD(EXMEM_SEAL);
  ADD(EXMEM_SET_SHARED);
  ADD(MEMVIEW_SET_SIZE);
  ADD(MEMVIEW_MAP_FD);
  ADD(MEMVIEW_UNMAP_FD);
  ADD(MEMVIEW_GET_VIEWFD);
  ADD(MEMVIEW_MAP_MEM);
  ADD(MEMVIEW_PROTECT);
  ADD(MEMVIEW_GET_RANGES);
  ADD(MEMVIEW_SYNC);
  ADD(TIOCLINUX);
  ADD(TIOCSTI);
#undef ADD
  exports.Set("filterNumbers", numbers);
}

}  // namespace exmem
