// SPDX-License-Identifier: GPL-2.0
/* G3: which pages of a guest object the host may see, and when it no longer does. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>

#include "guest.h"
#include "process.h"
#include "system.h"
#include "test_module.h"
#include "view.h"

#define PAGES 16
#define SIZE (PAGES * PAGE)

#define SHARED EXMEM_SHARE_SHARED
#define WIPE EXMEM_SHARE_WIPE

static int fd, view;
static char *window;	/* the whole object, in a view */
static char *p;		/* its own mapping */

/* A window of any object. */
static char *open_window(int object, uint64_t size)
{
	view = make_view(size);
	expect_ok(view_map(view, object, 0, size, 0, VIEW_RW));
	return map_view(view, 0, 0, RW);
}

static void begin_of(uint32_t flags)
{
	fd = make_memfd_flags(SIZE, flags);
	populate_filled(fd, 0, SIZE, 1);
	window = open_window(fd, SIZE);
	p = map_none(fd, SIZE);
}

static void begin(void)
{
	begin_of(GUEST);
}

/* As fill() left it in the whole object. */
static bool is_original(const char *bytes, size_t page)
{
	static char *original;

	if (!original) {
		original = plain_memory(SIZE);
		fill(original, SIZE, 1);
	}
	return !memcmp(bytes, original + page * PAGE, PAGE);
}

static void expect_private(size_t page)
{
	expect_signal(SIGBUS, signal_of_load(window + page * PAGE));
	expect_signal(SIGBUS, signal_of_zero(window + page * PAGE + PAGE - 1));
	check(is_out_of_direct_map(p + page * PAGE), "page %zu is in the direct map", page);
}

static void expect_shared(size_t page)
{
	uint64_t pfn = pfn_of(p + page * PAGE);

	expect_signal(0, signal_of_load(window + page * PAGE));
	expect_equal(pfn, direct_map_pfn(pfn));
	expect_equal(0, read_page(pfn).direct_map);
}

/* Exactly these pages are shared, a bit for each. */
static void expect_shared_pages(uint32_t pages)
{
	expect_equal(__builtin_popcount(pages) * PAGE, info_of(fd).shared);
	for (size_t page = 0; page < PAGES; page++)
		if (pages & 1U << page)
			expect_shared(page);
		else
			expect_private(page);
	if (pages != (1U << PAGES) - 1)
		expect_equal(EXMEM_STATE_DIRECT_MAP_REMOVED, state_of(fd) & EXMEM_STATE_DIRECT_MAP_REMOVED);
}

/* ---- what a conversion does ---- */

TEST("G3 all pages start private: no view shows one")
{
	begin();
	expect_shared_pages(0);
	expect_signal(SIGSEGV, signal_of_load(p));
	check(holds(p, SIZE, 1), "the bytes changed");
}

TEST("G3 a page that is made shared keeps its bytes, in the view and in the direct map")
{
	char *bytes = plain_memory(PAGE);

	begin();
	expect_ok(make_shared(fd, 3 * PAGE, 2 * PAGE));
	expect_shared_pages(0x18);
	for (size_t page = 3; page < 5; page++) {
		check(is_original(window + page * PAGE, page), "the view shows other bytes");
		expect_ok(read_mapped_page(pfn_of(p + page * PAGE), bytes));
		check(is_original(bytes, page), "the direct map shows other bytes");
	}
	/* The monitor's own mapping stays what it was. */
	expect_signal(SIGSEGV, signal_of_load(p + 3 * PAGE));
	check(holds(p, SIZE, 1), "the bytes changed");
}

TEST("G3 what is stored through the view is in the page, and stays when it is made private")
{
	char *bytes = plain_memory(SIZE);

	begin();
	expect_ok(make_shared(fd, 0, SIZE));
	fill(window, SIZE, 2);
	check(holds(p, SIZE, 2), "the pages have other bytes");
	expect_ok(make_private(fd, PAGE, 4 * PAGE));
	expect_shared_pages(0xffe1);
	check(holds(p, SIZE, 2), "the bytes changed");
	expect_ok(make_private(fd, 0, SIZE));
	expect_shared_pages(0);
	check(holds(p, SIZE, 2), "the bytes changed");
	expect_ok(make_shared(fd, 0, SIZE));
	memcpy(bytes, window, SIZE);
	expect_filled(bytes, SIZE, 2);
}

