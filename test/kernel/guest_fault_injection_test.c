// SPDX-License-Identifier: GPL-2.0
/* L2: each allocation in each call on guest memory, and in each fault, fails once. */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "fault_injection.h"
#include "guest.h"
#include "process.h"
#include "system.h"
#include "test_module.h"
#include "view.h"

#define SIZE (BLOCK + 4 * PAGE)
#define MOST 3000

/* What each attempt begins with. */
static int fd, device, view;
static char *p, *window, *slot;
static char *image;	/* the bytes that begin_filled() brings */

static void begin_nothing(void)
{
}

static void begin_device(void)
{
	device = open_device();
}

static void begin_guest_device(void)
{
	fd = open_guest_device();
}

static void begin_object(void)
{
	fd = make_memfd_flags(SIZE, GUEST);
}

static void begin_huge(void)
{
	fd = make_memfd_flags(2 * BLOCK, GUEST | EXMEM_CREATE_HUGE);
}

static void begin_host_access(void)
{
	fd = make_memfd_flags(SIZE, HOST_ACCESS);
}

static void begin_filled(void)
{
	begin_object();
	expect_equal(0, populate(fd, 0, SIZE, image));
}

static void begin_mapped(void)
{
	begin_filled();
	p = map_none(fd, SIZE);
}

/* With a window through which shared pages are seen, and a slot, none of them touched. */
static void begin_views(void)
{
	begin_mapped();
	view = make_view(SIZE);
	expect_ok(view_map(view, fd, 0, SIZE, 0, VIEW_RW));
	window = map_view(view, 0, 0, RW);
	slot = map_view(view, 0, 0, PROT_NONE);
}

static void begin_shared(void)
{
	begin_views();
	expect_ok(make_shared(fd, 5 * PAGE, 10 * PAGE));
	expect_signal(0, signal_of_load(window + 6 * PAGE));
}

static void begin_all_shared(void)
{
	begin_views();
	expect_ok(make_shared(fd, 0, SIZE));
}

static void begin_empty_view(void)
{
	begin_mapped();
	view = make_view(SIZE);
	slot = map_view(view, 0, 0, PROT_NONE);
}

static void begin_slot(void)
{
	begin_empty_view();
	expect_ok(view_map(view, fd, 0, SIZE, 0, VIEW_RW));
}

static void begin_range(void)
{
	begin_mapped();
	view = make_view(SIZE);
	expect_ok(view_map(view, fd, 0, SIZE, 0, VIEW_RW));
}

/* The calls. */
static long call_create(void)
{
	struct exmem_create create = { .size = SIZE, .flags = GUEST, .name = "fault" };

	return fd = ioctl(device, EXMEM_CREATE, &create);
}

static long call_open(void)
{
	return fd = open(GUEST_DEVICE, O_RDWR | O_CLOEXEC);
}

static long call_mmap_of(int protection)
{
	char *q = mmap(NULL, info_of(fd).size ?: SIZE, protection, MAP_SHARED, fd, 0);

	if (q == MAP_FAILED)
		return -1;
	p = q;
	return 0;
}

static long call_mmap(void)
{
	return call_mmap_of(PROT_NONE);
}

static long call_mmap_readable(void)
{
	return call_mmap_of(RW);
}

static long call_populate(void)
{
	return populate(fd, 3, SIZE - 3, image + 3);
}

static long call_seal(void)
{
	return seal(fd, EXMEM_STATE_CONTENT_SEALED | EXMEM_STATE_LAYOUT_SEALED);
}

static long call_share_page(void)
{
	return make_shared(fd, 7 * PAGE, PAGE);
}

static long call_share_all(void)
{
	return make_shared(fd, 0, SIZE);
}

static long call_unshare_page(void)
{
	return make_private(fd, 7 * PAGE, PAGE);
}

static long call_unshare_all(void)
{
	return make_private(fd, 0, SIZE);
}

static long call_map_view(void)
{
	return view_map(view, fd, 0, SIZE, 0, VIEW_RW);
}

static long call_unmap_view(void)
{
	return view_unmap(view, 0, SIZE);
}

static long call_split_view(void)
{
	return view_unmap(view, 100 * PAGE, PAGE);
}

static long call_protect_view(void)
{
	return view_protect(view, 100 * PAGE, PAGE, VIEW_R);
}

static long call_mmap_view(void)
{
	int window_fd = view_fd(view, 0), err;
	char *q;

	if (window_fd < 0)
		return -1;
	q = mmap(NULL, SIZE, PROT_NONE, MAP_SHARED, window_fd, 0);
	err = errno;
	close(window_fd);
	errno = err;
	if (q == MAP_FAILED)
		return -1;
	slot = q;
	return 0;
}

static long call_destroy(void)
{
	return destroy(fd);
}

