// SPDX-License-Identifier: GPL-2.0
/* V9: exclusive memory as a source. */
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "process.h"
#include "system.h"
#include "view.h"

#define PAGES 16
#define SIZE (PAGES * PAGE)
#define YIELD MEMVIEW_MAP_YIELD

static const int64_t SECOND = 1000000000;

static int view, fd;
static struct peer b;

/* Exclusive memory of known bytes, in a view that B has. */
static void begin(uint32_t flags)
{
	char *p;

	b = start_peer();
	fd = make_memfd(SIZE);
	p = map(fd, SIZE);
	fill(p, SIZE, 1);
	unmap(p, SIZE);
	view = make_view(SIZE);
	expect_ok(view_map(view, fd, 0, SIZE, 0, flags));
	give_view(&b, view, SIZE);
}

static void expect_all_gone(void)
{
	for (size_t page = 0; page < PAGES; page++) {
		expect_access(SIGBUS, peer_load(&b, page * PAGE));
		expect_access(SIGBUS, peer_store(&b, page * PAGE, 1));
	}
}

/* Nothing inside the kernel uses it any more. */
static void expect_free(void)
{
	expect_equal(0, info_of(fd).references);
	expect_equal(0, info_of(fd).notifiers);
	expect_ok(wait_idle(fd, 0));
}

TEST("V9 B finds the bytes, stores, and the next mapping of the object has them")
{
	begin(VIEW_RW);
	expect_ranges_of(MEMVIEW_KIND_EXCLUSIVE, view, { 0, PAGES, 0, VIEW_RW });
	check(peer_finds(&b, 0, SIZE, 1), "B finds other bytes");
	peer_fills(&b, 0, SIZE, 2);
	check(info_of(fd).notifiers == 1, "%u notifiers", info_of(fd).notifiers);
	check(info_of(fd).references > 0, "no references");
	expect_errno(ETIMEDOUT, wait_idle(fd, 0));
	expect_ok(view_unmap(view, 0, SIZE));
	expect_all_gone();
	expect_free();
	expect_filled(map(fd, SIZE), SIZE, 2);
	end_peer(&b);
}

TEST("V9 memory that nobody ever mapped is zeros")
{
	b = start_peer();
	fd = make_memfd(SIZE);
	view = make_view(SIZE);
	expect_ok(view_map(view, fd, 0, SIZE, 0, VIEW_RW));
	give_view(&b, view, SIZE);
	check(peer_finds_zeros(&b, 0, SIZE), "B finds other bytes");
	peer_fills(&b, 0, SIZE, 3);
	check(peer_finds(&b, 0, SIZE, 3), "B finds other bytes");
	expect_ok(view_unmap(view, 0, SIZE));
	expect_filled(map(fd, SIZE), SIZE, 3);
	end_peer(&b);
}

TEST("V9 an object of the device file can be a source, too")
{
	char *p;

	b = start_peer();
	fd = open_device();
	p = map(fd, SIZE);
	fill(p, SIZE, 1);
	unmap(p, SIZE);
	view = make_view(SIZE);
	expect_ok(view_map(view, fd, 0, SIZE, 0, VIEW_R));
	give_view(&b, view, SIZE);
	check(peer_finds(&b, 0, SIZE, 1), "B finds other bytes");
	expect_access(SIGSEGV, peer_store(&b, 0, 1));
	end_peer(&b);
}

TEST("V9 EXEC of it is EPERM")
{
	begin(VIEW_R);
	expect_ok(view_unmap(view, 0, SIZE));
	expect_errno(EPERM, view_map(view, fd, 0, SIZE, 0, VIEW_RX));
	expect_errno(EPERM, view_map(view, fd, 0, SIZE, 0, VIEW_RWX));
	expect_no_ranges(view);
	expect_free();
	expect_ok(view_map(view, fd, 0, SIZE, 0, VIEW_RW));
	expect_errno(EPERM, view_protect(view, 0, SIZE, VIEW_RX));
	expect_ranges_of(MEMVIEW_KIND_EXCLUSIVE, view, { 0, PAGES, 0, VIEW_RW });
	end_peer(&b);
}

TEST("V9 a descriptor open for reading only is EACCES for WRITE")
{
	fd = expect_ok(open(DEVICE, O_RDONLY | O_CLOEXEC));
	expect_ok(set_size(fd, SIZE));
	view = make_view(SIZE);
	expect_errno(EACCES, view_map(view, fd, 0, SIZE, 0, VIEW_RW));
	expect_ok(view_map(view, fd, 0, SIZE, 0, VIEW_R));
	expect_errno(EACCES, view_protect(view, 0, SIZE, VIEW_RW));
	expect_zero(map_view(view, 0, 0, PROT_READ), SIZE);
}

/* ---- without YIELD ---- */