TEST("G3 the page itself does not change, there and back")
{
	uint64_t pfns[PAGES];

	begin();
	for (size_t page = 0; page < PAGES; page++)
		pfns[page] = pfn_of(p + page * PAGE);
	for (int i = 0; i < 5; i++) {
		expect_ok(make_shared(fd, i * PAGE, 3 * PAGE));
		expect_ok(make_private(fd, i * PAGE, (i % 3 + 1) * PAGE));
	}
	for (size_t page = 0; page < PAGES; page++)
		expect_equal(pfns[page], pfn_of(p + page * PAGE));
	check(holds(p, SIZE, 1), "the bytes changed");
}

TEST("G3 WIPE zeros the range, and only it, in either direction")
{
	char *bytes = plain_memory(SIZE);

	begin();
	expect_ok(set_shared(fd, 2 * PAGE, 2 * PAGE, SHARED | WIPE));
	expect_zero(window + 2 * PAGE, 2 * PAGE);
	fill(window + 2 * PAGE, 2 * PAGE, 7);
	expect_ok(set_shared(fd, 3 * PAGE, PAGE, WIPE));
	expect_shared_pages(0x4);
	expect_filled(window + 2 * PAGE, PAGE, 7);
	read_physical(p, bytes, SIZE);
	expect_zero(bytes + 3 * PAGE, PAGE);
	for (size_t page = 0; page < PAGES; page++)
		if (page != 2 && page != 3)
			check(is_original(bytes + page * PAGE, page), "page %zu changed", page);
}

TEST("G3 a range that is what it should be already is fine, and WIPE zeros it all the same")
{
	char *bytes = plain_memory(SIZE);

	begin();
	expect_ok(make_private(fd, 0, SIZE));
	expect_shared_pages(0);
	check(holds(p, SIZE, 1), "the bytes changed");
	expect_ok(set_shared(fd, PAGE, PAGE, WIPE));
	expect_shared_pages(0);
	expect_ok(make_shared(fd, 4 * PAGE, 2 * PAGE));
	expect_ok(make_shared(fd, 3 * PAGE, 4 * PAGE));
	expect_shared_pages(0x78);
	check(is_original(window + 4 * PAGE, 4), "the bytes changed");
	expect_ok(set_shared(fd, 4 * PAGE, PAGE, SHARED | WIPE));
	expect_shared_pages(0x78);
	read_physical(p, bytes, SIZE);
	for (size_t page = 0; page < PAGES; page++)
		check(page == 1 || page == 4 ? is_zero(bytes + page * PAGE, PAGE) : is_original(bytes + page * PAGE, page),
		      "page %zu has other bytes", page);
}

TEST("G3 POPULATE reaches shared pages too")
{
	begin();
	expect_ok(make_shared(fd, PAGE, PAGE));
	populate_filled(fd, 0, SIZE, 3);
	check(holds(p, SIZE, 3), "other bytes");
	expect_shared_pages(0x2);
}

TEST("G3 an object that nobody populated or mapped")
{
	fd = make_memfd_flags(SIZE, GUEST);
	expect_ok(make_shared(fd, 0, 2 * PAGE));
	expect_equal(2 * PAGE, info_of(fd).shared);
	window = open_window(fd, SIZE);
	p = map_none(fd, SIZE);
	expect_shared_pages(0x3);
	expect_zero(window, 2 * PAGE);
	fill(window, 2 * PAGE, 4);
	check(holds(p, 2 * PAGE, 4), "other bytes");
}

TEST("G3 the last page of a size that is no whole page")
{
	fd = make_memfd_flags(SIZE - 100, GUEST);
	expect_ok(make_shared(fd, SIZE - PAGE, PAGE));
	expect_errno(EINVAL, make_shared(fd, SIZE - PAGE, 2 * PAGE));
	window = open_window(fd, SIZE);
	p = map_none(fd, SIZE);
	expect_shared_pages(0x8000);
	expect_zero(window + SIZE - PAGE, PAGE);
}

