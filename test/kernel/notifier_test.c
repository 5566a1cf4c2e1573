// SPDX-License-Identifier: GPL-2.0
/* R12 to R15: users inside the kernel, by the module exclusive_memory_test. */
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "memory.h"
#include "process.h"
#include "system.h"
#include "test_module.h"

#define SIZE (8 * PAGE)

static const int64_t MS = 1000000;

static int fd;

/* An object that a, b and c are bound to, in this order. */
static void begin_bound(void)
{
	need_test_module();
	expect_ok(command("reset"));
	fd = make_memfd(SIZE);
	expect_ok(command("bind a %d", fd));
	expect_ok(command("bind b %d", fd));
	expect_ok(command("bind c %d", fd));
	expect_ok(command("clear"));
}

/* The module's notifiers do not end with a process: unbind them, whatever its status. */
static void reset_after(pid_t pid)
{
	int status;

	expect_equal(pid, waitpid(pid, &status, 0));
	expect_ok(command("reset"));
	expect_equal(0, info_of(fd).notifiers);
	expect_equal(0, info_of(fd).references);
	check(status == 0, "a child ended with wait status 0x%x", status);
}

/* In a child, so that the notifiers go also when a check fails. */
static void with_bound(void (*run)(void))
{
	pid_t pid;

	begin_bound();
	pid = start_child();
	if (!pid) {
		run();
		succeed();
	}
	reset_after(pid);
}

static short events(void)
{
	struct pollfd poll_fd = { fd, POLLIN | POLLOUT, 0 };

	expect_ok(poll(&poll_fd, 1, 0));
	return poll_fd.revents;
}

/* ---- R13: order and veto ---- */

static void hears_in_order(void)
{
	char *p = map(fd, SIZE);

	expect_told("a mmap_start, b mmap_start, c mmap_start, a mmap_end, b mmap_end, c mmap_end");
	fill(p, SIZE, 1);
	expect_ok(command("clear"));
	unmap(p, SIZE);
	expect_told("a munmap, b munmap, c munmap");
}

TEST("R13 each notifier hears of a mapping in the order of binding")
{
	with_bound(hears_in_order);
}

static void hears_each_time(void)
{
	for (int i = 0; i < 3; i++) {
		expect_ok(command("clear"));
		unmap(map(fd, SIZE), SIZE);
		expect_told("a mmap_start, b mmap_start, c mmap_start, a mmap_end, b mmap_end, c mmap_end, "
			    "a munmap, b munmap, c munmap");
	}
}

TEST("R13 and of each mapping")
{
	with_bound(hears_each_time);
}

static void hears_of_death(void)
{
	pid_t pid = start_child();

	if (!pid) {
		map(fd, SIZE);
		kill(getpid(), SIGKILL);
	}
	expect_killed(SIGKILL, pid);
	expect_told("a mmap_start, b mmap_start, c mmap_start, a mmap_end, b mmap_end, c mmap_end, "
		    "a munmap, b munmap, c munmap");
}

TEST("R13 the mapper's death is a munmap")
{
	with_bound(hears_of_death);
}

static void hears_of_no_failure(void)
{
	expect_errno(EINVAL, mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, fd, 0));
	expect_errno(EINVAL, try_map(fd, PAGE));
	expect_errno(EACCES, mmap(NULL, SIZE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0));
	expect_told("");
}

TEST("R13 what R1 and R2 refuse is not heard of")
{
	with_bound(hears_of_no_failure);
}

static void hears_once_while_mapped(void)
{
	char *p = map(fd, SIZE);

	expect_ok(command("clear"));
	expect_errno(EBUSY, try_map(fd, SIZE));
	expect_errno(EINVAL, munmap(p, PAGE));
	expect_errno(EINVAL, mprotect(p, PAGE, PROT_NONE));
	check((long)mremap(p, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, p - BLOCK) == -1, "moved");
	expect_told("");
	unmap(p, SIZE);
	expect_told("a munmap, b munmap, c munmap");
}

TEST("R13 what R3, R4 and R5 refuse is not heard of")
{
	with_bound(hears_once_while_mapped);
}