TEST("V9 while the view holds its pages, a mapping is EBUSY, and B is not disturbed")
{
	begin(VIEW_RW);
	check(peer_finds(&b, 0, SIZE, 1), "B finds other bytes");
	for (int i = 0; i < 20; i++)
		expect_errno(EBUSY, try_map(fd, SIZE));
	check(peer_finds(&b, 0, SIZE, 1), "B finds other bytes");
	expect_ok(view_unmap(view, 0, SIZE - PAGE));
	expect_access(0, peer_load(&b, SIZE - PAGE));
	expect_errno(EBUSY, try_map(fd, SIZE));
	expect_ok(view_unmap(view, SIZE - PAGE, PAGE));
	expect_filled(map(fd, SIZE), SIZE, 1);
	expect_all_gone();
	end_peer(&b);
}

TEST("V9 mapping it into a view while it is mapped is EBUSY without YIELD, and changes nothing")
{
	char *p;

	begin(VIEW_RW);
	expect_ok(view_unmap(view, 0, SIZE));
	p = map(fd, SIZE);
	expect_errno(EBUSY, view_map(view, fd, 0, SIZE, 0, VIEW_RW));
	expect_no_ranges(view);
	expect_equal(0, info_of(fd).notifiers);
	expect_filled(p, SIZE, 1);
	unmap(p, SIZE);
	expect_ok(view_map(view, fd, 0, SIZE, 0, VIEW_RW));
	check(peer_finds(&b, 0, SIZE, 1), "B finds other bytes");
	end_peer(&b);
}

TEST("V9 the owner's end lets the object go")
{
	begin(VIEW_RW);
	check(peer_finds(&b, 0, SIZE, 1), "B finds other bytes");
	close(view);
	expect_all_gone();
	expect_free();
	expect_filled(map(fd, SIZE), SIZE, 1);
	end_peer(&b);
}

/* ---- with YIELD ---- */

TEST("V9 with YIELD the view gives way: SIGBUS for as long, and then the bytes", .seconds = 120)
{
	begin(VIEW_RW | YIELD);
	for (uint64_t round = 1; round <= 30; round++) {
		char *p;

		check(peer_finds(&b, 0, SIZE, round), "B finds other bytes");
		p = map(fd, SIZE);
		expect_all_gone();
		expect_filled(p, SIZE, round);
		fill(p, SIZE, round + 1);
		expect_ranges_of(MEMVIEW_KIND_EXCLUSIVE, view, { 0, PAGES, 0, VIEW_RW | YIELD });
		expect_errno(EBUSY, try_map(fd, SIZE));
		unmap(p, SIZE);
		check(peer_finds(&b, 0, SIZE, round + 1), "B finds other bytes");
	}
	end_peer(&b);
}

TEST("V9 with YIELD it can be mapped into a view while it is mapped")
{
	char *p;

	begin(VIEW_RW | YIELD);
	expect_ok(view_unmap(view, 0, SIZE));
	p = map(fd, SIZE);
	expect_ok(view_map(view, fd, 0, SIZE, 0, VIEW_RW | YIELD));
	expect_all_gone();
	expect_filled(p, SIZE, 1);
	expect_ok(view_unmap(view, 0, PAGE));
	expect_ok(view_protect(view, PAGE, PAGE, VIEW_R));
	unmap(p, SIZE);
	expect_access(SIGBUS, peer_load(&b, 0));
	expect_access(SIGSEGV, peer_store(&b, PAGE, 1));
	expect_access(0, peer_store(&b, 2 * PAGE, 1));
	expect_ok(view_unmap(view, 0, SIZE));
	expect_free();
	end_peer(&b);
}

TEST("V9 the mapper's death gives the view its bytes again")
{
	int mapped = make_gate();
	pid_t pid;

	begin(VIEW_RW | YIELD);
	pid = start_child();
	if (!pid) {
		fill(map(fd, SIZE), SIZE, 5);
		open_gate(mapped);
		pause();
	}
	wait_at_gate(mapped);
	expect_all_gone();
	kill(pid, SIGKILL);
	expect_killed(SIGKILL, pid);
	check(peer_finds(&b, 0, SIZE, 5), "B finds other bytes");
	end_peer(&b);
}

TEST("V9 of two views, one that does not yield refuses for both")
{
	int other;
	char *p;

	begin(VIEW_RW | YIELD);
	other = make_view(SIZE);
	expect_ok(view_map(other, fd, 0, SIZE, 0, VIEW_RW));
	p = map_view(other, 0, 0, RW);
	expect_filled(p, SIZE, 1);
	check(peer_finds(&b, 0, SIZE, 1), "B finds other bytes");
	expect_equal(2, info_of(fd).notifiers);
	expect_errno(EBUSY, try_map(fd, SIZE));
	check(peer_finds(&b, 0, SIZE, 1), "B finds other bytes, after a mapping that was refused");
	fill(p, SIZE, 2);
	check(peer_finds(&b, 0, SIZE, 2), "B finds other bytes");
	expect_ok(view_unmap(other, 0, SIZE));
	expect_signal(SIGBUS, signal_of_load(p));
	p = map(fd, SIZE);
	expect_all_gone();
	unmap(p, SIZE);
	check(peer_finds(&b, 0, SIZE, 2), "B finds other bytes");
	expect_equal(1, info_of(fd).notifiers);
	end_peer(&b);
}