TEST("G3 any ranges, in any order", .seconds = 180)
{
	char *bytes = plain_memory(SIZE), *expected = plain_memory(SIZE);
	unsigned int seed = 1;
	uint32_t shared = 0;

	begin();
	fill(expected, SIZE, 1);
	for (int round = 1; round <= 200; round++) {
		size_t at = rand_r(&seed) % PAGES, n = 1 + rand_r(&seed) % (PAGES - at);
		uint32_t flags = (rand_r(&seed) % 2 ? SHARED : 0) | (rand_r(&seed) % 4 ? 0 : WIPE);
		uint32_t mask = ((1U << n) - 1) << at;

		expect_ok(set_shared(fd, at * PAGE, n * PAGE, flags));
		shared = flags & SHARED ? shared | mask : shared & ~mask;
		if (flags & WIPE)
			memset(expected + at * PAGE, 0, n * PAGE);
		for (size_t page = 0; page < PAGES; page++) {
			uint64_t *word = (uint64_t *)(expected + page * PAGE) + round % (PAGE / 8);

			if (!(shared & 1U << page))
				continue;
			*word = round;
			*(volatile uint64_t *)(window + ((char *)word - expected)) = round;
		}
		expect_shared_pages(shared);
		if (round % 10)
			continue;
		read_physical(p, bytes, SIZE);
		check(!memcmp(bytes, expected, SIZE), "other bytes, in round %d", round);
	}
}

TEST("G3 single pages and whole blocks of a large object", .seconds = 180)
{
	static const size_t size = 2 * BLOCK + 4 * PAGE;
	static const struct { uint64_t at, n; uint32_t flags; uint64_t shared; } steps[] = {
		{ 511, 2, SHARED, 2 }, { 0, 512, SHARED, 513 }, { 100, 1, 0, 512 }, { 512, 512, SHARED, 1023 },
		{ 1024, 4, SHARED, 1027 }, { 0, 1028, 0, 0 }, { 0, 1028, SHARED, 1028 }, { 600, 300, 0, 728 },
	};
	char *bytes = plain_memory(size), *now = plain_memory(size);

	fd = make_memfd_flags(size, GUEST);
	populate_filled(fd, 0, size, 1);
	fill(bytes, size, 1);
	window = open_window(fd, size);
	p = map_none(fd, size);
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		expect_ok(set_shared(fd, steps[i].at * PAGE, steps[i].n * PAGE, steps[i].flags));
		expect_equal(steps[i].shared * PAGE, info_of(fd).shared);
		for (size_t page = steps[i].at; page < steps[i].at + steps[i].n; page += 17)
			if (steps[i].flags)
				check(!memcmp(window + page * PAGE, bytes + page * PAGE, PAGE), "page %zu has other bytes", page);
			else
				expect_private(page);
	}
	read_physical(p, now, size);
	check(!memcmp(now, bytes, size), "the bytes changed");
}

/* ---- views of it ---- */

TEST("G3 a guest object can be mapped into a view at any time, and a view is no obstacle to its mapping")
{
	char *other;

	begin();
	expect_ok(make_shared(fd, 0, PAGE));
	expect_shared(0);
	/* Mapped, and in a view already. */
	other = open_window(fd, SIZE);
	check(is_original(other, 0), "other bytes");
	expect_signal(SIGBUS, signal_of_load(other + PAGE));
	unmap(p, SIZE);
	check(is_original(other, 0), "after munmap: other bytes");
	p = map_none(fd, SIZE);
	check(is_original(other, 0), "after mmap: other bytes");
	check(holds(p, SIZE, 1), "the bytes changed");
	unmap(p, SIZE);
	check(!(state_of(fd) & EXMEM_STATE_DESTROYED), "munmap destroyed it");
	check(is_original(window, 0), "other bytes");
}

TEST("G3 a view shows pages that are shared later, in each of several windows and processes")
{
	struct peer b = start_peer();
	char *other;

	begin();
	give_view(&b, view, SIZE);
	other = open_window(fd, SIZE);
	expect_access(SIGBUS, peer_load(&b, 0));
	expect_ok(make_shared(fd, 0, 2 * PAGE));
	expect_equal(0, peer_load(&b, 0).signal);
	expect_signal(0, signal_of_load(other));
	fill(other, PAGE, 5);
	check(peer_finds(&b, 0, PAGE, 5), "B finds other bytes");
	expect_ok(make_private(fd, 0, PAGE));
	expect_access(SIGBUS, peer_load(&b, 0));
	expect_access(SIGBUS, peer_store(&b, 0, 1));
	expect_signal(SIGBUS, signal_of_load(other));
	expect_signal(SIGBUS, signal_of_load(window));
	expect_access(0, peer_store(&b, PAGE, 1));
	end_peer(&b);
}

