// SPDX-License-Identifier: GPL-2.0
/* V1, V3: what a view costs. */
#include <linux/perf_event.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "process.h"
#include "system.h"
#include "view.h"

enum { MANY = 100000, ROUNDS = 401 };

#define SIZE (16 * TIB)
#define PLAIN_SIZE ((size_t)64 << 20)

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

struct times {
	uint64_t each[ROUNDS];
	int n;
};

static uint64_t quantile(struct times *times, int percent)
{
	qsort(times->each, times->n, sizeof(*times->each), by_value);
	return times->each[(times->n - 1) * percent / 100];
}

static void show(const char *name, struct times *times)
{
	diag("%s: least %llu, quarter %llu, median %llu, three quarters %llu ns", name,
	     (unsigned long long)quantile(times, 0), (unsigned long long)quantile(times, 25),
	     (unsigned long long)quantile(times, 50), (unsigned long long)quantile(times, 75));
}

/* ---- UNMAP_FD ---- */

static int file;

/* A view with one page that comes and goes, and with some ranges at its sides. */
struct candidate {
	const char *name;
	int view;
	char *p;
	uint64_t at;
	struct times map, touch, unmap;
};

static void begin_candidate(struct candidate *c, const char *name, uint32_t ranges)
{
	*c = (struct candidate){ .name = name, .view = make_view(SIZE), .at = ranges };
	c->p = map_view(c->view, 0, 0, RW);
	/* Alternate pages: the one in question is in the middle, between two. */
	for (uint32_t i = 0; i + 1 < ranges; i++) {
		uint64_t page = 2 * (uint64_t)i + (i >= ranges / 2);

		expect_ok(view_map(c->view, file, i % 16 * PAGE, PAGE, page * PAGE, VIEW_RW));
	}
	/* All of them are somewhere in the page table. */
	for (uint32_t i = 0; i + 1 < ranges; i += 64)
		expect_signal(0, signal_of_load(c->p + (2 * (uint64_t)i + (i >= ranges / 2)) * PAGE));
}

static void measure(struct candidate *c)
{
	uint64_t times[4];

	times[0] = now_ns();
	expect_ok(view_map(c->view, file, 0, PAGE, c->at * PAGE, VIEW_RW));
	times[1] = now_ns();
	*(volatile char *)(c->p + c->at * PAGE) = 1;
	times[2] = now_ns();
	expect_ok(view_unmap(c->view, c->at * PAGE, PAGE));
	times[3] = now_ns();
	c->map.each[c->map.n++] = times[1] - times[0];
	c->touch.each[c->touch.n++] = times[2] - times[1];
	c->unmap.each[c->unmap.n++] = times[3] - times[2];
	expect_signal(SIGBUS, signal_of_load(c->p + c->at * PAGE));
}

static void show_ratio(const char *name, struct times *one, struct times *many)
{
	show(name, one);
	show(name, many);
	diag("%s: %.2f times", name, (double)quantile(many, 25) / quantile(one, 25));
}

TEST("V3 UNMAP_FD of a mapped page takes as long among 100,000 ranges as alone, within 2x", .seconds = 600)
{
	static struct candidate one, many;

	file = make_file(16 * PAGE);
	begin_candidate(&one, "1 range", 1);
	begin_candidate(&many, "100,000 ranges", MANY);
	expect_equal(MANY - 1, count_ranges(many.view));
	measure(&one);
	measure(&many);
	one.map.n = one.touch.n = one.unmap.n = many.map.n = many.touch.n = many.unmap.n = 0;
	/* In turn, so that whatever else the machine does hits both alike. */
	for (int i = 0; i < 2 * ROUNDS; i++)
		measure(i % 4 == 0 || i % 4 == 3 ? &one : &many);
	show_ratio("MAP_FD", &one.map, &many.map);
	show_ratio("touch", &one.touch, &many.touch);
	show_ratio("UNMAP_FD", &one.unmap, &many.unmap);
	/* What else runs only adds: the faster measurements say more. */
	check(quantile(&many.unmap, 25) <= 2 * quantile(&one.unmap, 25), "it takes longer");
	check(quantile(&many.unmap, 50) <= 2 * quantile(&one.unmap, 50), "the median is longer");
}

TEST("V3 UNMAP_FD of the whole takes time for what is there, not for the view's size")
{
	static struct times small, large;
	int views[2];
	char *windows[2];

	file = make_file(16 * PAGE);
	for (int i = 0; i < 2; i++) {
		views[i] = make_view(i ? SIZE : 16 * PAGE);
		windows[i] = map_view(views[i], 0, 0, RW);
	}
	for (int round = 0; round < 202; round++) {
		int i = round % 2;
		uint64_t begin;

		expect_ok(view_map(views[i], file, 0, 16 * PAGE, 0, VIEW_RW));
		*(volatile char *)windows[i] = 1;
		begin = now_ns();
		expect_ok(view_unmap(views[i], 0, i ? SIZE : 16 * PAGE));
		(i ? &large : &small)->each[round / 2] = now_ns() - begin;
	}
	small.n = large.n = 101;
	show("16 pages", &small);
	show("16 TiB", &large);
	/* The page table of so much address space has some levels to look at; its pages are millions. */
	check(quantile(&large, 25) <= 20 * quantile(&small, 25), "it takes longer");
}

