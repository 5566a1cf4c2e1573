// SPDX-License-Identifier: GPL-2.0
/* L2: each allocation in each call fails once. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "fault_injection.h"
#include "memory.h"
#include "process.h"
#include "system.h"
#include "test_module.h"

#define SIZE (BLOCK + 5 * PAGE)
#define MOST 5000

/* What each attempt begins with. */
static int fd, device;
static char *p;
static size_t mapped;	/* bytes at p */
static int sockets[2];

static void begin_nothing(void)
{
}

static void begin_device(void)
{
	device = open_device();
}

static void begin_empty(void)
{
	fd = make_memfd(0);
}

static void begin_object(void)
{
	fd = make_memfd(SIZE);
}

static void begin_mapped(void)
{
	fd = make_memfd(SIZE);
	p = map(fd, SIZE);
	mapped = SIZE;
	fill(p, SIZE, 1);
}

static void begin_unmapped(void)
{
	begin_mapped();
	unmap(p, SIZE);
	p = NULL;
}

static void begin_sockets(void)
{
	begin_object();
	make_socket_pair(sockets);
}

static void begin_sent(void)
{
	begin_sockets();
	expect_ok(send_fd(sockets[0], fd));
}

/* The calls. */
static long call_open(void)
{
	return device = open(DEVICE, O_RDWR | O_CLOEXEC);
}

static long call_create(void)
{
	struct exmem_create create = { .size = SIZE, .name = "fault" };

	return fd = ioctl(device, EXMEM_CREATE, &create);
}

static long call_set_size(void)
{
	return set_size(fd, SIZE);
}

static long call_ftruncate(void)
{
	return ftruncate(fd, SIZE);
}

static long call_mmap(void)
{
	char *q;

	mapped = info_of(fd).size ?: SIZE;
	q = try_map(fd, mapped);
	if (q != MAP_FAILED)
		p = q;
	return (long)q == -1 ? -1 : 0;
}

static long call_mmap_device(void)
{
	fd = device;
	device = 0;
	return call_mmap();
}

static void begin_huge(void)
{
	fd = make_memfd_flags(2 * BLOCK, EXMEM_CREATE_HUGE);
}

static long call_munmap(void)
{
	long result = munmap(p, SIZE);

	if (!result)
		p = NULL;
	return result;
}

