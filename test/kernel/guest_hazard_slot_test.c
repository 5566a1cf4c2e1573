// SPDX-License-Identifier: GPL-2.0
/*
 * G6: slots with private memory that come, go and move, that are watched for what
 * the guest writes, and that two machines have at once.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "guest.h"
#include "kvm.h"
#include "process.h"
#include "secret_guest.h"

KEEP_A_MACHINE

#define SLOT 0
#define ROUNDS 60

/* di: where, cx: how many words, ax: what */
GUEST_CODE(fill_memory, 64, "rep stosq\n" DONE);
GUEST_CODE(store_word, 64, "mov %rax, (%rdi)\n" DONE);
/* The same for ever: the pages from di on, cx of them, and how often at si. */
GUEST_CODE(write_for_ever, 64,
	"again: mov %rdi, %rbx\n"
	"mov %rcx, %rdx\n"
	"1: incq (%rbx)\n"
	"add $4096, %rbx\n"
	"dec %rdx\n"
	"jnz 1b\n"
	"incq (%rsi)\n"
	"jmp again\n");

static int set_slot_flags(uint32_t flags)
{
	struct kvm_userspace_memory_region region = {
		.slot = SLOT, .flags = flags, .memory_size = SECRET_GUEST_SIZE,
		.userspace_addr = (uintptr_t)secret_memory,
	};

	return ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region);
}

/* ---- dirty logging ---- */

#define SCRATCH_AT 0x300000

static uint64_t dirty[SECRET_GUEST_SIZE / PAGE / 64];

static bool is_dirty(uint64_t at)
{
	return dirty[at / PAGE / 64] >> at / PAGE % 64 & 1;
}

static void get_dirty(void)
{
	struct kvm_dirty_log log = { .slot = SLOT, .dirty_bitmap = dirty };

	memset(dirty, 0, sizeof(dirty));
	expect_ok(ioctl(vm, KVM_GET_DIRTY_LOG, &log));
}

static void dirty_pages(int n)
{
	call_guest(fill_memory, .rdi = SCRATCH_AT, .rcx = n * PAGE / 8, .rax = n);
}

TEST("G6 dirty logging", .seconds = 60)
{
	begin_secret_guest(0);
	expect_ok(set_slot_flags(KVM_MEM_LOG_DIRTY_PAGES));
	for (int n = 1; n < 20; n++) {
		dirty_pages(n);
		get_dirty();
		for (int i = 0; i < 20; i++)
			expect_equal(i < n, is_dirty(SCRATCH_AT + i * PAGE));
		expect_equal(0, is_dirty(TARGET));
	}
	expect_ok(set_slot_flags(0));
	dirty_pages(1);
	expect_secret_kept();
}

TEST("G6 dirty logging that is switched on, off and read while the guest runs", .seconds = 120)
{
	begin_secret_guest(0);
	expect_secret_kept();
	for (int i = 0; i < ROUNDS; i++) {
		expect_ok(set_slot_flags(i % 2 ? 0 : KVM_MEM_LOG_DIRTY_PAGES));
		dirty_pages(8);
		if (i % 2 == 0)
			get_dirty();
	}
	expect_secret_kept();
}

/* ---- slots that go and move under a running guest ---- */

/* A second object, which nothing that the guest needs to run is in. */
#define MOVING_SLOT 1
#define MOVING_SIZE (64 * PAGE)
#define HERE 0x1000000
#define THERE 0x2000000
#define COUNT_AT SCRATCH_AT

static char *moving;
static int moving_object;

static _Atomic int run_answer;
static _Atomic bool stop;
static _Atomic long devices;

/* Where no slot is, the guest finds a device, which takes what it writes and reads as 0. */
static void *run_guest(void *unused)
{
	int answer;

	(void)unused;
	do {
		answer = errno_of(ioctl(vcpu, KVM_RUN, 0));
		if (!answer && run_state->exit_reason == KVM_EXIT_MMIO) {
			memset(run_state->mmio.data, 0, sizeof(run_state->mmio.data));
			devices++;
		} else if (answer != EINTR) {
			break;
		}
	} while (!stop);
	run_answer = answer;
	return NULL;
}

static void begin_moving(void)
{
	need_instruction_fetches();
	begin_secret_guest(0);
	moving_object = make_memfd_flags(MOVING_SIZE, GUEST);
	moving = map_none(moving_object, MOVING_SIZE);
	expect_ok(set_slot(MOVING_SLOT, HERE, moving, MOVING_SIZE));
	prepare_guest(write_for_ever, .rdi = HERE, .rcx = MOVING_SIZE / PAGE, .rsi = COUNT_AT);
}