/* ---- faults ---- */

/*
 * Page faults of this process as the processor reports them. getrusage(2) also
 * counts those that the kernel resolves elsewhere on its behalf.
 */
static long faults(void)
{
	static int counter;
	static pid_t pid;
	uint64_t value;

	if (pid != getpid()) {
		struct perf_event_attr attr = {
			.type = PERF_TYPE_SOFTWARE, .size = sizeof(attr), .config = PERF_COUNT_SW_PAGE_FAULTS,
		};

		counter = syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
		if (counter < 0)
			skip("page faults cannot be counted: %s", errno_name(errno));
		pid = getpid();
	}
	expect_equal(8, read(counter, &value, 8));
	return value;
}

static long faults_of_reading(const char *p, size_t size)
{
	long before = faults();

	for (size_t offset = 0; offset < size; offset += PAGE)
		(void)*(volatile const char *)(p + offset);
	return faults() - before;
}

static void expect_few_faults(int fd)
{
	long plain, by_view;
	char *p, *q;
	int view;

	/* Populated, but by nobody who is there any more. */
	q = map(fd, PLAIN_SIZE);
	memset(q, 1, PLAIN_SIZE);
	unmap(q, PLAIN_SIZE);

	q = expect_ok(mmap(NULL, PLAIN_SIZE, PROT_READ, MAP_SHARED, fd, 0));
	plain = faults_of_reading(q, PLAIN_SIZE);
	unmap(q, PLAIN_SIZE);
	view = make_view(PLAIN_SIZE);
	expect_ok(view_map(view, fd, 0, PLAIN_SIZE, 0, VIEW_R));
	p = map_view(view, 0, 0, PROT_READ);
	by_view = faults_of_reading(p, PLAIN_SIZE);
	diag("faults: %ld by mmap, %ld by the view, for %zu pages", plain, by_view, PLAIN_SIZE / PAGE);
	check(by_view <= plain + plain / 10 + 8, "that is too many");
	expect_equal(0, faults_of_reading(p, PLAIN_SIZE));
}

TEST("V5 reading a populated memfd takes no more faults than through mmap", .seconds = 120)
{
	expect_few_faults(make_file(PLAIN_SIZE));
}

TEST("V5 writing takes at most a fault for each page", .seconds = 120)
{
	int view = make_view(PLAIN_SIZE);
	long before;
	char *p;

	expect_ok(view_map(view, make_file(PLAIN_SIZE), 0, PLAIN_SIZE, 0, VIEW_RW));
	p = map_view(view, 0, 0, RW);
	before = faults();
	memset(p, 1, PLAIN_SIZE);
	diag("%ld faults for %zu new pages", faults() - before, PLAIN_SIZE / PAGE);
	check(faults() - before <= (long)(PLAIN_SIZE / PAGE) + 64, "that is too many");
}

static void huge_faults(void)
{
	int view = make_view(PLAIN_SIZE), fd = make_huge_file(PLAIN_SIZE);
	char *p, *area;
	long n;

	expect_ok(view_map(view, fd, 0, PLAIN_SIZE, 0, VIEW_RW));
	/* At an address where a large page can be. */
	area = expect_ok(mmap(NULL, PLAIN_SIZE + BLOCK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	area = (char *)(((uintptr_t)area + BLOCK - 1) & -BLOCK);
	p = expect_ok(mmap(area, PLAIN_SIZE, RW, MAP_SHARED | MAP_FIXED, expect_ok(view_fd(view, 0)), 0));
	n = faults();
	memset(p, 1, PLAIN_SIZE);
	n = faults() - n;
	diag("%ld faults for %zu pages of 2 MiB", n, PLAIN_SIZE / BLOCK);
	check(n <= (long)(PLAIN_SIZE / BLOCK) + 2, "that is too many");
	/* Nor has the caller to care for the address. */
	p = map_view(view, 0, 0, RW);
	n = faults_of_reading(p, PLAIN_SIZE);
	diag("%ld faults where the kernel chose the address", n);
	check(n <= (long)(PLAIN_SIZE / BLOCK) + 2, "that is too many");
}

TEST("V5 huge pages take one fault each", .seconds = 120)
{
	faults();
	with_huge_pages(PLAIN_SIZE / BLOCK, huge_faults);
}
