// SPDX-License-Identifier: GPL-2.0
/* G5: a view of guest memory as the memory of a virtual machine, which runs meanwhile. Needs /dev/kvm. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "guest.h"
#include "kvm.h"
#include "process.h"
#include "system.h"
#include "test_module.h"
#include "view.h"

#define PAGES 16
#define SIZE (PAGES * PAGE)

/* mov al, [0x2000]; hlt */
static const unsigned char load_2000[] = { 0xa0, 0x00, 0x20, 0xf4 };
/* mov al, [0x3000]; hlt */
static const unsigned char load_3000[] = { 0xa0, 0x00, 0x30, 0xf4 };
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

static int fd, view;
static volatile char *host;	/* the monitor's own mapping, with HOST_ACCESS */
static char *slot, *plain;

/* With a slot over the whole view, mapped PROT_NONE; the object has host access, so that the test sees its bytes. */
static void begin(const unsigned char *code, size_t size)
{
	make_machine();
	fd = make_memfd_flags(SIZE, HOST_ACCESS);
	host = map(fd, SIZE);
	view = make_view(SIZE);
	slot = map_view(view, 0, 0, PROT_NONE);
	plain = load_code(code, size);
	expect_ok(set_slot(1, 0x2000, slot, SIZE));
}

static void map_all(void)
{
	expect_ok(view_map(view, fd, 0, SIZE, 0, VIEW_RW));
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

/* KVM takes a store without permission for one to a device, or gives up. */
static void run_to_refused_store(void)
{
	int answer;

	rewind_code();
	answer = errno_of(ioctl(vcpu, KVM_RUN, 0));
	check(answer == EFAULT || (!answer && (run_state->exit_reason == KVM_EXIT_MMIO ||
					       run_state->exit_reason == KVM_EXIT_INTERNAL_ERROR)),
	      "KVM_RUN: %s, exit reason %u", errno_name(answer), run_state->exit_reason);
	if (!answer && run_state->exit_reason == KVM_EXIT_MMIO)
		expect_ok(ioctl(vcpu, KVM_RUN, 0));
}

static void switch_code(const unsigned char *code, size_t size)
{
	memcpy(plain, code, size);
}

TEST("G5 a guest loads and stores what MAP_FD set up, and UNMAP_FD takes it, again and again")
{
	begin(load_2000, sizeof(load_2000));
	run_to_fault();
	for (int i = 1; i < 20; i++) {
		host[0] = i;
		map_all();
		run_to_end();
		expect_equal(i, register_al());
		expect_signal(SIGSEGV, signal_of_load(slot));
		expect_ok(view_unmap(view, 0, SIZE));
		run_to_fault();
		run_to_fault();
	}
	map_all();
	switch_code(store_2000, sizeof(store_2000));
	run_to_end();
	expect_equal(0x77, host[0]);
}

TEST("G5 G1 so it does on memory that only the guest has")
{
	char bytes[PAGE], *p;

	make_machine();
	fd = make_memfd_flags(SIZE, GUEST);
	populate_filled(fd, 0, SIZE, 1);
	p = map_none(fd, SIZE);
	read_physical(p, bytes, PAGE);
	view = make_view(SIZE);
	slot = map_view(view, 0, 0, PROT_NONE);
	plain = load_code(load_2000, sizeof(load_2000));
	expect_ok(set_slot(1, 0x2000, slot, SIZE));
	map_all();
	run_to_end();
	expect_equal((uint8_t)bytes[0], register_al());
	switch_code(store_2000, sizeof(store_2000));
	run_to_end();
	expect_signal(SIGSEGV, signal_of_load(slot));
	expect_signal(SIGSEGV, signal_of_load(p));
	read_physical(p, bytes, PAGE);
	expect_equal(0x77, bytes[0]);
	expect_ok(view_unmap(view, 0, SIZE));
	bytes[0] = 0;
	run_to_fault();
}

TEST("G5 REPLACE gives the guest another page, without a fault between")
{
	begin(load_2000, sizeof(load_2000));
	for (size_t page = 0; page < PAGES; page++)
		host[page * PAGE] = 0x40 + page;
	map_all();
	for (size_t page = 0; page < PAGES; page++) {
		expect_ok(view_map(view, fd, page * PAGE, PAGE, 0, VIEW_RW | MEMVIEW_MAP_REPLACE));
		run_to_end();
		expect_equal(0x40 + page, register_al());
	}
}

TEST("G5 after PROTECT took WRITE, a guest loads, and its store does not happen")
{
	begin(store_2000, sizeof(store_2000));
	map_all();
	run_to_end();
	expect_equal(0x77, host[0]);
	host[0] = 1;
	expect_ok(view_protect(view, 0, SIZE, VIEW_R));
	run_to_refused_store();
	expect_equal(1, host[0]);
	switch_code(load_2000, sizeof(load_2000));
	run_to_end();
	expect_equal(1, register_al());
	expect_ok(view_protect(view, 0, SIZE, VIEW_RW));
	switch_code(store_2000, sizeof(store_2000));
	run_to_end();
	expect_equal(0x77, host[0]);
	expect_ok(view_protect(view, 0, SIZE, 0));
	host[0] = 2;
	run_to_refused_store();
	expect_equal(2, host[0]);
	switch_code(load_2000, sizeof(load_2000));
	run_to_fault();
}

TEST("G5 nor does it through a view fd whose cap has no WRITE, or a range that never had it")
{
	int capped;

	begin(store_2000, sizeof(store_2000));
	map_all();
	capped = expect_ok(view_fd(view, VIEW_R));
	slot = expect_ok(mmap(NULL, SIZE, PROT_NONE, MAP_SHARED, capped, 0));
	expect_ok(set_slot(1, 0x2000, slot, 0));
	expect_ok(set_slot(1, 0x2000, slot, SIZE));
	run_to_refused_store();
	expect_equal(0, host[0]);
	host[0] = 5;
	switch_code(load_2000, sizeof(load_2000));
	run_to_end();
	expect_equal(5, register_al());

	slot = map_view(view, 0, 0, PROT_NONE);
	expect_ok(set_slot(1, 0x2000, slot, 0));
	expect_ok(set_slot(1, 0x2000, slot, SIZE));
	expect_ok(view_map(view, fd, 0, PAGE, 0, VIEW_R | MEMVIEW_MAP_REPLACE));
	switch_code(store_2000, sizeof(store_2000));
	run_to_refused_store();
	expect_equal(5, host[0]);
}

TEST("G5 ranges of other kinds are nothing for the guest, next to one that is something")
{
	char *mine = plain_memory(SIZE);
	int file = make_filled_file(SIZE, 1), object = make_memfd(SIZE);

	begin(load_2000, sizeof(load_2000));
	host[PAGE] = 0x11;
	expect_ok(view_map(view, fd, PAGE, PAGE, PAGE, VIEW_RW));
	for (int kind = 0; kind < 3; kind++) {
		if (kind == 0)
			expect_ok(view_map(view, file, 0, PAGE, 0, VIEW_RW));
		else if (kind == 1)
			expect_ok(view_map(view, object, 0, PAGE, 0, VIEW_RW));
		else
			expect_ok(view_map_memory(view, mine, PAGE, 0, VIEW_RW));
		switch_code(load_2000, sizeof(load_2000));
		run_to_fault();
		switch_code(load_3000, sizeof(load_3000));
		run_to_end();
		expect_equal(0x11, register_al());
		expect_ok(view_unmap(view, 0, PAGE));
	}
}

TEST("G5 a view that is mapped for reading shows KVM what it shows the process: files and shared pages, no private one")
{
	int file = make_filled_file(SIZE, 1);

	begin(load_2000, sizeof(load_2000));
	slot = map_view(view, 0, 0, RW);
	expect_ok(set_slot(1, 0x2000, slot, 0));
	expect_ok(set_slot(1, 0x2000, slot, SIZE));
	map_all();
	host[0] = 0x21;
	expect_signal(SIGBUS, signal_of_load(slot));
	run_to_fault();
	expect_ok(make_shared(fd, 0, PAGE));
	run_to_end();
	expect_equal(0x21, register_al());
	expect_signal(0, signal_of_load(slot));
	expect_ok(make_private(fd, 0, PAGE));
	run_to_fault();
	expect_signal(SIGBUS, signal_of_load(slot));
	expect_ok(view_map(view, file, 0, PAGE, 0, VIEW_RW | MEMVIEW_MAP_REPLACE));
	run_to_end();
	expect_equal((uint8_t)slot[0], register_al());
}

TEST("G5 private and shared pages are there all the time, in a view that is mapped PROT_NONE")
{
	begin(load_2000, sizeof(load_2000));
	map_all();
	host[0] = 0x31;
	for (int i = 0; i < 5; i++) {
		expect_ok(make_shared(fd, 0, PAGE));
		run_to_end();
		expect_equal(0x31, register_al());
		expect_ok(make_private(fd, 0, PAGE));
		run_to_end();
		expect_equal(0x31, register_al());
	}
}

TEST("G5 V10 R16 the owner's end takes it from the guest, and EXMEM_DESTROY does")
{
	begin(load_2000, sizeof(load_2000));
	map_all();
	run_to_end();
	expect_ok(destroy(fd));
	run_to_fault();
	begin(load_2000, sizeof(load_2000));
	map_all();
	run_to_end();
	close(view);
	run_to_fault();
}

/* A machine of this process, with a slot over its own mapping of the view. */
static void make_machine_over_view(void)
{
	make_machine();
	plain = load_code(load_2000, sizeof(load_2000));
	slot = map_view(view, 0, 0, PROT_NONE);
	expect_ok(set_slot(1, 0x2000, slot, SIZE));
}

TEST("G5 G4 of a bound object it shows something in the bound address space, and nowhere else")
{
	int ready = make_gate(), go = make_gate();
	pid_t pid;

	make_machine();
	fd = make_memfd_flags(SIZE, GUEST);
	populate_filled(fd, 0, SIZE, 1);
	view = make_view(SIZE);
	map_all();
	pid = start_child();
	if (!pid) {
		make_machine_over_view();
		/* The view is its parent's. */
		run_to_fault();
		open_gate(ready);
		wait_at_gate(go);
		run_to_fault();
		/* Nor by a new mapping, or a range that is mapped anew. */
		make_machine_over_view();
		run_to_fault();
		expect_ok(view_unmap(view, 0, SIZE));
		map_all();
		run_to_fault();
		succeed();
	}
	wait_at_gate(ready);
	make_machine_over_view();
	run_to_end();
	expect_ok(bind_vm(fd, vm));
	run_to_end();
	open_gate(go);
	expect_success(pid);
	run_to_end();
	expect_ok(view_unmap(view, 0, SIZE));
	run_to_fault();
	map_all();
	run_to_end();
}

TEST("G5 G4 a view's owner is not always the one whom the object is bound to")
{
	int bound = make_gate(), done = make_gate();
	pid_t pid;

	make_machine();
	fd = make_memfd_flags(SIZE, GUEST);
	populate_filled(fd, 0, SIZE, 1);
	view = make_view(SIZE);
	map_all();
	make_machine_over_view();
	run_to_end();
	pid = start_child();
	if (!pid) {
		make_machine_over_view();
		run_to_fault();
		/* Its parent's guest has it. */
		expect_errno(EBUSY, bind_vm(fd, vm));
		open_gate(bound);
		wait_at_gate(done);
		expect_ok(bind_vm(fd, vm));
		map_all();
		run_to_end();
		open_gate(bound);
		succeed();
	}
	wait_at_gate(bound);
	run_to_end();
	expect_ok(view_unmap(view, 0, SIZE));
	unmap(slot, SIZE);
	open_gate(done);
	wait_at_gate(bound);
	expect_success(pid);
	make_machine_over_view();
	run_to_fault();
	expect_ok(view_map(view, fd, 0, SIZE, 0, VIEW_RW | MEMVIEW_MAP_REPLACE));
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

static void take_by_unmap(void)
{
	expect_ok(view_unmap(view, 0, SIZE));
}

static void take_by_replace(void)
{
	static int file;

	if (!file)
		file = make_file(SIZE);
	expect_ok(view_map(view, file, 0, SIZE, 0, VIEW_RW | MEMVIEW_MAP_REPLACE));
}

static void take_by_protect(void)
{
	expect_ok(view_protect(view, 0, SIZE, 0));
}

static void fire_at_guest(const unsigned char *code, size_t length, void (*take)(void), bool stores)
{
	volatile uint16_t *at_host, *at_guest, *turns;
	uint64_t began = now_ns();
	int round;

	begin(code, length);
	at_host = (volatile uint16_t *)host;
	at_guest = (volatile uint16_t *)(plain + 0x1000);
	turns = (volatile uint16_t *)(plain + 0x1008);
	for (round = 1; round <= 10 || (round <= 50 && now_ns() - began < UINT64_C(10000000000)); round++) {
		volatile uint16_t *from = stores ? at_guest : at_host, *to = stores ? at_host : at_guest;
		pthread_t thread;
		uint16_t turn;

		expect_ok(view_map(view, fd, 0, SIZE, 0, VIEW_RW | MEMVIEW_MAP_REPLACE));
		*from = 2 * round;
		*to = 0;
		run_answer = -1;
		rewind_code();
		expect_equal(0, pthread_create(&thread, NULL, run_guest, NULL));
		check(eventually(*to == 2 * round || run_answer != -1), "the guest does not run");
		expect_equal(-1, run_answer);
		turn = *turns;
		check(eventually(*turns != turn), "the guest does not turn");
		take();
		/* From now on no byte gets through. */
		*from = 2 * round + 1;
		if (stores)
			*to = 0xfff;
		check(eventually(run_answer != -1), "the guest runs on");
		if (!(stores && take == take_by_protect))
			expect_equal(EFAULT, run_answer);
		expect_equal(stores ? 0xfff : 2 * round, *to);
		pthread_join(thread, NULL);
	}
	diag("%d rounds", round);
}

TEST("G5 V3 UNMAP_FD takes a page from a guest that loads it all the time: EFAULT, and not a byte later",
     .seconds = 180)
{
	fire_at_guest(copy_for_ever, sizeof(copy_for_ever), take_by_unmap, false);
}

TEST("G5 V3 and from one that stores to it", .seconds = 180)
{
	fire_at_guest(store_for_ever, sizeof(store_for_ever), take_by_unmap, true);
}

TEST("G5 V3 so does REPLACE by another kind", .seconds = 180)
{
	fire_at_guest(copy_for_ever, sizeof(copy_for_ever), take_by_replace, false);
}

TEST("G5 V3 so does PROTECT, which leaves nothing", .seconds = 180)
{
	fire_at_guest(copy_for_ever, sizeof(copy_for_ever), take_by_protect, false);
}

TEST("G5 G4 BIND_VM takes nothing from a guest of the bound machine that runs", .seconds = 180)
{
	uint64_t began = now_ns();

	begin(copy_for_ever, sizeof(copy_for_ever));
	for (int round = 0; round < 5 || (round < 50 && now_ns() - began < UINT64_C(5000000000)); round++) {
		volatile uint16_t *turns = (volatile uint16_t *)(plain + 0x1008);
		pthread_t thread;
		uint16_t turn;

		fd = make_memfd_flags(SIZE, GUEST);
		expect_ok(view_map(view, fd, 0, SIZE, 0, VIEW_RW | MEMVIEW_MAP_REPLACE));
		run_answer = -1;
		rewind_code();
		turn = *turns;
		expect_equal(0, pthread_create(&thread, NULL, run_guest, NULL));
		check(eventually(*turns != turn), "the guest does not run");
		expect_ok(bind_vm(fd, vm));
		turn = *turns;
		check(eventually(*turns != turn), "the guest does not turn");
		expect_equal(-1, run_answer);
		take_by_unmap();
		pthread_join(thread, NULL);
		expect_equal(EFAULT, run_answer);
		close(fd);
	}
}

static _Atomic bool stop;

static void *bind_for_ever(void *unused)
{
	(void)unused;
	while (!stop)
		expect_errno(EBUSY, bind_vm(fd, vm));
	return NULL;
}

TEST("G5 G4 a BIND_VM that fails leaves no page in a mapping that was made meanwhile", .seconds = 180)
{
	pid_t pid;

	make_machine();
	fd = make_memfd_flags(SIZE, GUEST);
	view = make_view(SIZE);
	map_all();
	/* The owner has it, and nobody else can have it bound. */
	slot = map_view(view, 0, 0, PROT_NONE);
	pid = start_child();
	if (!pid) {
		int window = expect_ok(view_fd(view, 0));
		uint64_t began = now_ns();
		pthread_t thread;

		make_machine_over_view();
		expect_equal(0, pthread_create(&thread, NULL, bind_for_ever, NULL));
		while (now_ns() - began < UINT64_C(10000000000)) {
			expect_ok(mmap(slot, SIZE, PROT_NONE, MAP_SHARED | MAP_FIXED, window, 0));
			run_to_fault();
		}
		stop = true;
		pthread_join(thread, NULL);
		run_to_fault();
		succeed();
	}
	expect_success(pid);
	expect_ok(bind_vm(fd, vm));
}

/* ---- EXMEM_DESTROY while others keep the view busy ---- */

/* So much of a view that, page by page, it takes minutes. */
#define HUGE_HOLE (96 * GIB)

static void *destroy_object(void *unused)
{
	(void)unused;
	expect_ok(destroy(fd));
	return NULL;
}

/* What was allocated meanwhile stays as its owner wrote it. */
static void expect_no_stores(uint64_t ns)
{
	uint64_t began = now_ns();
	char *victims[8];

	for (size_t i = 0; i < ARRAY_SIZE(victims); i++) {
		victims[i] = map(make_memfd(BLOCK), BLOCK);
		fill(victims[i], BLOCK, i);
	}
	do {
		for (size_t i = 0; i < ARRAY_SIZE(victims); i++)
			expect_filled(victims[i], BLOCK, i);
	} while (now_ns() - began < ns);
}

TEST("G5 R16 EXMEM_DESTROY frees no page that a slot still has, if another view had the last reference", .seconds = 180)
{
	pthread_t guest, destroyer;
	int other, small;
	pid_t pid;

	begin(store_for_ever, sizeof(store_for_ever));
	fd = make_memfd_flags(BLOCK, GUEST);
	expect_ok(make_shared(fd, 5 * PAGE, PAGE));
	other = make_view(BLOCK);
	expect_ok(view_map(other, fd, 0, BLOCK, 0, VIEW_RW));
	expect_signal(0, signal_of_store(map_view(other, 0, 0, RW) + 5 * PAGE));
	view = make_view(BLOCK + HUGE_HOLE);
	small = make_memfd_flags(PAGE, GUEST);
	expect_ok(view_map(view, fd, 0, BLOCK, 0, VIEW_RW));
	expect_ok(view_map(view, small, 0, HUGE_HOLE, BLOCK, VIEW_R));
	slot = map_view(view, 0, BLOCK, PROT_NONE);
	expect_ok(set_slot(1, 0x2000, slot, 0));
	expect_ok(set_slot(1, 0x2000, slot, BLOCK));
	run_answer = -1;
	expect_equal(0, pthread_create(&guest, NULL, run_guest, NULL));
	check(eventually(*(volatile uint16_t *)(plain + 0x1008)), "the guest does not run");
	pid = start_child();
	if (!pid)
		for (;;)
			unmap(map_view(view, BLOCK, HUGE_HOLE, PROT_NONE), HUGE_HOLE);
	sleep_ms(500);
	expect_equal(0, pthread_create(&destroyer, NULL, destroy_object, NULL));
	sleep_ms(100);
	expect_no_stores(3000000000);
	check(eventually(run_answer != -1), "the guest runs on");
	expect_equal(EFAULT, run_answer);
	pthread_join(guest, NULL);
	pthread_join(destroyer, NULL);
	kill(pid, SIGKILL);
	expect_killed(SIGKILL, pid);
}

/* ---- its monitor is killed ---- */

TEST("L1 kill -9 of a monitor whose guest runs, at any moment, wipes and returns its memory", .seconds = 400)
{
	static const char *const names[] = { "pages_in_use", "objects", "mappings", "views", "view_ranges" };
	uint64_t *pfns = expect_ok(mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	char bytes[PAGE], *original = plain_memory(SIZE);
	long before[ARRAY_SIZE(names)];
	unsigned int seed = 1;

	/* While there is a machine, the kernel does not change its own code for the next: emulators are not good at that. */
	make_machine();
	fill(original, SIZE, 1);
	write_text("/sys/module/exclusive_memory/parameters/keep_blocks", "0");
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		before[i] = counter(names[i]);
	for (int round = 0; round < 20; round++) {
		pid_t pid = start_child();

		pfns[0] = 0;
		if (!pid) {
			pthread_t thread;

			begin(store_for_ever, sizeof(store_for_ever));
			populate_filled(fd, 0, SIZE, 1);
			for (size_t page = 1; page < PAGES; page++)
				pfns[page] = pfn_of((char *)host + page * PAGE);
			pfns[0] = 1;
			expect_ok(bind_vm(fd, vm));
			map_all();
			expect_equal(0, pthread_create(&thread, NULL, run_guest, NULL));
			for (;;) {
				make_shared(fd, PAGE, 4 * PAGE);
				view_unmap(view, 5 * PAGE, PAGE);
				make_private(fd, 2 * PAGE, 2 * PAGE);
				view_map(view, fd, 5 * PAGE, PAGE, 5 * PAGE, VIEW_RW);
			}
		}
		usleep(rand_r(&seed) % 300000);
		kill(pid, SIGKILL);
		expect_killed(SIGKILL, pid);
		for (size_t i = 0; i < ARRAY_SIZE(names); i++)
			expect_counter_soon(before[i], names[i]);
		for (size_t page = 1; pfns[0] && page < PAGES; page++) {
			check(eventually(!pfn_is_out_of_direct_map(pfns[page])), "page %zu is not back", page);
			expect_ok(read_page_content(pfns[page], bytes));
			check(!contains_piece(bytes, PAGE, original, SIZE), "page %zu has bytes of it", page);
		}
	}
}