static long call_get_info(void)
{
	struct exmem_info info;

	return ioctl(fd, EXMEM_GET_INFO, &info);
}

static int pipes[2];

/* A fault cannot say ENOMEM; a system call that takes it says EFAULT. */
static long call_load(void)
{
	long result = write(pipes[1], window + 8 * PAGE, 1);
	char byte;

	if (result > 0)
		(void)!read(pipes[0], &byte, 1);
	return result;
}

static const struct {
	const char *name;
	void (*begin)(void);
	long (*call)(void);
	int errnos[3];		/* until a 0 */
} calls[] = {
	{ "EXMEM_CREATE", begin_device, call_create, { ENOMEM } },
	{ "open", begin_nothing, call_open, { ENOMEM } },
	{ "mmap", begin_object, call_mmap, { ENOMEM } },
	{ "mmap of what holds bytes", begin_filled, call_mmap, { ENOMEM } },
	{ "mmap of whole blocks", begin_huge, call_mmap, { ENOMEM } },
	{ "mmap with HOST_ACCESS", begin_host_access, call_mmap_readable, { ENOMEM } },
	{ "mmap of a device file", begin_guest_device, call_mmap_readable, { ENOMEM } },
	{ "POPULATE of a new object", begin_object, call_populate, { ENOMEM } },
	{ "POPULATE", begin_filled, call_populate, { ENOMEM } },
	{ "SEAL", begin_filled, call_seal, { ENOMEM } },
	{ "SET_SHARED of a new object", begin_object, call_share_all, { ENOMEM } },
	{ "SET_SHARED of a page", begin_views, call_share_page, { ENOMEM } },
	{ "SET_SHARED of all", begin_views, call_share_all, { ENOMEM } },
	{ "making a page private", begin_shared, call_unshare_page, { ENOMEM } },
	{ "making all private", begin_all_shared, call_unshare_all, { ENOMEM } },
	{ "MAP_FD", begin_empty_view, call_map_view, { ENOMEM } },
	{ "UNMAP_FD", begin_slot, call_unmap_view, { ENOMEM } },
	{ "UNMAP_FD of a part", begin_slot, call_split_view, { ENOMEM } },
	{ "PROTECT of a part", begin_slot, call_protect_view, { ENOMEM } },
	{ "mmap of a view", begin_range, call_mmap_view, { ENOMEM } },
	{ "a load of a shared page", begin_shared, call_load, { EFAULT, ENOMEM } },
	{ "EXMEM_GET_INFO", begin_mapped, call_get_info, { ENOMEM } },
	{ "EXMEM_DESTROY", begin_all_shared, call_destroy, { ENOMEM } },
};

static bool is_documented(size_t i, int err)
{
	for (size_t j = 0; j < ARRAY_SIZE(calls[i].errnos) && calls[i].errnos[j]; j++)
		if (err == calls[i].errnos[j])
			return true;
	return false;
}

static void end_attempt(uint64_t size)
{
	int *const fds[] = { &fd, &device, &view };

	if (p)
		unmap(p, size);
	if (window)
		unmap(window, SIZE);
	if (slot)
		unmap(slot, SIZE);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		if (*fds[i] > 0)
			close(*fds[i]);
		*fds[i] = 0;
	}
	p = window = slot = NULL;
}

/* A few pages of it, from the first to the last. */
static void expect_bytes(const char *memory)
{
	static const size_t pages[] = { 0, 7, 8, 100, BLOCK / PAGE - 1, BLOCK / PAGE, SIZE / PAGE - 1 };
	char bytes[PAGE];

	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		read_physical(memory + pages[i] * PAGE, bytes, PAGE);
		check(!memcmp(bytes, image + pages[i] * PAGE, PAGE), "page %zu has other bytes", pages[i]);
	}
}

/* The object, the direct map and the window tell the same of a page. */
static void expect_agreement(size_t page, bool is_shared)
{
	if (p)
		expect_equal(!is_shared, is_out_of_direct_map(p + page * PAGE));
	if (window)
		expect_signal(is_shared ? 0 : SIGBUS, signal_of_load(window + page * PAGE));
}