static uint64_t count(void)
{
	uint64_t page[PAGE / 8];

	read_physical(secret_memory + COUNT_AT, page, PAGE);
	return page[0];
}

static void expect_guest_goes_on(void)
{
	uint64_t before = count();

	check(eventually(count() != before || run_answer != -1), "the guest does not get on");
	expect_equal(-1, run_answer);
}

static void change_while_it_runs(void (*change)(int round))
{
	pthread_t thread;

	run_answer = -1;
	expect_equal(0, pthread_create(&thread, NULL, run_guest, NULL));
	expect_guest_goes_on();
	for (int round = 0; round < ROUNDS; round++) {
		change(round);
		if (round % 10 == 9)
			expect_guest_goes_on();
	}
	stop = true;
	/* Whatever it is at, it finds a device next. */
	expect_ok(set_slot(MOVING_SLOT, 0, NULL, 0));
	pthread_join(thread, NULL);
	expect_equal(0, run_answer);
	diag("%ld accesses to a device", devices);
	check(devices > 0, "no change was noticed");
	expect_secret_kept();
}

static void delete_and_make(int round)
{
	if (round % 2 == 0)
		expect_ok(set_slot(MOVING_SLOT, 0, NULL, 0));
	else
		expect_ok(set_slot(MOVING_SLOT, HERE, moving, MOVING_SIZE));
}

static void move(int round)
{
	expect_ok(set_slot(MOVING_SLOT, round % 2 ? HERE : THERE, moving, MOVING_SIZE));
}

static void remap(int round)
{
	(void)round;
	expect_ok(set_slot(MOVING_SLOT, 0, NULL, 0));
	unmap(moving, MOVING_SIZE);
	moving = map_none(moving_object, MOVING_SIZE);
	expect_ok(set_slot(MOVING_SLOT, HERE, moving, MOVING_SIZE));
}

TEST("G6 a slot that is deleted and made again while the guest writes to it", .seconds = 120)
{
	begin_moving();
	change_while_it_runs(delete_and_make);
}

TEST("G6 a slot that moves while the guest writes to it", .seconds = 120)
{
	begin_moving();
	change_while_it_runs(move);
}

TEST("G6 a slot whose memory is mapped anew while the guest writes to it", .seconds = 120)
{
	begin_moving();
	change_while_it_runs(remap);
}

TEST("G6 a slot for reading only, of memory that another slot has, too", .seconds = 60)
{
	struct kvm_userspace_memory_region region = {
		.slot = 2, .flags = KVM_MEM_READONLY, .guest_phys_addr = HERE,
		.memory_size = SECRET_GUEST_SIZE,
	};

	need_instruction_fetches();
	begin_secret_guest(0);
	region.userspace_addr = (uintptr_t)secret_memory;
	expect_ok(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region));
	prepare_guest(store_word, .rdi = HERE + TARGET_PAGE);
	/* KVM takes a store there for one to a device. */
	expect_exit(KVM_EXIT_MMIO, first_processor());
	expect_equal(1, run_state->mmio.is_write);
	expect_secret_kept();
}

/* ---- two machines ---- */

struct machine {
	int vm, vcpu;
	struct kvm_run *run;
};

static struct machine second_machine(void)
{
	struct machine first = { vm, vcpu, run_state }, second;

	make_machine();
	offer_all_features(vcpu);
	expect_ok(set_slot(SLOT, 0, secret_memory, SECRET_GUEST_SIZE));
	second = (struct machine){ vm, vcpu, run_state };
	vm = first.vm;
	vcpu = first.vcpu;
	run_state = first.run;
	return second;
}

static void use(struct machine *machine)
{
	struct machine other = { vm, vcpu, run_state };

	vm = machine->vm;
	vcpu = machine->vcpu;
	run_state = machine->run;
	*machine = other;
}

TEST("G6 one object in two machines: both run on it, and lose it at once", .seconds = 60)
{
	struct machine other;

	begin_secret_guest(0);
	other = second_machine();
	for (int i = 0; i < 10; i++) {
		dirty_pages(8);
		use(&other);
	}
	expect_secret_kept();
	unmap(secret_memory, SECRET_GUEST_SIZE);
	for (int i = 0; i < 2; i++) {
		expect_errno(EFAULT, ioctl(vcpu, KVM_RUN, 0));
		use(&other);
	}
	expect_equal(0, pages_with_secret());
}

TEST("G6 and one of them ends while the other goes on", .seconds = 60)
{
	struct machine other;

	begin_secret_guest(0);
	other = second_machine();
	use(&other);
	dirty_pages(8);
	end_processor(first_processor());
	close(vm);
	use(&other);
	dirty_pages(8);
	expect_secret_kept();
}