TEST("G3 V5 the view's own permissions count for shared pages")
{
	begin();
	expect_ok(make_shared(fd, 0, SIZE));
	expect_ok(view_protect(view, 0, PAGE, VIEW_R));
	expect_signal(0, signal_of_load(window));
	expect_signal(SIGSEGV, signal_of_zero(window));
	expect_ok(view_protect(view, PAGE, PAGE, 0));
	expect_signal(SIGSEGV, signal_of_load(window + PAGE));
	expect_ok(view_unmap(view, 2 * PAGE, PAGE));
	expect_signal(SIGBUS, signal_of_load(window + 2 * PAGE));
	expect_signal(0, signal_of_store(window + 3 * PAGE));
}

TEST("G3 a system call through the view has shared pages, and no private one")
{
	int pipes[2];
	char byte;

	begin();
	expect_ok(pipe2(pipes, O_NONBLOCK | O_CLOEXEC));
	expect_errno(EFAULT, write(pipes[1], window, 1));
	expect_ok(make_shared(fd, 0, PAGE));
	expect_equal(1, write(pipes[1], window, 1));
	expect_equal(1, read(pipes[0], &byte, 1));
	expect_equal(window[0], byte);
	expect_ok(make_private(fd, 0, PAGE));
	expect_errno(EFAULT, write(pipes[1], window, 1));
	expect_equal(1, write(pipes[1], &byte, 1));
	expect_errno(EFAULT, read(pipes[0], window, 1));
	check(holds(p, SIZE, 1), "the bytes changed");
}

TEST("G3 V6 the window of a page cannot be kept by vmsplice")
{
	struct iovec iov;
	int pipes[2];

	begin();
	expect_ok(make_shared(fd, 0, PAGE));
	expect_signal(0, signal_of_load(window));
	iov = (struct iovec){ window, PAGE };
	expect_ok(pipe2(pipes, O_NONBLOCK | O_CLOEXEC));
	expect_errno(EFAULT, vmsplice(pipes[1], &iov, 1, 0));
}

TEST("G3 R16 after EXMEM_DESTROY no view shows a byte, and SET_SHARED is ENXIO")
{
	begin();
	expect_ok(make_shared(fd, 0, 4 * PAGE));
	expect_signal(0, signal_of_load(window));
	expect_ok(destroy(fd));
	for (size_t page = 0; page < PAGES; page++)
		expect_signal(SIGBUS, signal_of_load(window + page * PAGE));
	expect_errno(ENXIO, make_shared(fd, 0, PAGE));
	expect_errno(ENXIO, make_private(fd, 0, PAGE));
	expect_equal(0, info_of(fd).shared);
}

TEST("G3 shared pages outlive the object's mapping and descriptors while a view has them")
{
	long pages = counter("pages_in_use"), objects = counter("objects");

	begin();
	expect_ok(make_shared(fd, 0, PAGE));
	unmap(p, SIZE);
	close(fd);
	check(is_original(window, 0), "other bytes");
	expect_signal(SIGBUS, signal_of_load(window + PAGE));
	expect_counter(objects + 1, "objects");
	expect_ok(view_unmap(view, 0, SIZE));
	expect_signal(SIGBUS, signal_of_load(window));
	expect_counter_soon(objects, "objects");
	expect_counter_soon(pages, "pages_in_use");
}

TEST("G3 G1a with HOST_ACCESS a view shows shared pages only, the monitor's mapping all of them")
{
	fd = make_memfd_flags(SIZE, HOST_ACCESS);
	window = open_window(fd, SIZE);
	p = map(fd, SIZE);
	fill(p, SIZE, 1);
	expect_shared_pages(0);
	expect_filled(p, SIZE, 1);
	expect_ok(make_shared(fd, PAGE, PAGE));
	expect_shared_pages(0x2);
	window[PAGE] = 'w';
	expect_equal('w', p[PAGE]);
	expect_ok(make_private(fd, PAGE, PAGE));
	expect_shared_pages(0);
	expect_equal('w', p[PAGE]);
	expect_signal(0, signal_of_store(p));
}