static void hears_nothing_of_fork(void)
{
	char *p = map(fd, SIZE);
	pid_t pid;

	expect_ok(command("clear"));
	expect_ok(madvise(p, SIZE, MADV_DOFORK));
	pid = start_child();
	if (!pid) {
		munmap(p, SIZE);
		succeed();
	}
	expect_success(pid);
	expect_told("");
}

TEST("R13 a fork, and what the child does then, is not heard of")
{
	with_bound(hears_nothing_of_fork);
}

static void vetoes(void)
{
	static const int errnos[] = { EPERM, EAGAIN, EBUSY, EKEYREJECTED, EIO };
	char *p;

	for (size_t i = 0; i < ARRAY_SIZE(errnos); i++) {
		long pages = counter("pages_in_use"), mappings = counter("mappings");

		expect_ok(command("clear"));
		expect_ok(command("veto c %d", errnos[i]));
		expect_errno(errnos[i], try_map(fd, SIZE));
		expect_told("a mmap_start, b mmap_start, c mmap_start, b mmap_abort, a mmap_abort");
		expect_counter(mappings, "mappings");
		check(counter("pages_in_use") >= pages, "pages went");

		expect_ok(command("clear"));
		expect_ok(command("veto b %d", errnos[i]));
		expect_errno(errnos[i], try_map(fd, SIZE));
		expect_told("a mmap_start, b mmap_start, a mmap_abort");

		expect_ok(command("clear"));
		expect_ok(command("veto a %d", errnos[i]));
		expect_errno(errnos[i], try_map(fd, SIZE));
		expect_told("a mmap_start");

		expect_ok(command("veto a 0"));
		expect_ok(command("veto b 0"));
		expect_ok(command("veto c 0"));
	}
	expect_equal(0, state_of(fd) & EXMEM_STATE_MAPPED);
	p = map(fd, SIZE);
	fill(p, SIZE, 1);
	expect_equal(0, field("/proc/self/status", "VmLck") % 4);
}

TEST("R13 a veto is what mmap fails with, and is undone in reverse order")
{
	with_bound(vetoes);
}

static void bytes_survive_veto(void)
{
	char *p = map(fd, SIZE);

	fill(p, SIZE, 1);
	unmap(p, SIZE);
	expect_ok(command("veto b 13"));
	expect_errno(EACCES, try_map(fd, SIZE));
	expect_ok(command("veto b 0"));
	expect_filled(map(fd, SIZE), SIZE, 1);
}

TEST("R13 a veto leaves the bytes")
{
	with_bound(bytes_survive_veto);
}

static void binds_while_mapped(void)
{
	char *p = map(fd, SIZE);
	int answer;

	expect_ok(command("clear"));
	answer = errno_of(command("bind d %d", fd));
	check(answer == 0 || answer == EBUSY, "bind: %s", errno_name(answer));
	unmap(p, SIZE);
	/* Who was not told of the beginning is not told of the end. */
	expect_told("a munmap, b munmap, c munmap");
}

TEST("R13 a notifier that comes during a mapping is not told of its end")
{
	with_bound(binds_while_mapped);
}

static void unbinds_while_mapped(void)
{
	char *p = map(fd, SIZE);

	expect_equal(3, info_of(fd).notifiers);
	expect_ok(command("unbind b"));
	expect_equal(2, info_of(fd).notifiers);
	expect_ok(command("clear"));
	unmap(p, SIZE);
	expect_told("a munmap, c munmap");
	expect_ok(command("clear"));
	unmap(map(fd, SIZE), SIZE);
	expect_told("a mmap_start, c mmap_start, a mmap_end, c mmap_end, a munmap, c munmap");
}

TEST("R13 a notifier that is unbound hears nothing any more")
{
	with_bound(unbinds_while_mapped);
}

TEST("R13 a device file has notifiers too, and another file has none")
{
	int other = expect_ok(memfd_create("plain", MFD_CLOEXEC)), device = open_device();
	pid_t pid;

	need_test_module();
	expect_ok(command("reset"));
	check(errno_of(command("bind p %d", other)), "a plain memfd was bound");
	expect_ok(command("bind a %d", device));
	fd = device;
	pid = start_child();
	if (!pid) {
		expect_ok(command("clear"));
		unmap(map(device, SIZE), SIZE);
		expect_told("a mmap_start, a mmap_end, a munmap");
		succeed();
	}
	reset_after(pid);
}

