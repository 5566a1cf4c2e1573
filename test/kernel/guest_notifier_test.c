// SPDX-License-Identifier: GPL-2.0
/* R12 to R15, G3: in-kernel users of a guest object have references to its shared pages, and only to those. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>

#include "guest.h"
#include "process.h"
#include "test_module.h"
#include "view.h"

#define PAGES 8
#define SIZE (PAGES * PAGE)

static int fd;

/* The module keeps what is bound until it is told otherwise, a failed test's too. */
static void in_child(void (*run)(void))
{
	int status;
	pid_t pid;

	need_test_module();
	expect_ok(command("reset"));
	pid = start_child();
	if (!pid) {
		fd = make_memfd_flags(SIZE, GUEST);
		populate_filled(fd, 0, SIZE, 1);
		expect_ok(command("bind a %d", fd));
		run();
		succeed();
	}
	expect_equal(pid, waitpid(pid, &status, 0));
	expect_ok(command("reset"));
	check(status == 0, "a child ended with wait status 0x%x", status);
}

static void only_shared_pages(void)
{
	char *p = NULL;

	for (int mapped = 0; mapped < 2; mapped++) {
		if (mapped)
			p = map_none(fd, SIZE);
		for (int page = 0; page < PAGES; page++)
			expect_errno(EPERM, command("get a %d", page));
		expect_ok(make_shared(fd, 2 * PAGE, PAGE));
		expect_ok(command("get a 2"));
		expect_equal(1, info_of(fd).references);
		expect_errno(EPERM, command("get a 3"));
		check(errno_of(command("get a %d", PAGES)), "there is a page behind the object");
		expect_ok(command("put a"));
		expect_ok(make_private(fd, 2 * PAGE, PAGE));
		expect_errno(EPERM, command("get a 2"));
	}
	check(holds(p, SIZE, 1), "the bytes changed");
	expect_equal(0, info_of(fd).references);
}

TEST("R12 G3 a reference to a private page is EPERM, to a shared one it can be had, mapped or not")
{
	in_child(only_shared_pages);
}

static void a_mapping_is_no_matter(void)
{
	char *p;

	expect_ok(make_shared(fd, 0, PAGE));
	expect_ok(command("get a 0"));
	p = map_none(fd, SIZE);
	unmap(p, SIZE);
	check(!(state_of(fd) & EXMEM_STATE_DESTROYED), "it is destroyed");
	check(object_holds(fd, SIZE, 1), "the bytes changed");
	expect_equal(1, info_of(fd).references);
	expect_errno(ETIMEDOUT, wait_idle(fd, 1000));
	expect_ok(command("put a"));
	expect_ok(wait_idle(fd, -1));
}

TEST("R14 G3 references outlast a mapping, and do not destroy the object when it goes")
{
	in_child(a_mapping_is_no_matter);
}

static void told_of_conversions(void)
{
	expect_ok(make_shared(fd, 0, 4 * PAGE));
	expect_ok(command("clear"));
	expect_ok(make_private(fd, PAGE, 2 * PAGE));
	expect_told("a invalidate_start, a invalidate_end");
	expect_ok(command("clear"));
	expect_ok(destroy(fd));
	expect_told("a invalidate_start, a invalidate_end");
}

TEST("R16 G3 a notifier is told when pages become private, and when the object goes")
{
	in_child(told_of_conversions);
}

static _Atomic int answer;

static void *convert(void *unused)
{
	(void)unused;
	answer = errno_of(make_private(fd, 0, 2 * PAGE));
	return NULL;
}

static void waits_for_references(void)
{
	char *p = map_none(fd, SIZE);
	pthread_t thread;

	expect_ok(make_shared(fd, 0, 3 * PAGE));
	expect_ok(command("get a 1"));
	answer = -1;
	expect_equal(0, pthread_create(&thread, NULL, convert, NULL));
	sleep_ms(300);
	expect_equal(-1, answer);
	/* A page that somebody may look at is no private one. */
	check(!is_out_of_direct_map(p + PAGE), "it is out of the direct map already");
	expect_ok(command("put a"));
	check(eventually(answer != -1), "it waits for ever");
	expect_equal(0, answer);
	pthread_join(thread, NULL);
	check(is_out_of_direct_map(p + PAGE), "it is in the direct map");
	expect_equal(PAGE, info_of(fd).shared);
	check(holds(p, SIZE, 1), "the bytes changed");
}

TEST("G3 making a page private returns when the last reference to it is gone")
{
	in_child(waits_for_references);
}

static void other_pages_do_not_matter(void)
{
	expect_ok(make_shared(fd, 0, 4 * PAGE));
	expect_ok(command("get a 3"));
	expect_ok(make_private(fd, 0, 2 * PAGE));
	expect_equal(2 * PAGE, info_of(fd).shared);
	expect_ok(command("put a"));
	expect_ok(make_private(fd, 0, SIZE));
}

TEST("G3 references to other pages do not keep it waiting")
{
	in_child(other_pages_do_not_matter);
}

static void can_be_killed(void)
{
	char *p = map_none(fd, SIZE);
	pid_t pid;

	expect_ok(make_shared(fd, 0, PAGE));
	expect_ok(command("get a 0"));
	pid = start_child();
	if (!pid) {
		make_private(fd, 0, PAGE);
		succeed();
	}
	sleep_ms(200);
	kill(pid, SIGKILL);
	expect_killed(SIGKILL, pid);
	/* All of it or nothing of it. */
	expect_equal(info_of(fd).shared == 0, is_out_of_direct_map(p));
	expect_ok(command("put a"));
	expect_ok(make_private(fd, 0, PAGE));
	check(is_out_of_direct_map(p), "it is in the direct map");
	expect_ok(make_shared(fd, 0, PAGE));
	check(holds(p, SIZE, 1), "the bytes changed");
}

TEST("G3 who waits for a reference to go can be killed")
{
	in_child(can_be_killed);
}

static void veto_and_conversions(void)
{
	expect_ok(command("veto a %d", EPERM));
	expect_errno(EPERM, try_map_none(fd, SIZE));
	expect_ok(make_shared(fd, 0, PAGE));
	expect_ok(make_private(fd, 0, PAGE));
	expect_ok(command("veto a 0"));
	map_none(fd, SIZE);
}

TEST("R13 G1 a notifier can refuse a guest object's mapping, and nothing else")
{
	in_child(veto_and_conversions);
}

static void destroyed_with_references(void)
{
	char *p = map_none(fd, SIZE);

	expect_ok(make_shared(fd, 0, PAGE));
	expect_ok(command("get a 0"));
	expect_ok(destroy(fd));
	check(signal_of_load(p), "a load worked");
	expect_equal(0, pfn_of(p));
	expect_errno(ENXIO, command("get a 0"));
	expect_ok(command("put a"));
	expect_equal(0, info_of(fd).references);
	expect_equal(0, info_of(fd).resident);
}

TEST("R16 G3 a destroyed object is freed with its last reference")
{
	in_child(destroyed_with_references);
}
