// SPDX-License-Identifier: GPL-2.0
/*
 * G6: kvmclock. KVM writes it by the kernel's direct map, whatever the monitor's
 * page table says, each time a processor is about to run. On a private page that
 * reaches the page which is in its place there.
 */
#include <asm/kvm_para.h>
#include <string.h>

#include "guest.h"
#include "kvm.h"
#include "secret_guest.h"
#include "view.h"

KEEP_A_MACHINE

static const uint32_t clock_msrs[] = { MSR_KVM_SYSTEM_TIME, MSR_KVM_SYSTEM_TIME_NEW };

static void begin(int options)
{
	begin_secret_guest(options);
	if (!offers(KVM_CPUID_FEATURES, 'a', KVM_FEATURE_CLOCKSOURCE2))
		skip("KVM does not offer it here");
}

static void update_clock(void)
{
	struct kvm_clock_data clock = { 0 };

	enter_secret_guest(3);
	/* All processors' are written once more. */
	expect_ok(ioctl(vm, KVM_GET_CLOCK, &clock));
	clock.flags = 0;
	expect_ok(ioctl(vm, KVM_SET_CLOCK, &clock));
	enter_secret_guest(3);
	/* EINVAL where the guest has no clock any more */
	expect_equal(0, errno_of(ioctl(vcpu, KVM_KVMCLOCK_CTRL, 0)));
	enter_secret_guest(3);
}

static void expect_clock_elsewhere(void)
{
	check(!decoy_is_blank(), "KVM wrote no clock: nothing was tried");
	expect_secret_kept();
}

TEST("G6 the control: on ordinary memory, the clock is in the guest's page", .seconds = 60)
{
	begin(ON_PLAIN_MEMORY);
	memset(secret_memory + TARGET, 0, 32);
	expect_equal(1, set_msr(vcpu, MSR_KVM_SYSTEM_TIME_NEW, TARGET | KVM_MSR_ENABLED));
	update_clock();
	check(!is_zero(secret_memory + TARGET, 32), "KVM wrote no clock");
}

TEST("G6 kvmclock by KVM_SET_MSRS", .seconds = 120)
{
	begin(0);
	for (size_t i = 0; i < ARRAY_SIZE(clock_msrs); i++) {
		expect_equal(1, set_msr(vcpu, clock_msrs[i], TARGET | KVM_MSR_ENABLED));
		update_clock();
		expect_clock_elsewhere();
		expect_equal(1, set_msr(vcpu, clock_msrs[i], 0));
	}
}

TEST("G6 kvmclock by the guest", .seconds = 120)
{
	need_instruction_fetches();
	begin(0);
	for (size_t i = 0; i < ARRAY_SIZE(clock_msrs); i++) {
		secret_guest_sets_msr(clock_msrs[i], TARGET | KVM_MSR_ENABLED);
		update_clock();
		expect_clock_elsewhere();
		secret_guest_sets_msr(clock_msrs[i], 0);
	}
}

TEST("G6 kvmclock at each place of a page, and at its end", .seconds = 120)
{
	begin(0);
	for (uint64_t at = 0; at < PAGE; at += 252) {
		expect_equal(1, set_msr(vcpu, MSR_KVM_SYSTEM_TIME_NEW, (TARGET_PAGE + at) | KVM_MSR_ENABLED));
		enter_secret_guest(2);
	}
	expect_clock_elsewhere();
}

TEST("G6 kvmclock outlives the memory: the object is destroyed under it", .seconds = 60)
{
	begin(0);
	expect_equal(1, set_msr(vcpu, MSR_KVM_SYSTEM_TIME_NEW, TARGET | KVM_MSR_ENABLED));
	enter_secret_guest(2);
	expect_ok(destroy(secret_object));
	expect_errno(EFAULT, ioctl(vcpu, KVM_RUN, 0));
	expect_errno(EFAULT, ioctl(vcpu, KVM_RUN, 0));
	expect_equal(0, pages_with_secret());
}

TEST("G6 kvmclock in a page that is shared, and then private again: only there and then is it the guest's", .seconds = 60)
{
	enum { CLOCK_AT = 0x300000 };
	char shared[PAGE], again[PAGE];

	begin(0);
	expect_equal(1, set_msr(vcpu, MSR_KVM_SYSTEM_TIME_NEW, CLOCK_AT | KVM_MSR_ENABLED));
	update_clock();
	check(holds_zeros(secret_memory + CLOCK_AT, PAGE), "KVM reached a private page");
	expect_ok(make_shared(secret_object, CLOCK_AT, PAGE));
	update_clock();
	read_physical(secret_memory + CLOCK_AT, shared, PAGE);
	check(!is_zero(shared, PAGE), "KVM wrote no clock");
	expect_ok(make_private(secret_object, CLOCK_AT, PAGE));
	read_physical(secret_memory + CLOCK_AT, shared, PAGE);
	update_clock();
	read_physical(secret_memory + CLOCK_AT, again, PAGE);
	check(!memcmp(shared, again, PAGE), "KVM reached a private page");
	expect_secret_kept();
}

TEST("G6 kvmclock through a view, which then shows nothing any more", .seconds = 60)
{
	begin(THROUGH_VIEW);
	expect_equal(1, set_msr(vcpu, MSR_KVM_SYSTEM_TIME_NEW, TARGET | KVM_MSR_ENABLED));
	update_clock();
	expect_clock_elsewhere();
	expect_ok(view_unmap(secret_view, 0, SECRET_GUEST_SIZE));
	for (int i = 0; i < 3; i++)
		expect_errno(EFAULT, ioctl(vcpu, KVM_RUN, 0));
	expect_ok(view_map(secret_view, secret_object, 0, SECRET_GUEST_SIZE, 0, VIEW_RW));
	enter_secret_guest(2);
	expect_secret_kept();
}

TEST("G6 the remedy: KVM_CAP_ENFORCE_PV_FEATURE_CPUID, and no such feature", .seconds = 60)
{
	struct kvm_enable_cap enforce = { .cap = KVM_CAP_ENFORCE_PV_FEATURE_CPUID, .args = { 1 } };
	struct processor processor;

	begin(0);
	/* A new one: KVM does not take back what it once offered. */
	processor = add_processor(2);
	expect_ok(ioctl(processor.fd, KVM_ENABLE_CAP, &enforce));
	for (size_t i = 0; i < ARRAY_SIZE(clock_msrs); i++)
		expect_equal(0, set_msr(processor.fd, clock_msrs[i], TARGET | KVM_MSR_ENABLED));
	check(decoy_is_blank(), "KVM wrote a clock");
	expect_secret_kept();
}