/* ---- R12: references ---- */

static void get_is_busy(void)
{
	char *p = map(fd, SIZE);

	expect_errno(EBUSY, command("get a 0"));
	expect_errno(EBUSY, command("get c 7"));
	unmap(p, SIZE);
	expect_ok(command("get a 0"));
	expect_equal(1, info_of(fd).references);
	expect_ok(command("put a"));
	expect_equal(0, info_of(fd).references);
}

TEST("R12 a reference is EBUSY while the object is mapped")
{
	with_bound(get_is_busy);
}

static void get_in_range(void)
{
	for (int index = 0; index < 8; index++)
		expect_ok(command("get a %d", index));
	expect_ok(command("get b 0"));
	expect_equal(9, info_of(fd).references);
	expect_equal(EXMEM_STATE_DIRECT_MAP_REMOVED, state_of(fd) & EXMEM_STATE_DIRECT_MAP_REMOVED);
	check(errno_of(command("get a 8")), "there is no page 8");
	check(errno_of(command("get a 1000000")), "there is no page 1000000");
	check(errno_of(command("get a -1")), "there is no page -1");
	expect_equal(9, info_of(fd).references);
	for (int index = 0; index < 8; index++)
		expect_ok(command("put a"));
	expect_ok(command("put b"));
	expect_equal(0, info_of(fd).references);
}

TEST("R12 references to each page of the object, and to none behind it")
{
	with_bound(get_in_range);
}

static void get_without_size(void)
{
	int empty = make_memfd(0);

	expect_ok(command("bind e %d", empty));
	check(errno_of(command("get e 0")), "a page of an object without a size");
	expect_ok(set_size(empty, PAGE));
	expect_ok(command("get e 0"));
	expect_ok(command("put e"));
	expect_ok(command("unbind e"));
}

TEST("R12 an object without a size has no page")
{
	with_bound(get_without_size);
}

static void yields(void)
{
	char *p = map(fd, SIZE);

	fill(p, SIZE, 1);
	unmap(p, SIZE);
	expect_ok(command("yield b 1"));
	expect_ok(command("get b 0"));
	expect_ok(command("get b 5"));
	p = map(fd, SIZE);
	expect_equal(0, info_of(fd).references);
	expect_filled(p, SIZE, 1);
	unmap(p, SIZE);
	expect_filled(map(fd, SIZE), SIZE, 1);
}

TEST("R14 references put when a mapping starts do no harm")
{
	with_bound(yields);
}

/* ---- R14: references that outlast a mapping ---- */

static void outlasted(void)
{
	long pages = counter("pages_in_use");
	char *p;

	expect_ok(command("get a 0"));
	expect_ok(command("get c 3"));
	p = map(fd, SIZE);
	fill(p, SIZE, 1);
	expect_errno(EBUSY, command("get a 1"));
	expect_equal(EXMEM_STATE_MAPPED, state_of(fd) & (EXMEM_STATE_MAPPED | EXMEM_STATE_DESTROYED));
	unmap(p, SIZE);

	expect_equal(EXMEM_STATE_DESTROYED, state_of(fd) & (EXMEM_STATE_MAPPED | EXMEM_STATE_DESTROYED));
	expect_errno(ENXIO, try_map(fd, SIZE));
	expect_errno(ENXIO, command("get a 1"));
	expect_equal(2, info_of(fd).references);
	check(counter("pages_in_use") > pages, "the pages went before their references");
	expect_ok(command("put a"));
	check(counter("pages_in_use") > pages, "the pages went before their last reference");
	expect_errno(ENXIO, try_map(fd, SIZE));
	expect_ok(command("put c"));
	expect_equal(0, info_of(fd).references);
	expect_equal(0, info_of(fd).resident);
	expect_counter(pages, "pages_in_use");
	expect_errno(ENXIO, try_map(fd, SIZE));
}

TEST("R14 an object whose references outlast a mapping is destroyed, and freed with the last")
{
	with_bound(outlasted);
}