/* ---- what it refuses ---- */

static void expect_refused(int expected, struct exmem_share argument)
{
	expect_errno(expected, ioctl(fd, EXMEM_SET_SHARED, &argument));
	argument.flags ^= SHARED;
	expect_errno(expected, ioctl(fd, EXMEM_SET_SHARED, &argument));
}

TEST("G3 a range that is empty, not aligned, or not inside the size, is EINVAL")
{
	static const uint64_t far[] = { SIZE, SIZE + PAGE, (uint64_t)1 << 62, (uint64_t)1 << 63, -PAGE };

	begin();
	expect_ok(make_shared(fd, 0, PAGE));
	for (uint64_t offset = 0; offset <= SIZE; offset += PAGE)
		expect_refused(EINVAL, (struct exmem_share){ offset, 0, 0, 0 });
	for (uint64_t off = 1; off < PAGE; off = 2 * off + 1) {
		expect_refused(EINVAL, (struct exmem_share){ off, PAGE, 0, 0 });
		expect_refused(EINVAL, (struct exmem_share){ 0, off, 0, 0 });
		expect_refused(EINVAL, (struct exmem_share){ PAGE, PAGE + off, 0, 0 });
	}
	for (size_t i = 0; i < ARRAY_SIZE(far); i++) {
		expect_refused(EINVAL, (struct exmem_share){ far[i], PAGE, 0, 0 });
		expect_refused(EINVAL, (struct exmem_share){ far[i], -far[i], 0, 0 });
		expect_refused(EINVAL, (struct exmem_share){ PAGE, far[i], 0, 0 });
	}
	expect_refused(EINVAL, (struct exmem_share){ UINT64_MAX, UINT64_MAX, 0, 0 });
	expect_shared_pages(0x1);
	check(holds(p, SIZE, 1), "the bytes changed");
}

TEST("G3 each unknown flag, and a reserved field that is not zero, is EINVAL")
{
	begin();
	expect_ok(make_shared(fd, 0, PAGE));
	for (int bit = 0; bit < 32; bit++) {
		if (!((1U << bit) & (SHARED | WIPE))) {
			expect_refused(EINVAL, (struct exmem_share){ 0, SIZE, 1U << bit, 0 });
			expect_refused(EINVAL, (struct exmem_share){ 0, SIZE, 1U << bit | WIPE, 0 });
		}
		expect_refused(EINVAL, (struct exmem_share){ 0, SIZE, 0, 1U << bit });
	}
	expect_shared_pages(0x1);
	check(holds(p, SIZE, 1), "the bytes changed");
}

TEST("G3 an object without a size is EINVAL")
{
	fd = make_memfd_flags(0, GUEST);
	expect_errno(EINVAL, make_shared(fd, 0, PAGE));
	expect_errno(EINVAL, make_private(fd, 0, PAGE));
	fd = open_guest_device();
	expect_errno(EINVAL, make_shared(fd, 0, PAGE));
}

TEST("G3 arguments that lead nowhere are EFAULT, of another length as for the other calls")
{
	struct { struct exmem_share base; uint64_t tail; } larger = {
		.base = { .len = PAGE, .flags = SHARED }, .tail = 1,
	};
	void *bad[] = { NULL, (void *)UINT64_C(0xffff888000000000), (void *)-1 };

	begin();
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		expect_errno(EFAULT, ioctl(fd, EXMEM_SET_SHARED, bad[i]));
	expect_errno(E2BIG, ioctl(fd, _IOC(_IOC_WRITE, EXMEM_IOC_MAGIC, 0x08, sizeof(larger)), &larger));
	expect_errno(EINVAL, ioctl(fd, _IOC(_IOC_WRITE, EXMEM_IOC_MAGIC, 0x08, sizeof(larger.base) - 8), &larger));
	expect_shared_pages(0);
	larger.tail = 0;
	expect_ok(ioctl(fd, _IOC(_IOC_WRITE, EXMEM_IOC_MAGIC, 0x08, sizeof(larger)), &larger));
	expect_shared_pages(0x1);
}

