// SPDX-License-Identifier: GPL-2.0
/* V3, V5: a view as the memory of a virtual machine. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "kvm.h"
#include "process.h"
#include "system.h"
#include "view.h"

#define PAGES 16
#define SIZE (PAGES * PAGE)

/* mov al, [0x2000]; hlt */
static const unsigned char load_2000[] = { 0xa0, 0x00, 0x20, 0xf4 };
/* mov al, 0x77; mov [0x2000], al; hlt */
static const unsigned char store_2000[] = { 0xb0, 0x77, 0xa2, 0x00, 0x20, 0xf4 };
/* again: mov ax, [0x2000]; mov [0x1000], ax; inc word [0x1008]; jmp again */
static const unsigned char copy_for_ever[] = {
	0xa1, 0x00, 0x20, 0xa3, 0x00, 0x10, 0xff, 0x06, 0x08, 0x10, 0xeb, 0xf4,
};
/* again: mov ax, [0x1000]; mov [0x2000], ax; inc word [0x1008]; jmp again */
static const unsigned char store_for_ever[] = {
	0xa1, 0x00, 0x10, 0xa3, 0x00, 0x20, 0xff, 0x06, 0x08, 0x10, 0xeb, 0xf4,
};

static int view, file;
static volatile char *source;
static char *p, *plain;

static void begin_with(int fd, size_t size, uint32_t flags)
{
	open_kvm();
	file = fd;
	source = map(file, size);
	view = make_view(size);
	expect_ok(view_map(view, file, 0, size, 0, flags));
	p = map_view(view, 0, 0, RW);
}

static void begin(uint32_t flags)
{
	begin_with(make_file(SIZE), SIZE, flags);
}

static void make_guest(const unsigned char *code, size_t length, size_t size)
{
	make_machine();
	plain = load_code(code, length);
	expect_ok(set_slot(1, 0x2000, p, size));
}

static void run_to_end(void)
{
	rewind_code();
	expect_ok(ioctl(vcpu, KVM_RUN, 0));
	expect_equal(KVM_EXIT_HLT, run_state->exit_reason);
}

static void run_to_fault(void)
{
	rewind_code();
	expect_errno(EFAULT, ioctl(vcpu, KVM_RUN, 0));
}

static void expect_loads(size_t size)
{
	make_guest(load_2000, sizeof(load_2000), size);
	for (int i = 1; i < 20; i++) {
		source[0] = i;
		run_to_end();
		expect_equal(i, register_al());
		if (i % 5 == 0) {
			expect_ok(view_unmap(view, 0, SIZE));
			run_to_fault();
			run_to_fault();
			expect_ok(view_map(view, file, 0, SIZE, 0, VIEW_RW));
		}
	}
}

TEST("V5 a guest loads what is in the view, and UNMAP_FD takes it")
{
	begin(VIEW_RW);
	expect_loads(SIZE);
}

TEST("V5 so it does when the process touched the mapping before")
{
	begin(VIEW_RW);
	fill(p, SIZE, 1);
	expect_loads(SIZE);
	expect_signal(0, signal_of_store(p));
}

TEST("V5 so it does through a mapping for reading only")
{
	begin(VIEW_R);
	p = map_view(view, 0, 0, PROT_READ);
	source[0] = 0x42;
	make_machine();
	plain = load_code(load_2000, sizeof(load_2000));
	expect_ok(set_slot(1, 0x2000, p, SIZE));
	run_to_end();
	expect_equal(0x42, register_al());
	expect_ok(view_unmap(view, 0, SIZE));
	run_to_fault();
}

TEST("V5 a guest stores to the source")
{
	begin(VIEW_RW);
	make_guest(store_2000, sizeof(store_2000), SIZE);
	run_to_end();
	expect_equal(0x77, source[0]);
	source[0] = 0;
	expect_ok(view_unmap(view, 0, SIZE));
	run_to_fault();
	expect_equal(0, source[0]);
	expect_ok(view_map(view, file, 0, SIZE, 0, VIEW_RW));
	run_to_end();
	expect_equal(0x77, source[0]);
}

