// SPDX-License-Identifier: GPL-2.0
/*
 * A source that does not answer: a frozen file system, on which a store of
 * process B waits. What the owner takes back is taken back all the same.
 */
#include <linux/fs.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "disk.h"
#include "process.h"
#include "system.h"
#include "view.h"

#define SIZE (4 * PAGE)
/* A source that does not answer never does; a kernel that checks itself is slow. */
#define SOON_NS 15000000000ull

static struct disk disk;
static int directory, view, on_disk, secret;
static pid_t stalled;
static char *p;

static void freeze(void)
{
	expect_ok(ioctl(directory, FIFREEZE, 0));
}

static void thaw(void)
{
	expect_ok(ioctl(directory, FITHAW, 0));
}

/* Page 0 is of the file system, page 1 is not; somebody waits for the first. */
static void begin(void)
{
	disk = make_disk(32 * MIB);
	directory = expect_ok(open(disk.directory, O_RDONLY | O_DIRECTORY));
	on_disk = make_file_on(&disk, "file", 2 * PAGE);
	secret = make_filled_file(PAGE, 1);
	view = make_view(SIZE);
	expect_ok(view_map(view, on_disk, 0, PAGE, 0, VIEW_RW));
	expect_ok(view_map(view, secret, 0, PAGE, PAGE, VIEW_RW));
	p = map_view(view, 0, SIZE, RW);
	expect_filled(p + PAGE, PAGE, 1);
	freeze();
	stalled = start_child();
	if (!stalled) {
		close(view);
		*(volatile char *)p = 1;
		succeed();
	}
	/* It is not there yet, and cannot be. */
	sleep_ms(300);
	expect_equal(0, waitpid(stalled, NULL, WNOHANG));
}

static void end(void)
{
	thaw();
	expect_success(stalled);
	expect_ok(view_sync(view));
}

/* Another range of the same file system, which may have to wait. */
static void *map_more(void *unused)
{
	int file = make_file_on(&disk, "another", PAGE);

	view_map(view, file, 0, PAGE, 2 * PAGE, VIEW_RW);
	return unused;
}

#define expect_soon(call)								\
	do {										\
		uint64_t begin_ns_ = now_ns();						\
											\
		expect_ok(call);							\
		check(now_ns() - begin_ns_ < SOON_NS, "%s took %.1f s", #call,		\
		      (now_ns() - begin_ns_) / 1e9);					\
	} while (0)

TEST("V3 UNMAP_FD does not wait for a source", .seconds = 120)
{
	begin();
	expect_soon(view_unmap(view, PAGE, PAGE));
	expect_signal(SIGBUS, signal_of_load(p + PAGE));
	expect_soon(view_unmap(view, 0, PAGE));
	thaw();
	/* What it waited for is gone. */
	expect_killed(SIGBUS, stalled);
	expect_ok(view_sync(view));
}

TEST("V3 nor does PROTECT", .seconds = 120)
{
	begin();
	expect_soon(view_protect(view, 0, SIZE, VIEW_R));
	expect_signal(SIGSEGV, signal_of_store(p + PAGE));
	thaw();
	expect_killed(SIGSEGV, stalled);
}

TEST("V3 nor do they while a MAP_FD does", .seconds = 120)
{
	pthread_t thread;

	begin();
	expect_equal(0, pthread_create(&thread, NULL, map_more, NULL));
	sleep_ms(300);
	expect_soon(view_unmap(view, PAGE, PAGE));
	expect_signal(SIGBUS, signal_of_load(p + PAGE));
	end();
	pthread_join(thread, NULL);
}

TEST("V10 nor does the end of the control file", .seconds = 120)
{
	begin();
	expect_soon(close(view));
	expect_signal(SIGBUS, signal_of_load(p + PAGE));
	thaw();
	expect_killed(SIGBUS, stalled);
}

TEST("L1 hundreds of views that end at once are gone soon, and do not keep others", .seconds = 240)
{
	long views = counter("views");
	int gate = make_gate(), file = make_filled_file(PAGE, 1);
	pid_t child = start_child();

	if (!child) {
		for (int i = 0; i < 600; i++)
			expect_ok(view_map(make_view(SIZE), file, 0, PAGE, 0, VIEW_R));
		open_gate(gate);
		pause();
	}
	wait_at_gate(gate);
	check(counter("views") >= views + 600, "%ld views", counter("views"));
	kill(child, SIGKILL);
	expect_killed(SIGKILL, child);
	expect_soon(view_map(make_view(SIZE), file, 0, PAGE, 0, VIEW_R));
	for (int i = 0; i < 120 && counter("views") > views + 1; i++)
		sleep_ms(500);
	expect_counter(views + 1, "views");
}