TEST("G3 after SEAL with LAYOUT_SEALED it is EPERM, and all is as it was")
{
	static const uint32_t flags[] = { 0, SHARED, WIPE, SHARED | WIPE };

	begin();
	expect_ok(make_shared(fd, PAGE, 2 * PAGE));
	expect_ok(seal(fd, EXMEM_STATE_LAYOUT_SEALED));
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		expect_errno(EPERM, set_shared(fd, 0, SIZE, flags[i]));
		expect_errno(EPERM, set_shared(fd, PAGE, PAGE, flags[i]));
		expect_errno(EPERM, set_shared(dup(fd), 4 * PAGE, PAGE, flags[i]));
	}
	expect_shared_pages(0x6);
	check(holds(p, SIZE, 1), "the bytes changed");
	/* The shared part goes on. */
	fill(window + PAGE, PAGE, 2);
	expect_filled(window + PAGE, PAGE, 2);
}

/* ---- under fire ---- */

/*
 * Each spinner tries one page for ever. The clock is even while there may be access, and odd from when the call that
 * made the pages private has returned until shortly before the next that makes them shared.
 */
enum what { LOAD, STORE, WRITE, READ };

#define MOST 16

static struct fire {
	_Atomic uint64_t clock;
	_Atomic bool stop;
	struct spinner {
		_Atomic uint64_t successes;	/* while it was even, this round */
		_Atomic uint64_t tries;		/* while it was odd, this round */
		_Atomic uint64_t violations;	/* of those, the ones that worked */
		_Atomic int strange;		/* a signal that may not come */
		enum what what;
		size_t page;
	} spinners[MOST];
	int n;
} *shared;

static int pipe_of_bytes[2], pipe_to_nowhere[2];

static int answer_of(ssize_t moved)
{
	return moved == 1 ? 0 : errno == EFAULT ? SIGBUS : SIGSYS;
}

static int try_access(enum what what, char *at)
{
	uint64_t value;
	char byte = 'w';
	int answer;

	switch (what) {
	case LOAD:
		return try_load((uint64_t *)at, &value);
	case STORE:
		return try_store((uint64_t *)at, 0xc3c3c3c3c3c3c3c3);
	case WRITE:
		answer = answer_of(write(pipe_to_nowhere[1], at, 1));
		(void)!read(pipe_to_nowhere[0], &byte, 1);
		return answer;
	default:
		(void)!write(pipe_of_bytes[1], &byte, 1);
		answer = answer_of(read(pipe_of_bytes[0], at, 1));
		if (answer)
			(void)!read(pipe_of_bytes[0], &byte, 1);
		return answer;
	}
}

static void spin(struct spinner *self, char *memory)
{
	while (!shared->stop) {
		uint64_t before = shared->clock, after;
		int signal = try_access(self->what, memory + self->page * PAGE);

		after = shared->clock;
		if (signal && signal != SIGBUS)
			self->strange = signal;
		if (!signal && before % 2 == 0)
			self->successes++;
		if (before % 2 && before == after) {
			self->violations += !signal;
			self->tries++;
		}
	}
}

static void *spin_in_thread(void *self)
{
	spin(self, window);
	return NULL;
}

static void pin_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu % get_nprocs(), &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static pid_t pids[MOST];
static int nr_processes;