TEST("V3 after PROTECT took WRITE, a guest loads, and its store does not happen")
{
	int answer;

	begin(VIEW_RW);
	make_guest(store_2000, sizeof(store_2000), SIZE);
	run_to_end();
	expect_equal(0x77, source[0]);
	expect_ok(view_protect(view, 0, SIZE, VIEW_R));
	source[0] = 1;
	rewind_code();
	answer = errno_of(ioctl(vcpu, KVM_RUN, 0));
	diag("KVM_RUN: %s, exit reason %u", errno_name(answer), run_state->exit_reason);
	check(answer == EFAULT || (!answer && (run_state->exit_reason == KVM_EXIT_MMIO ||
					       run_state->exit_reason == KVM_EXIT_INTERNAL_ERROR)),
	      "KVM_RUN: %s, exit reason %u", errno_name(answer), run_state->exit_reason);
	expect_equal(1, source[0]);
	/* A store that became one to a device has to end. */
	if (!answer && run_state->exit_reason == KVM_EXIT_MMIO)
		expect_ok(ioctl(vcpu, KVM_RUN, 0));
	memcpy(plain, load_2000, sizeof(load_2000));
	run_to_end();
	expect_equal(1, register_al());
	expect_equal(1, source[0]);
}

TEST("V5 where nothing is, KVM_RUN is EFAULT, until something is")
{
	begin(VIEW_RW);
	expect_ok(view_unmap(view, 0, SIZE));
	make_guest(load_2000, sizeof(load_2000), SIZE);
	for (int i = 0; i < 5; i++)
		run_to_fault();
	source[0] = 9;
	expect_ok(view_map(view, file, 0, SIZE, 0, VIEW_R));
	run_to_end();
	expect_equal(9, register_al());
}

TEST("V10 the owner's end takes everything from a guest")
{
	begin(VIEW_RW);
	make_guest(load_2000, sizeof(load_2000), SIZE);
	run_to_end();
	close(view);
	run_to_fault();
	expect_signal(SIGBUS, signal_of_load(p));
}

TEST("V7 a truncation of the source takes it from a guest, too")
{
	begin(VIEW_RW);
	make_guest(load_2000, sizeof(load_2000), SIZE);
	for (int i = 0; i < 10; i++) {
		source[0] = i;
		run_to_end();
		expect_equal(i, register_al());
		expect_ok(ftruncate(file, 0));
		expect_ok(view_sync(view));
		run_to_fault();
		expect_ok(ftruncate(file, SIZE));
		run_to_end();
		expect_equal(0, register_al());
	}
}

static void with_huge(void)
{
	begin_with(make_huge_file(2 * BLOCK), 2 * BLOCK, VIEW_RW);
	make_guest(load_2000, sizeof(load_2000), 2 * BLOCK);
	source[0] = 0x33;
	run_to_end();
	expect_equal(0x33, register_al());
	expect_ok(view_unmap(view, 0, PAGE));
	run_to_fault();
	memcpy(plain, store_2000, sizeof(store_2000));
	run_to_fault();
	expect_equal(0x33, source[0]);
}

TEST("V5 huge pages as a source")
{
	int kvm = open_kvm();

	close(kvm);
	with_huge_pages(2, with_huge);
}