static void outlasted_by_death(void)
{
	pid_t pid;

	expect_ok(command("get b 0"));
	pid = start_child();
	if (!pid) {
		map(fd, SIZE);
		kill(getpid(), SIGKILL);
	}
	expect_killed(SIGKILL, pid);
	expect_errno(ENXIO, try_map(fd, SIZE));
	expect_equal(EXMEM_STATE_DESTROYED, state_of(fd) & EXMEM_STATE_DESTROYED);
	expect_ok(command("put b"));
	expect_equal(0, info_of(fd).resident);
}

TEST("R14 also when the mapping went with its process")
{
	with_bound(outlasted_by_death);
}

static void referenced_and_destroyed(void)
{
	long pages = counter("pages_in_use");
	char *p;

	expect_ok(command("get a 0"));
	expect_ok(command("clear"));
	expect_ok(destroy(fd));
	expect_told("a invalidate_start, b invalidate_start, c invalidate_start, "
		    "a invalidate_end, b invalidate_end, c invalidate_end");
	expect_equal(1, info_of(fd).references);
	expect_errno(ENXIO, try_map(fd, SIZE));
	expect_ok(command("put a"));
	expect_counter(pages, "pages_in_use");
	p = try_map(fd, SIZE);
	expect_equal(-1, (long)p);
}

TEST("R16 destroy tells each notifier, and the last reference frees")
{
	with_bound(referenced_and_destroyed);
}

static void mapped_and_destroyed(void)
{
	char *p = map(fd, SIZE);
	const char *list;

	fill(p, SIZE, 1);
	expect_ok(command("clear"));
	expect_ok(destroy(fd));
	list = told();
	for (const char *name = "abc"; *name; name++) {
		char start[] = "? invalidate_start", end[] = "? invalidate_end";

		start[0] = end[0] = *name;
		check(strstr(list, start) && strstr(list, end) && strstr(list, start) < strstr(list, end),
		      "%c was told \"%s\"", *name, list);
	}
	expect_signal(SIGBUS, signal_of_load(p));
	expect_errno(ENXIO, command("get a 0"));
	unmap(p, SIZE);
	/* Whenever it was: each mmap_end has its munmap. */
	list = told();
	for (const char *name = "abc"; *name; name++) {
		char munmap_line[] = "? munmap", *first;

		munmap_line[0] = *name;
		first = strstr(list, munmap_line);
		check(first && !strstr(first + 1, munmap_line), "%c was told \"%s\"", *name, list);
	}
	expect_ok(command("clear"));
	expect_ok(destroy(fd));
	expect_told("");
}

TEST("R16 destroy during a mapping tells each notifier once")
{
	with_bound(mapped_and_destroyed);
}

static void closed_while_bound(void)
{
	int other = make_memfd(SIZE);
	long objects = counter("objects");

	expect_ok(command("bind d %d", other));
	expect_ok(command("get d 0"));
	close(other);
	expect_counter(objects, "objects");
	expect_ok(command("unbind d"));
	expect_counter_soon(objects - 1, "objects");
}

TEST("R14 a notifier keeps its object, though no process has it")
{
	with_bound(closed_while_bound);
}

/* ---- R15: idle ---- */

static void waits_for_mapping(void)
{
	uint64_t begin;
	char *p;

	expect_ok(wait_idle(fd, 0));
	expect_ok(wait_idle(fd, -1));
	expect_equal(POLLOUT, events());
	p = map(fd, SIZE);
	expect_equal(0, events());
	expect_errno(ETIMEDOUT, wait_idle(fd, 0));
	begin = now_ns();
	expect_errno(ETIMEDOUT, wait_idle(fd, 50 * MS));
	check(now_ns() - begin >= 50 * (uint64_t)MS, "%llu ns", (unsigned long long)(now_ns() - begin));
	expect_errno(ETIMEDOUT, wait_idle(fd, 1));
	unmap(p, SIZE);
	expect_ok(wait_idle(fd, 0));
	expect_ok(wait_idle(fd, INT64_MAX));
	expect_ok(wait_idle(fd, INT64_MIN));
	expect_equal(POLLOUT, events());
}

TEST("R15 EXMEM_WAIT_IDLE and poll, with a mapping")
{
	with_bound(waits_for_mapping);
}

