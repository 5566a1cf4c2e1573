// SPDX-License-Identifier: GPL-2.0
/* L2: each allocation in each call on a view, and in each fault, fails once. */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "fault_injection.h"
#include "process.h"
#include "system.h"
#include "view.h"

#define PAGES 32
#define SIZE (PAGES * PAGE)
#define MOST 2000

/* What each attempt begins with: the ranges are in the pages from 8 on. */
static int control, view_file, source, object, fd;
static char *p, *memory;

static void begin_nothing(void)
{
}

static void begin_control(void)
{
	control = open_control();
}

static void begin_view(void)
{
	control = make_view(SIZE);
	source = make_filled_file(SIZE, 1);
}

static void begin_object(void)
{
	begin_view();
	object = make_memfd(SIZE);
}

static void begin_ranges(void)
{
	begin_view();
	expect_ok(view_map(control, source, 8 * PAGE, 8 * PAGE, 8 * PAGE, VIEW_RW));
	p = map_view(control, 0, 0, RW);
	expect_signal(0, signal_of_load(p + 8 * PAGE));
	expect_signal(0, signal_of_store(p + 9 * PAGE));
}

/* Nothing of it is in the page table. */
static void begin_untouched(void)
{
	begin_view();
	expect_ok(view_map(control, source, 8 * PAGE, 8 * PAGE, 8 * PAGE, VIEW_RW));
	p = map_view(control, 0, 0, RW);
}