TEST("V8 the owner's own memory as a source")
{
	char *mine = expect_ok(mmap(NULL, SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

	begin(VIEW_RW);
	expect_ok(view_map_memory(view, mine, SIZE, 0, VIEW_RW | MEMVIEW_MAP_REPLACE));
	make_guest(store_2000, sizeof(store_2000), SIZE);
	run_to_end();
	expect_equal(0x77, *mine);
	expect_ok(madvise(mine, SIZE, MADV_DONTNEED));
	expect_ok(view_sync(view));
	memcpy(plain, load_2000, sizeof(load_2000));
	run_to_end();
	expect_equal(0, register_al());
	expect_ok(munmap(mine, SIZE));
	expect_ok(view_sync(view));
	run_to_fault();
}

/* ---- a guest that runs ---- */

static _Atomic int run_answer;

static void *run_guest(void *unused)
{
	(void)unused;
	run_answer = errno_of(ioctl(vcpu, KVM_RUN, 0));
	return NULL;
}

static void fire_at_guest(const unsigned char *code, size_t length, int rounds, bool stores)
{
	volatile uint16_t *at_source, *at_guest, *turns;

	begin(VIEW_RW);
	make_guest(code, length, SIZE);
	at_source = (volatile uint16_t *)source;
	at_guest = (volatile uint16_t *)(plain + 0x1000);
	turns = (volatile uint16_t *)(plain + 0x1008);
	for (int round = 1; round <= rounds; round++) {
		volatile uint16_t *from = stores ? at_guest : at_source, *to = stores ? at_source : at_guest;
		pthread_t thread;
		uint16_t turn;

		*from = 2 * round;
		*to = 0;
		run_answer = -1;
		rewind_code();
		expect_equal(0, pthread_create(&thread, NULL, run_guest, NULL));
		check(eventually(*to == 2 * round || run_answer != -1), "the guest does not run");
		expect_equal(-1, run_answer);
		turn = *turns;
		check(eventually(*turns != turn), "the guest does not turn");
		expect_ok(view_unmap(view, 0, SIZE));
		/* From now on no byte gets through. */
		*from = 2 * round + 1;
		if (stores)
			*to = 0xfff;
		check(eventually(run_answer != -1), "the guest runs on");
		expect_equal(EFAULT, run_answer);
		expect_equal(stores ? 0xfff : 2 * round, *to);
		pthread_join(thread, NULL);
		expect_ok(view_map(view, file, 0, SIZE, 0, VIEW_RW));
	}
}

TEST("V3 UNMAP_FD takes a page from a guest that loads it all the time: EFAULT, and not a byte later", .seconds = 180)
{
	fire_at_guest(copy_for_ever, sizeof(copy_for_ever), 25, false);
}

TEST("V3 and from one that stores to it", .seconds = 180)
{
	fire_at_guest(store_for_ever, sizeof(store_for_ever), 25, true);
}

/* ---- mm_take_all_locks() ---- */

static _Atomic bool stop;

static void *change_source(void *seed_)
{
	unsigned int seed = (size_t)seed_;

	while (!stop) {
		expect_ok(ftruncate(file, rand_r(&seed) % PAGES * PAGE));
		expect_ok(ftruncate(file, SIZE));
		fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, 4 * PAGE);
	}
	return NULL;
}

static void *touch(void *seed_)
{
	unsigned int seed = (size_t)seed_;
	uint64_t value;

	while (!stop)
		try_load((uint64_t *)(p + rand_r(&seed) % PAGES * PAGE), &value);
	return NULL;
}

TEST("V7 machines are made and ended while the source shrinks and grows", .seconds = 180)
{
	uint64_t end;
	pthread_t threads[2];
	int kvm = open_kvm(), machines = 0;
	pid_t pid;

	begin(VIEW_RW);
	/* While there is one, the kernel does not change its own code for the next: emulators are not good at that. */
	make_machine();
	catch_access_signals();
	/* The source changes in another process; here the machines are made that watch this one's memory. */
	pid = start_child();
	if (!pid) {
		change_source((void *)1L);
		succeed();
	}
	expect_equal(0, pthread_create(&threads[0], NULL, change_source, (void *)2L));
	expect_equal(0, pthread_create(&threads[1], NULL, touch, (void *)3L));
	for (end = now_ns() + UINT64_C(8000000000); now_ns() < end; machines++) {
		int fd = ioctl(kvm, KVM_CREATE_VM, 0);

		if (fd < 0) {
			check(machines == 0, "KVM_CREATE_VM: %s", errno_name(errno));
			kill(pid, SIGKILL);
			skip("KVM makes no machine: %s", errno_name(errno));
		}
		close(fd);
	}
	stop = true;
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	kill(pid, SIGKILL);
	expect_killed(SIGKILL, pid);
	diag("%d machines", machines);
	check(machines > 10, "hardly any");
}