TEST("V9 of many ranges of one object, the last one lets it go")
{
	begin(VIEW_R);
	expect_ok(view_unmap(view, 0, SIZE));
	expect_free();
	for (size_t page = 0; page < PAGES; page++)
		expect_ok(view_map(view, fd, (PAGES - 1 - page) * PAGE, PAGE, page * PAGE, VIEW_R));
	for (size_t page = 0; page < PAGES; page++)
		expect_access(0, peer_load(&b, page * PAGE));
	check(info_of(fd).notifiers >= 1, "no notifier");
	for (size_t page = 0; page < PAGES; page++) {
		expect_errno(EBUSY, try_map(fd, SIZE));
		expect_ok(view_unmap(view, page * PAGE, PAGE));
		expect_access(SIGBUS, peer_load(&b, page * PAGE));
	}
	expect_free();
	end_peer(&b);
}

/* ---- the object's end ---- */

TEST("V9 R16 EXMEM_DESTROY of the source is SIGBUS for B")
{
	long pages = counter("pages_in_use");

	begin(VIEW_RW);
	check(peer_finds(&b, 0, SIZE, 1), "B finds other bytes");
	expect_ok(destroy(fd));
	expect_all_gone();
	expect_counter_soon(pages, "pages_in_use");
	expect_ok(view_unmap(view, 0, SIZE));
	expect_equal(0, info_of(fd).references);
	expect_equal(0, info_of(fd).notifiers);
	end_peer(&b);
}

TEST("V9 a destroyed object as a source is ENXIO, or SIGBUS")
{
	int answer;

	begin(VIEW_RW);
	expect_ok(view_unmap(view, 0, SIZE));
	expect_ok(destroy(fd));
	answer = errno_of(view_map(view, fd, 0, SIZE, 0, VIEW_RW));
	check(answer == ENXIO || !answer, "%s", errno_name(answer));
	expect_all_gone();
	end_peer(&b);
}

TEST("V9 the view keeps an object whose descriptors are closed")
{
	long objects = counter("objects"), pages = counter("pages_in_use");

	begin(VIEW_RW);
	close(fd);
	expect_counter(objects + 1, "objects");
	check(peer_finds(&b, 0, SIZE, 1), "B finds other bytes");
	expect_ok(view_unmap(view, 0, SIZE));
	expect_counter_soon(objects, "objects");
	expect_counter_soon(pages, "pages_in_use");
	expect_all_gone();
	end_peer(&b);
}

TEST("V9 a range that is longer than the object is SIGBUS behind it, or EINVAL")
{
	int answer;

	begin(VIEW_RW);
	expect_ok(view_unmap(view, 0, SIZE));
	answer = errno_of(view_map(view, fd, SIZE - PAGE, 2 * PAGE, 0, VIEW_RW));
	diag("%s", errno_name(answer));
	if (!answer) {
		expect_access(0, peer_load(&b, 0));
		expect_access(SIGBUS, peer_load(&b, PAGE));
	} else {
		expect_equal(EINVAL, answer);
		expect_free();
	}
	end_peer(&b);
}

/* ---- under load ---- */

static volatile bool stop;
static char *p;
static volatile long loads, faults, wrong;

static void *look(void *unused)
{
	uint64_t value;

	(void)unused;
	while (!stop) {
		int signal = try_load((volatile uint64_t *)(p + 3 * PAGE), &value);

		loads += !signal;
		faults += signal == SIGBUS;
		wrong += signal && signal != SIGBUS;
	}
	return NULL;
}

TEST("V9 the object is mapped, and ranges come and go, while B looks all the time", .seconds = 120)
{
	pthread_t threads[2];
	int refused = 0;

	begin(VIEW_RW | YIELD);
	p = map_view(view, 0, 0, RW);
	catch_access_signals();
	for (int i = 0; i < 2; i++)
		expect_equal(0, pthread_create(&threads[i], NULL, look, NULL));
	for (uint64_t round = 0; round < 500; round++) {
		char *q;

		if (round % 3 == 0) {
			expect_ok(view_unmap(view, 0, SIZE));
			expect_ok(wait_idle(fd, 10 * SECOND));
			q = map(fd, SIZE);
			unmap(q, SIZE);
			expect_ok(view_map(view, fd, 0, SIZE, 0, VIEW_RW | (round % 2 ? YIELD : 0)));
		} else {
			q = try_map(fd, SIZE);
			if (q == MAP_FAILED) {
				expect_equal(EBUSY, errno);
				refused++;
			} else {
				*(volatile uint64_t *)(q + 3 * PAGE) = round;
				expect_equal(round, *(volatile uint64_t *)(q + 3 * PAGE));
				unmap(q, SIZE);
			}
		}
		if (round % 16 == 0)
			sleep_ms(1);
	}
	stop = true;
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	diag("%ld loads, %ld SIGBUS, %d mappings refused", loads, faults, refused);
	check(loads && faults && refused, "one of them never happened");
	expect_equal(0, wrong);
	expect_ok(view_unmap(view, 0, SIZE));
	expect_free();
	end_peer(&b);
}