/* A call that failed changed nothing, and can be made again; one that did not has done its work. */
static void expect_no_harm(size_t i, int n, bool failed)
{
	int err, tries = 0;

	if (failed && calls[i].begin == begin_views) {
		expect_equal(0, info_of(fd).shared);
		expect_agreement(7, false);
		expect_agreement(SIZE / PAGE - 1, false);
	}
	if (failed && calls[i].begin == begin_all_shared && calls[i].call != call_destroy) {
		expect_equal(SIZE, info_of(fd).shared);
		expect_agreement(7, true);
		expect_agreement(SIZE / PAGE - 1, true);
	}
	if (failed && calls[i].call == call_map_view) {
		expect_no_ranges(view);
		expect_equal(0, pfn_of(slot));
	}
	if (failed && calls[i].begin == begin_slot)
		for (size_t page = 99; page < 102; page++)
			expect_equal(pfn_of(p + page * PAGE), pfn_of(slot + page * PAGE));
	if (failed) {
		while ((err = errno_of(calls[i].call())) && ++tries < 5)
			sleep_ms(20);
		check(!tries, "%s, allocation %d: then, with memory, it failed %d times more, the last answer is %s",
		      calls[i].name, n, tries, errno_name(err));
	}
	if (calls[i].call == call_share_page || calls[i].call == call_share_all)
		expect_agreement(7, true);
	if (calls[i].call == call_unshare_page || calls[i].call == call_unshare_all)
		expect_agreement(7, false);
	if (calls[i].call == call_share_page || calls[i].call == call_unshare_all)
		expect_agreement(20, false);
	if (calls[i].call == call_map_view || calls[i].call == call_mmap_view)
		expect_equal(pfn_of(p + 20 * PAGE), pfn_of(slot + 20 * PAGE));
	if (calls[i].call == call_unmap_view || calls[i].call == call_split_view)
		expect_equal(0, pfn_of(slot + 100 * PAGE));
	/* Whatever there was of an image is there. */
	if (calls[i].begin != begin_nothing && calls[i].begin != begin_device && calls[i].begin != begin_huge &&
	    calls[i].begin != begin_object && calls[i].begin != begin_host_access &&
	    calls[i].begin != begin_guest_device && calls[i].call != call_destroy) {
		if (!p)
			p = map_none(fd, SIZE);
		expect_bytes(p);
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
		end_attempt(calls[i].begin == begin_huge ? 2 * BLOCK : SIZE);
		for (size_t j = 0; j < ARRAY_SIZE(names); j++)
			expect_counter_soon(before[j], names[j]);
		if (!attempt.injected)
			break;
	}
	check(n < MOST, "%s does not end", calls[i].name);
	diag("%s: %d allocations, %d failures", calls[i].name, n - 1, failures);
}

static void try_all(const char *keep_blocks)
{
	need_fault_injection();
	need_test_module();
	image = plain_memory(SIZE);
	fill(image, SIZE, 1);
	expect_ok(pipe2(pipes, O_NONBLOCK | O_CLOEXEC));
	write_text("/sys/module/exclusive_memory/parameters/keep_blocks", keep_blocks);
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		try_all_of(i);
}

TEST("L2 each allocation of each call fails once", .seconds = 1800)
{
	try_all("0");
}

TEST("L2 and so with blocks kept for the next object", .seconds = 1800)
{
	try_all("16");
}

/* ---- no whole blocks ---- */

static void use_single_pages(void)
{
	long single = counter("pages_single");

	begin_all_shared();
	check(counter("pages_single") > single, "no single page is in use");
	expect_bytes(p);
	expect_ok(make_private(fd, PAGE, 300 * PAGE));
	expect_equal(SIZE - 300 * PAGE, info_of(fd).shared);
	for (size_t page = 0; page < 2; page++)
		expect_agreement(page, !page);
	expect_agreement(300, false);
	expect_agreement(301, true);
	expect_ok(make_private(fd, 0, SIZE));
	expect_bytes(p);
	expect_equal(EXMEM_STATE_DIRECT_MAP_REMOVED, state_of(fd) & EXMEM_STATE_DIRECT_MAP_REMOVED);
	end_attempt(SIZE);
	expect_counter_soon(single, "pages_single");
	fd = create_ioctl((struct exmem_create){ .size = 2 * BLOCK, .flags = GUEST | EXMEM_CREATE_HUGE, .name = "huge" });
	if (fd < 0) {
		expect_equal(ENOMEM, errno);
		return;
	}
	expect_errno(ENOMEM, try_map_none(fd, 2 * BLOCK));
}

TEST("L2 without whole blocks, single pages do, and HUGE is ENOMEM", .seconds = 300)
{
	int status;
	pid_t pid;

	need_fault_injection();
	image = plain_memory(SIZE);
	fill(image, SIZE, 1);
	write_text("/sys/module/exclusive_memory/parameters/keep_blocks", "0");
	set_fault("fail_page_alloc", "min-order", "9");
	set_fault("fail_page_alloc", "times", "-1");
	set_fault("fail_page_alloc", "interval", "1");
	set_fault("fail_page_alloc", "probability", "100");
	pid = start_child();
	if (!pid) {
		use_single_pages();
		succeed();
	}
	expect_equal(pid, waitpid(pid, &status, 0));
	set_fault("fail_page_alloc", "probability", "0");
	set_fault("fail_page_alloc", "min-order", "0");
	check(status == 0, "a child ended with wait status 0x%x", status);
}