static void begin_memory(void)
{
	control = make_view(SIZE);
	memory = expect_ok(mmap(NULL, SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

static void begin_memory_range(void)
{
	begin_memory();
	expect_ok(view_map_memory(control, memory, SIZE, 0, VIEW_RW));
	p = map_view(control, 0, 0, RW);
}

static void begin_object_range(void)
{
	char *q;

	begin_object();
	q = map(object, SIZE);
	fill(q, SIZE, 1);
	unmap(q, SIZE);
	expect_ok(view_map(control, object, 0, SIZE, 0, VIEW_RW));
	p = map_view(control, 0, 0, RW);
}

static void begin_view_fd(void)
{
	begin_view();
	expect_ok(view_map(control, source, 0, SIZE, 0, VIEW_RW));
	view_file = expect_ok(view_fd(control, 0));
}

/* The calls. */
static long call_open(void)
{
	return control = open(VIEW_DEVICE, O_RDWR | O_CLOEXEC);
}

static long call_set_size(void)
{
	return view_set_size(control, SIZE);
}

static long call_map_fd(void)
{
	return view_map(control, source, 0, 8 * PAGE, 8 * PAGE, VIEW_RW);
}

static long call_replace(void)
{
	return view_map(control, source, 20 * PAGE, 2 * PAGE, 11 * PAGE, VIEW_R | MEMVIEW_MAP_REPLACE);
}

static long call_map_object(void)
{
	return view_map(control, object, 0, SIZE, 0, VIEW_RW);
}

static long call_map_mem(void)
{
	return view_map_memory(control, memory, SIZE, 0, VIEW_RW);
}

static long call_unmap(void)
{
	return view_unmap(control, 0, SIZE);
}

static long call_split(void)
{
	return view_unmap(control, 11 * PAGE, PAGE);
}

static long call_protect(void)
{
	return view_protect(control, 11 * PAGE, PAGE, VIEW_R);
}

static long call_get_view_fd(void)
{
	return view_file = view_fd(control, 0);
}

static long call_get_ranges(void)
{
	struct memview_range ranges[8];
	struct memview_get_ranges get = { .ranges = (uintptr_t)ranges, .capacity = 8 };

	return ioctl(control, MEMVIEW_GET_RANGES, &get);
}

static long call_sync(void)
{
	return view_sync(control);
}

static long call_mmap(void)
{
	char *q = mmap(NULL, SIZE, RW, MAP_SHARED, view_file, 0);

	if (q == MAP_FAILED)
		return -1;
	p = q;
	return 0;
}

static long call_fork(void)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		_exit(0);
	if (pid > 0 && (waitpid(pid, &status, 0) != pid || status))
		fail("the child's wait status is 0x%x", status);
	return pid < 0 ? -1 : 0;
}

/* Made before anything fails. */
static int pipes[2];

/* A fault cannot say ENOMEM; a system call that takes it says EFAULT. */
static long fault_in(size_t offset, bool store)
{
	long result;
	char byte = 1;

	if (store) {
		expect_equal(1, write(pipes[1], &byte, 1));
		result = read(pipes[0], p + offset, 1);
		if (result < 0)
			(void)!read(pipes[0], &byte, 1);
	} else {
		result = write(pipes[1], p + offset, 1);
		if (result > 0)
			(void)!read(pipes[0], &byte, 1);
	}
	return result;
}

static long call_load(void)
{
	return fault_in(8 * PAGE, false);
}

static long call_store(void)
{
	return fault_in(15 * PAGE, true);
}

static const struct {
	const char *name;
	void (*begin)(void);
	long (*call)(void);
	int errnos[3];		/* until a 0 */
} calls[] = {
	{ "open", begin_nothing, call_open, { ENOMEM } },
	{ "SET_SIZE", begin_control, call_set_size, { ENOMEM } },
	{ "MAP_FD", begin_view, call_map_fd, { ENOMEM } },
	{ "MAP_FD with REPLACE", begin_ranges, call_replace, { ENOMEM } },
	{ "MAP_FD of exclusive memory", begin_object, call_map_object, { ENOMEM } },
	{ "MAP_MEM", begin_memory, call_map_mem, { ENOMEM } },
	{ "UNMAP_FD", begin_ranges, call_unmap, { ENOMEM } },
	{ "UNMAP_FD of a part", begin_ranges, call_split, { ENOMEM } },
	{ "UNMAP_FD of exclusive memory", begin_object_range, call_unmap, { ENOMEM } },
	{ "PROTECT of a part", begin_ranges, call_protect, { ENOMEM } },
	{ "GET_VIEWFD", begin_ranges, call_get_view_fd, { ENOMEM } },
	{ "GET_RANGES", begin_ranges, call_get_ranges, { ENOMEM } },
	{ "SYNC", begin_ranges, call_sync, { ENOMEM } },
	{ "mmap", begin_view_fd, call_mmap, { ENOMEM } },
	{ "fork", begin_ranges, call_fork, { ENOMEM, EAGAIN } },
	{ "a load", begin_untouched, call_load, { EFAULT, ENOMEM } },
	{ "a store", begin_untouched, call_store, { EFAULT, ENOMEM } },
	{ "a load of the owner's memory", begin_memory_range, call_load, { EFAULT, ENOMEM } },
	{ "a store to the owner's memory", begin_memory_range, call_store, { EFAULT, ENOMEM } },
	{ "a load of exclusive memory", begin_object_range, call_load, { EFAULT, ENOMEM } },
};

static bool is_documented(size_t i, int err)
{
	for (size_t j = 0; j < ARRAY_SIZE(calls[i].errnos) && calls[i].errnos[j]; j++)
		if (err == calls[i].errnos[j])
			return true;
	return false;
}

static void end_attempt(void)
{
	int *const fds[] = { &control, &view_file, &source, &object, &fd };

	if (p)
		unmap(p, SIZE);
	if (memory)
		unmap(memory, SIZE);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		if (*fds[i] > 0)
			close(*fds[i]);
		*fds[i] = 0;
	}
	p = memory = NULL;
}

/* A call that failed changed nothing, and can be made again; one that did not has done its work. */
static void expect_no_harm(size_t i, int n, bool failed)
{
	int err, tries = 0;

	if (calls[i].begin == begin_ranges && failed && calls[i].call != call_sync) {
		expect_ranges(control, { 8, 8, 8, VIEW_RW });
		for (size_t page = 8; page < 16; page++)
			expect_signal(0, signal_of_store(p + page * PAGE));
		expect_signal(SIGBUS, signal_of_load(p));
	}
	if (failed) {
		while ((err = errno_of(calls[i].call())) && ++tries < 5)
			sleep_ms(20);
		check(!tries, "%s, allocation %d: then, with memory, it failed %d times more, the last answer is %s",
		      calls[i].name, n, tries, errno_name(err));
	}
	if (calls[i].call == call_split)
		expect_signal(SIGBUS, signal_of_load(p + 11 * PAGE));
	if (calls[i].call == call_protect || calls[i].call == call_replace)
		expect_signal(SIGSEGV, signal_of_zero(p + 11 * PAGE));
	if (calls[i].call == call_unmap) {
		expect_no_ranges(control);
		for (size_t page = 0; page < PAGES; page++)
			expect_signal(SIGBUS, signal_of_load(p + page * PAGE));
	}
	if (calls[i].call == call_map_fd || calls[i].call == call_map_object || calls[i].call == call_map_mem) {
		expect_equal(1, count_ranges(control));
		if (!p)
			p = map_view(control, 0, 0, RW);
		expect_signal(0, signal_of_store(p + 8 * PAGE));
	}
}

static void try_all_of(size_t i)
{
	static const char *const names[] = { "views", "view_ranges", "objects", "mappings", "pages_in_use" };
	long before[ARRAY_SIZE(names)];
	int n, failures = 0;

	for (size_t j = 0; j < ARRAY_SIZE(names); j++)
		before[j] = counter(names[j]);
	for (n = 1; n < MOST; n++) {
		struct attempt attempt;

		calls[i].begin();
		attempt = call_with_fault(calls[i].call, n);
		if (attempt.result < 0) {
			failures++;
			check(is_documented(i, attempt.err), "%s, allocation %d: %s", calls[i].name, n,
			      errno_name(attempt.err));
		}
		expect_no_harm(i, n, attempt.result < 0);
		end_attempt();
		for (size_t j = 0; j < ARRAY_SIZE(names); j++)
			expect_counter_soon(before[j], names[j]);
		if (!attempt.injected)
			break;
	}
	check(n < MOST, "%s does not end", calls[i].name);
	diag("%s: %d allocations, %d failures", calls[i].name, n - 1, failures);
}

TEST("L2 each allocation of each call fails once", .seconds = 900)
{
	need_fault_injection();
	expect_ok(pipe2(pipes, O_NONBLOCK | O_CLOEXEC));
	write_text("/sys/module/exclusive_memory/parameters/keep_blocks", "0");
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		try_all_of(i);
}

/* Now and then any allocation fails: what B has found is right all the same. */
static void disturbed(void)
{
	uint64_t end = now_ns() + UINT64_C(10000000000), loads = 0, faults = 0, value;
	unsigned int round = 0;

	catch_access_signals();
	for (; now_ns() < end; round++) {
		size_t page = 8 + round % 8;

		errno_of(view_unmap(control, 8 * PAGE, 8 * PAGE));
		errno_of(view_map(control, source, 8 * PAGE, 8 * PAGE, 8 * PAGE, VIEW_RW | MEMVIEW_MAP_REPLACE));
		value = page;
		pwrite(source, &value, 8, page * PAGE) == 8 ? 0 : faults++;
		if (try_load((uint64_t *)(p + page * PAGE), &value))
			faults++;
		else
			loads++;
		errno_of(view_sync(control));
	}
	diag("%llu loads, %llu SIGBUS", (unsigned long long)loads, (unsigned long long)faults);
	check(loads > 10, "hardly any load");
}

TEST("L2 calls and faults while allocations fail at random", .seconds = 120)
{
	int status;
	pid_t pid;

	need_fault_injection();
	pid = start_child();
	if (!pid) {
		begin_ranges();
		expect_ok(write_text("/proc/self/make-it-fail", "1"));
		disturbed();
		succeed();
	}
	set_fault("failslab", "task-filter", "Y");
	set_fault("fail_page_alloc", "task-filter", "Y");
	set_fault("failslab", "times", "-1");
	set_fault("fail_page_alloc", "times", "-1");
	set_fault("failslab", "interval", "1");
	set_fault("fail_page_alloc", "interval", "1");
	set_fault("failslab", "probability", "5");
	set_fault("fail_page_alloc", "probability", "5");
	expect_equal(pid, waitpid(pid, &status, 0));
	set_fault("failslab", "probability", "0");
	set_fault("fail_page_alloc", "probability", "0");
	set_fault("failslab", "task-filter", "N");
	set_fault("fail_page_alloc", "task-filter", "N");
	check(status == 0, "a child ended with wait status 0x%x", status);
}