static void waits_for_reference(void)
{
	expect_ok(command("get a 0"));
	expect_ok(command("get b 0"));
	expect_equal(0, events());
	expect_errno(ETIMEDOUT, wait_idle(fd, 0));
	expect_errno(ETIMEDOUT, wait_idle(fd, 10 * MS));
	expect_ok(command("put a"));
	expect_equal(0, events());
	expect_errno(ETIMEDOUT, wait_idle(fd, 0));
	expect_ok(command("put b"));
	expect_equal(POLLOUT, events());
	expect_ok(wait_idle(fd, 0));
}

TEST("R15 EXMEM_WAIT_IDLE and poll, with references")
{
	with_bound(waits_for_reference);
}

static void wakes_at_put(void)
{
	struct pollfd poll_fd;
	pid_t pid;

	expect_ok(command("get a 0"));
	pid = start_child();
	if (!pid) {
		sleep_ms(200);
		expect_ok(command("put a"));
		succeed();
	}
	poll_fd = (struct pollfd){ fd, POLLOUT, 0 };
	expect_equal(1, poll(&poll_fd, 1, 30000));
	expect_equal(POLLOUT, poll_fd.revents);
	expect_success(pid);
	expect_ok(command("get a 0"));
	pid = start_child();
	if (!pid) {
		sleep_ms(200);
		expect_ok(command("put a"));
		succeed();
	}
	expect_ok(wait_idle(fd, -1));
	expect_success(pid);
}

TEST("R15 the last reference wakes who waits")
{
	with_bound(wakes_at_put);
}

static void polls_destroyed(void)
{
	struct pollfd poll_fd = { fd, 0, 0 };
	char *p = map(fd, SIZE);
	pid_t pid = start_child();

	if (!pid) {
		sleep_ms(200);
		expect_ok(destroy(fd));
		succeed();
	}
	expect_equal(1, poll(&poll_fd, 1, 30000));
	expect_equal(POLLERR, poll_fd.revents);
	expect_success(pid);
	check(events() & POLLERR, "events 0x%x", events());
	unmap(p, SIZE);
	check(events() & POLLERR, "events 0x%x", events());
	expect_ok(wait_idle(fd, 0));
}

TEST("R15 poll reports POLLERR once destroyed")
{
	with_bound(polls_destroyed);
}

static volatile sig_atomic_t alarms;

static void on_alarm(int number)
{
	(void)number;
	alarms++;
}

static void is_interrupted(void)
{
	struct sigaction action = { .sa_handler = on_alarm };
	struct itimerval often = { { 0, 50000 }, { 0, 50000 } };

	map(fd, SIZE);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	expect_errno(EINTR, wait_idle(fd, -1));
	expect_errno(EINTR, wait_idle(fd, 30 * 1000 * MS));
	check(alarms >= 2, "%d alarms", (int)alarms);
}

TEST("R15 a signal interrupts EXMEM_WAIT_IDLE with EINTR")
{
	with_bound(is_interrupted);
}

static void is_killed(void)
{
	pid_t pid;

	map(fd, SIZE);
	pid = start_child();
	if (!pid) {
		wait_idle(fd, -1);
		succeed();
	}
	sleep_ms(200);
	kill(pid, SIGKILL);
	expect_killed(SIGKILL, pid);
}

TEST("R15 who waits can be killed")
{
	with_bound(is_killed);
}

/* ---- all at once ---- */

static void storm(void)
{
	uint64_t end = now_ns() + 3000 * (uint64_t)MS;
	pid_t pids[3];

	for (int i = 0; i < 3; i++) {
		pids[i] = start_child();
		if (pids[i])
			continue;
		while (now_ns() < end) {
			if (i == 0) {
				char *p = try_map(fd, SIZE);

				if (p != MAP_FAILED)
					unmap(p, SIZE);
				else
					check(errno == EACCES || errno == ENXIO, "mmap: %s", errno_name(errno));
			} else if (i == 1) {
				command("veto b 13");
				command("veto b 0");
				command("clear");
			} else {
				command("bind d %d", fd);
				command("yield d 1");
				command("get d 2");
				command("put d");
				command("unbind d");
			}
		}
		succeed();
	}
	for (int i = 0; i < 3; i++)
		expect_success(pids[i]);
}

TEST("R13 mappings, vetoes, references and binding at once")
{
	with_bound(storm);
}