static long call_mprotect(void)
{
	return mprotect(p, SIZE, PROT_NONE) ?: mprotect(p, SIZE, PROT_READ | PROT_WRITE);
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

static long call_fork_with_mapping(void)
{
	madvise(p, SIZE, MADV_DOFORK);
	return call_fork();
}

static long call_get_info(void)
{
	struct exmem_info info;

	return ioctl(fd, EXMEM_GET_INFO, &info);
}

static long call_wait_idle(void)
{
	return wait_idle(fd, 1000);
}

static long call_destroy(void)
{
	return destroy(fd);
}

static long call_send(void)
{
	return send_fd(sockets[0], fd);
}

static long call_receive(void)
{
	int received = receive_fd(sockets[1]);

	if (received >= 0)
		close(received);
	return received < 0 ? -1 : 0;
}

static const struct {
	const char *name;
	void (*begin)(void);
	long (*call)(void);
	int errnos[3];		/* until a 0 */
} calls[] = {
	{ "open", begin_nothing, call_open, { ENOMEM } },
	{ "EXMEM_CREATE", begin_device, call_create, { ENOMEM } },
	{ "EXMEM_SET_SIZE", begin_empty, call_set_size, { ENOMEM } },
	{ "ftruncate", begin_empty, call_ftruncate, { ENOMEM } },
	{ "mmap", begin_object, call_mmap, { ENOMEM } },
	{ "mmap of what holds bytes", begin_unmapped, call_mmap, { ENOMEM } },
	{ "mmap of a device file", begin_device, call_mmap_device, { ENOMEM } },
	{ "mmap of whole blocks", begin_huge, call_mmap, { ENOMEM } },
	{ "mprotect", begin_mapped, call_mprotect, { ENOMEM } },
	{ "munmap", begin_mapped, call_munmap, { ENOMEM } },
	{ "fork", begin_mapped, call_fork, { ENOMEM, EAGAIN } },
	{ "fork with MADV_DOFORK", begin_mapped, call_fork_with_mapping, { ENOMEM, EAGAIN } },
	{ "EXMEM_GET_INFO", begin_mapped, call_get_info, { ENOMEM } },
	{ "EXMEM_WAIT_IDLE", begin_mapped, call_wait_idle, { ETIMEDOUT, ENOMEM } },
	{ "EXMEM_DESTROY", begin_mapped, call_destroy, { ENOMEM } },
	{ "sending", begin_sockets, call_send, { ENOMEM, ENOBUFS } },
	/* recvmsg(2) gives the message without a descriptor that it has no room for. */
	{ "receiving", begin_sent, call_receive, { ENOMEM, EMFILE } },
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
	if (p)
		unmap(p, mapped);
	for (int i = 0; i < 2; i++)
		if (sockets[i] > 0)
			close(sockets[i]);
	if (fd > 0)
		close(fd);
	if (device > 0)
		close(device);
	fd = device = sockets[0] = sockets[1] = 0;
	p = NULL;
}

static void expect_no_harm(size_t i, int n)
{
	/* Bytes that were there before the call are still there. */
	if (p && calls[i].begin == begin_mapped && calls[i].call != call_destroy)
		check(is_filled(p, SIZE, 1), "%s, allocation %d: the bytes changed", calls[i].name, n);
	if (calls[i].begin == begin_unmapped) {
		if (!p)
			p = map(fd, mapped);
		check(is_filled(p, SIZE, 1), "%s, allocation %d: the bytes changed", calls[i].name, n);
	}
	/* What failed can be done afterwards. */
	if ((calls[i].begin == begin_object || calls[i].begin == begin_huge) && !p)
		p = map(fd, mapped);
	if (calls[i].begin == begin_empty && !info_of(fd).size)
		expect_ok(ftruncate(fd, SIZE));
}

static void try_all_of(size_t i, bool keep_blocks)
{
	long pages, objects, mappings;
	int n, failures = 0;

	write_text("/sys/module/exclusive_memory/parameters/keep_blocks", keep_blocks ? "16" : "0");
	pages = counter("pages_in_use");
	objects = counter("objects");
	mappings = counter("mappings");
	for (n = 1; n < MOST; n++) {
		struct attempt attempt;

		calls[i].begin();
		attempt = call_with_fault(calls[i].call, n);
		if (attempt.result < 0) {
			failures++;
			check(is_documented(i, attempt.err), "%s, allocation %d: %s", calls[i].name, n,
			      errno_name(attempt.err));
		}
		expect_no_harm(i, n);
		end_attempt();
		expect_counter_soon(objects, "objects");
		expect_counter_soon(mappings, "mappings");
		expect_counter_soon(pages, "pages_in_use");
		if (!attempt.injected)
			break;
	}
	check(n < MOST, "%s does not end", calls[i].name);
	diag("%s: %d allocations, %d failures", calls[i].name, n - 1, failures);
}

static void try_all(bool keep_blocks)
{
	need_fault_injection();
	for (size_t i = 0; i < ARRAY_SIZE(calls); i++)
		try_all_of(i, keep_blocks);
}

TEST("L2 each allocation of each call fails once", .seconds = 900)
{
	try_all(false);
}

TEST("L2 and so with blocks kept for the next object", .seconds = 900)
{
	try_all(true);
}

/* ---- no whole blocks ---- */

/* In a child of the test, whose end ends it. */
static void without_blocks(void (*run)(void))
{
	int status;
	pid_t pid;

	need_fault_injection();
	write_text("/sys/module/exclusive_memory/parameters/keep_blocks", "0");
	if (counter("blocks"))
		diag("%ld blocks are there already", counter("blocks"));
	set_fault("fail_page_alloc", "min-order", "9");
	set_fault("fail_page_alloc", "times", "-1");
	set_fault("fail_page_alloc", "interval", "1");
	set_fault("fail_page_alloc", "probability", "100");
	pid = start_child();
	if (!pid) {
		run();
		succeed();
	}
	expect_equal(pid, waitpid(pid, &status, 0));
	set_fault("fail_page_alloc", "probability", "0");
	set_fault("fail_page_alloc", "min-order", "0");
	check(status == 0, "a child ended with wait status 0x%x", status);
}

static void use_single_pages(void)
{
	long single = counter("pages_single"), pages = counter("pages_in_use");
	int fds[4];

	for (int i = 0; i < 4; i++) {
		fds[i] = make_memfd(BLOCK);
		p = map(fds[i], BLOCK);
		expect_zero(p, BLOCK);
		fill(p, BLOCK, i);
		if (!access(DEBUGFS "exclusive_memory_test", F_OK))
			for (size_t page = 0; page < BLOCK / PAGE; page += 50)
				expect_equal(-EFAULT, read_page(pfn_of(p + page * PAGE)).direct_map);
		expect_equal(EXMEM_STATE_DIRECT_MAP_REMOVED, state_of(fds[i]) & EXMEM_STATE_DIRECT_MAP_REMOVED);
		expect_errno(EINVAL, munmap(p, PAGE));
		unmap(p, BLOCK);
	}
	expect_counter(pages + 4 * (long)(BLOCK / PAGE), "pages_in_use");
	check(counter("pages_single") > single, "no single page is in use");
	for (int i = 0; i < 4; i++) {
		p = map(fds[i], BLOCK);
		expect_filled(p, BLOCK, i);
		if (i % 2)
			unmap(p, BLOCK);
		expect_ok(destroy(fds[i]));
		if (i % 2 == 0)
			expect_signal(SIGBUS, signal_of_load(p));
	}
	expect_counter(single, "pages_single");
	expect_counter(pages, "pages_in_use");
}

TEST("L2 without whole blocks, single pages do", .seconds = 120)
{
	without_blocks(use_single_pages);
}

static void get_no_huge(void)
{
	fd = create_ioctl((struct exmem_create){ .size = 2 * BLOCK, .flags = EXMEM_CREATE_HUGE, .name = "huge" });
	if (fd < 0) {
		expect_equal(ENOMEM, errno);
		return;
	}
	expect_errno(ENOMEM, try_map(fd, 2 * BLOCK));
	expect_equal(0, info_of(fd).resident);
}

TEST("L2 without whole blocks, EXMEM_CREATE_HUGE is ENOMEM", .seconds = 120)
{
	without_blocks(get_no_huge);
}