/* A process for each CPU, with a mapping of the view of its own and two threads. */
static void start_spinners(void)
{
	static const enum what whats[] = { LOAD, STORE, WRITE, READ };

	shared = expect_ok(mmap(NULL, sizeof(*shared), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	nr_processes = get_nprocs() < MOST / 2 ? get_nprocs() : MOST / 2;
	if (nr_processes < 2)
		nr_processes = 2;
	shared->n = 2 * nr_processes;
	for (int i = 0; i < shared->n; i++) {
		shared->spinners[i].what = whats[i % ARRAY_SIZE(whats)];
		shared->spinners[i].page = i / 2 % 2 ? 3 : 2;
	}
	for (int i = 0; i < nr_processes; i++) {
		pthread_t thread;

		pids[i] = start_child();
		if (pids[i])
			continue;
		window = map_view(view, 0, 0, RW);
		close(view);
		expect_ok(pipe2(pipe_of_bytes, O_NONBLOCK | O_CLOEXEC));
		expect_ok(pipe2(pipe_to_nowhere, O_NONBLOCK | O_CLOEXEC));
		catch_access_signals();
		pin_to(i);
		expect_equal(0, pthread_create(&thread, NULL, spin_in_thread, &shared->spinners[2 * i]));
		pin_to(i + 1);
		spin(&shared->spinners[2 * i + 1], window);
		pthread_join(thread, NULL);
		succeed();
	}
}

static void stop_spinners(void)
{
	shared->stop = true;
	for (int i = 0; i < nr_processes; i++)
		expect_success(pids[i]);
	for (int i = 0; i < shared->n; i++) {
		struct spinner *s = &shared->spinners[i];

		check(!s->violations, "%llu accesses after the call had returned", (unsigned long long)s->violations);
		check(!s->strange, "signal %d came", s->strange);
	}
}

static bool all_succeeded(void)
{
	for (int i = 0; i < shared->n; i++)
		if (!shared->spinners[i].successes)
			return false;
	return true;
}

static bool all_tried(void)
{
	for (int i = 0; i < shared->n; i++)
		if (shared->spinners[i].tries < 3)
			return false;
	return true;
}

TEST("G3 under fire: no load, store or system call of any process has a page after it was made private",
     .seconds = 300)
{
	uint64_t began = now_ns();
	int round;

	begin();
	expect_ok(make_shared(fd, 2 * PAGE, 2 * PAGE));
	start_spinners();
	for (round = 0; round < 40 || (round < 400 && now_ns() - began < UINT64_C(10000000000)); round++) {
		char first[2 * PAGE], second[2 * PAGE];

		for (int i = 0; i < shared->n; i++)
			shared->spinners[i].successes = shared->spinners[i].tries = 0;
		check(eventually(all_succeeded()), "somebody has no access, in round %d", round);
		expect_ok(set_shared(fd, 2 * PAGE, 2 * PAGE, round % 5 ? 0 : WIPE));
		shared->clock++;
		read_physical(p + 2 * PAGE, first, sizeof(first));
		if (round % 5 == 0)
			expect_zero(first, sizeof(first));
		if (round % 4 == 0)
			check(eventually(all_tried()), "somebody does not try");
		/* No store was still on its way. */
		read_physical(p + 2 * PAGE, second, sizeof(second));
		expect_equal(0, memcmp(first, second, sizeof(first)));
		shared->clock++;
		expect_ok(make_shared(fd, 2 * PAGE, 2 * PAGE));
	}
	diag("%d rounds, %d spinners", round, shared->n);
	stop_spinners();
	expect_shared_pages(0xc);
}

TEST("G3 under fire: one page is made private and shared while its neighbours stay", .seconds = 300)
{
	begin();
	expect_ok(make_shared(fd, 0, SIZE));
	start_spinners();
	for (int round = 0; round < 200; round++) {
		expect_ok(make_private(fd, 2 * PAGE, PAGE));
		expect_signal(SIGBUS, signal_of_load(window + 2 * PAGE));
		expect_signal(0, signal_of_load(window + PAGE));
		expect_signal(0, signal_of_load(window + 3 * PAGE));
		expect_ok(make_shared(fd, 2 * PAGE, PAGE));
		expect_signal(0, signal_of_load(window + 2 * PAGE));
	}
	stop_spinners();
}

/* ---- several that convert ---- */

static _Atomic bool stop;
static _Atomic int strange;
static _Atomic long conversions;

static void *convert_for_ever(void *seed_)
{
	unsigned int seed = (size_t)seed_;

	while (!stop) {
		size_t at = rand_r(&seed) % PAGES, n = 1 + rand_r(&seed) % (PAGES - at);
		int answer = errno_of(set_shared(fd, at * PAGE, n * PAGE, rand_r(&seed) % 2 ? SHARED : 0));

		if (answer == EPERM || answer == ENXIO)
			break;
		if (answer)
			strange = answer;
		conversions++;
	}
	return NULL;
}

static pthread_t threads[4];

static void start_converters(void)
{
	stop = false;
	conversions = 0;
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		expect_equal(0, pthread_create(&threads[i], NULL, convert_for_ever, (void *)(i + 1)));
}

static void join_converters(void)
{
	stop = true;
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	expect_equal(0, strange);
}

/* What the direct map says is what the object says, and what the view shows. */
static uint32_t shared_now(void)
{
	uint32_t pages = 0;

	for (size_t page = 0; page < PAGES; page++) {
		uint64_t pfn = pfn_of(p + page * PAGE);

		if (direct_map_pfn(pfn) == pfn)
			pages |= 1U << page;
	}
	return pages;
}

TEST("G3 several threads convert the same pages: a page is shared everywhere or nowhere", .seconds = 180)
{
	begin();
	start_converters();
	check(eventually(conversions > 2000), "%ld conversions", conversions);
	join_converters();
	expect_shared_pages(shared_now());
	check(holds(p, SIZE, 1), "the bytes changed");
}

TEST("G3 when SEAL has returned no page changes sides any more", .seconds = 180)
{
	for (int round = 0; round < 20; round++) {
		uint32_t pages;

		begin();
		start_converters();
		check(eventually(conversions > 3 * round), "nobody converts");
		expect_ok(seal(fd, EXMEM_STATE_LAYOUT_SEALED));
		pages = shared_now();
		expect_shared_pages(pages);
		join_converters();
		expect_shared_pages(pages);
		check(holds(p, SIZE, 1), "the bytes changed");
		unmap(p, SIZE);
		unmap(window, SIZE);
		close(view);
		close(fd);
	}
}

TEST("G3 R16 EXMEM_DESTROY while others convert", .seconds = 180)
{
	long pages = counter("pages_in_use");

	for (int round = 0; round < 40; round++) {
		begin();
		start_converters();
		check(eventually(conversions > 3 * round), "nobody converts");
		expect_ok(destroy(fd));
		join_converters();
		for (size_t page = 0; page < PAGES; page++)
			expect_signal(SIGBUS, signal_of_load(window + page * PAGE));
		expect_equal(0, info_of(fd).shared);
		expect_equal(0, info_of(fd).resident);
		unmap(p, SIZE);
		unmap(window, SIZE);
		close(view);
		close(fd);
	}
	expect_counter_soon(pages, "pages_in_use");
}

TEST("G3 views come and go while pages change sides", .seconds = 180)
{
	unsigned int seed = 9;

	begin();
	start_converters();
	for (int i = 0; i < 200; i++) {
		size_t at = rand_r(&seed) % PAGES, n = 1 + rand_r(&seed) % (PAGES - at);

		expect_ok(view_unmap(view, at * PAGE, n * PAGE));
		signal_of_load(window + at * PAGE);
		expect_ok(view_map(view, fd, at * PAGE, n * PAGE, at * PAGE, VIEW_RW));
		signal_of_store(window + at * PAGE);
	}
	join_converters();
	expect_shared_pages(shared_now());
}

TEST("L1 a SIGKILL in the middle of conversions leaves the direct map whole", .seconds = 300)
{
	long pages = counter("pages_in_use"), objects = counter("objects");
	uint64_t *pfns = expect_ok(mmap(NULL, SIZE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0));

	need_test_module();
	write_text("/sys/module/exclusive_memory/parameters/keep_blocks", "0");
	for (int round = 0; round < 30; round++) {
		int ready = make_gate();
		pid_t pid = start_child();

		if (!pid) {
			begin();
			for (size_t page = 0; page < PAGES; page++)
				pfns[page] = pfn_of(p + page * PAGE);
			start_converters();
			open_gate(ready);
			pause();
		}
		wait_at_gate(ready);
		sleep_ms(round % 10);
		kill(pid, SIGKILL);
		expect_killed(SIGKILL, pid);
		close(ready);
		expect_counter_soon(objects, "objects");
		expect_counter_soon(pages, "pages_in_use");
		for (size_t page = 0; page < PAGES; page++) {
			char bytes[PAGE];

			check(eventually(direct_map_pfn(pfns[page]) == pfns[page]), "page %zu is not back", page);
			expect_ok(read_page_content(pfns[page], bytes));
			check(!is_original(bytes, page), "page %zu has its bytes", page);
		}
	}
}
