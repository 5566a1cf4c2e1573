// SPDX-License-Identifier: GPL-2.0
/* V2, V3, V11: ranges, how they are split, and how they are listed. */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "process.h"
#include "system.h"
#include "view.h"

#define PAGES 32
#define SIZE (PAGES * PAGE)
#define REPLACE MEMVIEW_MAP_REPLACE

/* Pages of this file, and of another, in a view: page i of a file begins with i + its base. */
enum { BASE = 1000, OTHER = 2000 };

static int view, file, other;
static char *p;

static int make_numbered_file(size_t pages, uint64_t base)
{
	int fd = make_file(pages * PAGE);
	char *q = map(fd, pages * PAGE);

	for (size_t page = 0; page < pages; page++)
		*(uint64_t *)(q + page * PAGE) = base + page;
	unmap(q, pages * PAGE);
	return fd;
}

static void begin(void)
{
	view = make_view(SIZE);
	file = make_numbered_file(PAGES, BASE);
	other = make_numbered_file(PAGES, OTHER);
	p = map_view(view, 0, 0, RW);
}

/* In pages; -1 or 0 */
static int map_pages(uint64_t at, uint64_t n, int fd, uint64_t from, uint32_t flags)
{
	return view_map(view, fd, from * PAGE, n * PAGE, at * PAGE, flags);
}

static int unmap_pages(uint64_t at, uint64_t n)
{
	return view_unmap(view, at * PAGE, n * PAGE);
}

static int protect_pages(uint64_t at, uint64_t n, uint32_t flags)
{
	return view_protect(view, at * PAGE, n * PAGE, flags);
}

/* The pages [at, at + n) are as far as they may be read those that begin with number, number + 1, ... */
static void expect_pages(uint64_t at, uint64_t n, uint64_t number, uint32_t flags)
{
	for (uint64_t i = 0; i < n; i++) {
		char *page = p + (at + i) * PAGE;

		if (flags & VIEW_R)
			expect_equal(number + i, *(volatile uint64_t *)page);
		else
			expect_signal(SIGSEGV, signal_of_load(page));
		expect_signal(flags & MEMVIEW_MAP_WRITE ? 0 : SIGSEGV, signal_of_store(page));
	}
}

static void expect_nothing(uint64_t at, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		expect_signal(SIGBUS, signal_of_load(p + (at + i) * PAGE));
		expect_equal(BUS_ADRERR, signal_code());
		expect_signal(SIGBUS, signal_of_zero(p + (at + i) * PAGE));
		expect_equal(BUS_ADRERR, signal_code());
	}
}

TEST("V2 what overlaps is EEXIST, what is adjacent is not")
{
	static const struct { uint64_t at, n; } overlaps[] = {
		{ 8, 8 }, { 8, 1 }, { 15, 1 }, { 10, 3 }, { 7, 2 }, { 15, 2 }, { 0, 9 }, { 15, 17 }, { 0, 32 }, { 4, 16 },
	};

	begin();
	expect_ok(map_pages(8, 8, file, 0, VIEW_R));
	for (size_t i = 0; i < ARRAY_SIZE(overlaps); i++)
		expect_errno(EEXIST, map_pages(overlaps[i].at, overlaps[i].n, other, 0, VIEW_R));
	expect_errno(EEXIST, view_map_memory(view, p, PAGE, 8 * PAGE, VIEW_R));
	expect_errno(EEXIST, map_pages(8, 8, file, 0, VIEW_R));
	expect_ranges(view, { 8, 8, 0, VIEW_R });
	expect_pages(8, 8, BASE, VIEW_R);
	expect_ok(map_pages(16, 2, other, 0, VIEW_R));
	expect_ok(map_pages(7, 1, other, 2, VIEW_R));
	expect_ranges(view, { 7, 1, 2, VIEW_R }, { 8, 8, 0, VIEW_R }, { 16, 2, 0, VIEW_R });
	expect_pages(7, 1, OTHER + 2, VIEW_R);
	expect_pages(8, 8, BASE, VIEW_R);
	expect_pages(16, 2, OTHER, VIEW_R);
	expect_nothing(0, 7);
	expect_nothing(18, PAGES - 18);
}

TEST("V2 the same pages can be mapped many times, and are one memory")
{
	begin();
	for (int i = 0; i < 8; i++)
		expect_ok(map_pages(4 * i, 2, file, 1, i % 2 ? VIEW_R : VIEW_RW));
	for (uint64_t i = 0; i < 8; i += 2) {
		*(volatile uint64_t *)(p + 4 * i * PAGE) = 77 + i;
		for (int j = 0; j < 8; j++)
			expect_equal(77 + i, *(volatile uint64_t *)(p + 4 * j * PAGE));
	}
}

TEST("V2 flags 0 allow nothing, but are no hole")
{
	begin();
	expect_ok(map_pages(2, 2, file, 0, 0));
	expect_ranges(view, { 2, 2, 0, 0 });
	expect_pages(2, 2, 0, 0);
	expect_nothing(0, 2);
	expect_ok(protect_pages(2, 1, VIEW_RW));
	expect_pages(2, 1, BASE, VIEW_RW);
	expect_pages(3, 1, 0, 0);
	expect_errno(EEXIST, map_pages(3, 1, file, 0, VIEW_R));
}

TEST("V2 REPLACE puts one range in the place of whatever was there")
{
	begin();
	/* Of nothing. */
	expect_ok(map_pages(0, 2, file, 0, VIEW_RW | REPLACE));
	expect_ranges(view, { 0, 2, 0, VIEW_RW });
	/* Of itself. */
	expect_ok(map_pages(0, 2, other, 4, VIEW_R | REPLACE));
	expect_ranges(view, { 0, 2, 4, VIEW_R });
	expect_pages(0, 2, OTHER + 4, VIEW_R);
	/* Of parts of two, what is between, and one that is inside. */
	expect_ok(map_pages(4, 4, file, 4, VIEW_RW));
	expect_ok(map_pages(9, 2, file, 9, VIEW_R));
	expect_ok(map_pages(12, 4, file, 12, VIEW_RW));
	expect_pages(4, 4, BASE + 4, VIEW_RW);
	expect_pages(12, 4, BASE + 12, VIEW_RW);
	expect_ok(map_pages(6, 8, other, 16, VIEW_RW | REPLACE));
	expect_ranges(view, { 0, 2, 4, VIEW_R }, { 4, 2, 4, VIEW_RW }, { 6, 8, 16, VIEW_RW }, { 14, 2, 14, VIEW_RW });
	expect_pages(4, 2, BASE + 4, VIEW_RW);
	expect_pages(6, 8, OTHER + 16, VIEW_RW);
	expect_pages(14, 2, BASE + 14, VIEW_RW);
	/* In the middle of one. */
	expect_ok(map_pages(9, 1, file, 31, VIEW_R | REPLACE));
	expect_ranges(view, { 0, 2, 4, VIEW_R }, { 4, 2, 4, VIEW_RW }, { 6, 3, 16, VIEW_RW }, { 9, 1, 31, VIEW_R },
		      { 10, 4, 20, VIEW_RW }, { 14, 2, 14, VIEW_RW });
	expect_pages(6, 3, OTHER + 16, VIEW_RW);
	expect_pages(9, 1, BASE + 31, VIEW_R);
	expect_pages(10, 4, OTHER + 20, VIEW_RW);
	/* Of all. */
	expect_ok(map_pages(0, PAGES, file, 0, VIEW_R | REPLACE));
	expect_ranges(view, { 0, PAGES, 0, VIEW_R });
	expect_pages(0, PAGES, BASE, VIEW_R);
}

TEST("V3 UNMAP_FD takes any pages, and splits what it does not take whole")
{
	begin();
	expect_ok(map_pages(4, 8, file, 4, VIEW_RW));
	expect_ok(map_pages(12, 4, other, 0, VIEW_R));
	expect_pages(4, 8, BASE + 4, VIEW_RW);
	expect_ok(unmap_pages(6, 1));
	expect_ranges(view, { 4, 2, 4, VIEW_RW }, { 7, 5, 7, VIEW_RW }, { 12, 4, 0, VIEW_R });
	expect_pages(4, 2, BASE + 4, VIEW_RW);
	expect_nothing(6, 1);
	expect_pages(7, 5, BASE + 7, VIEW_RW);
	/* The begin of one. */
	expect_ok(unmap_pages(3, 2));
	expect_ranges(view, { 5, 1, 5, VIEW_RW }, { 7, 5, 7, VIEW_RW }, { 12, 4, 0, VIEW_R });
	/* The end of one and the begin of the next. */
	expect_ok(unmap_pages(11, 2));
	expect_ranges(view, { 5, 1, 5, VIEW_RW }, { 7, 4, 7, VIEW_RW }, { 13, 3, 1, VIEW_R });
	expect_nothing(11, 2);
	expect_pages(7, 4, BASE + 7, VIEW_RW);
	expect_pages(13, 3, OTHER + 1, VIEW_R);
	/* Where nothing is, and again. */
	expect_ok(unmap_pages(0, 5));
	expect_ok(unmap_pages(11, 2));
	expect_ranges(view, { 5, 1, 5, VIEW_RW }, { 7, 4, 7, VIEW_RW }, { 13, 3, 1, VIEW_R });
	expect_ok(unmap_pages(0, PAGES));
	expect_no_ranges(view);
	expect_nothing(0, PAGES);
	expect_ok(unmap_pages(0, PAGES));
	expect_ok(map_pages(0, PAGES, file, 0, VIEW_R));
	expect_pages(0, PAGES, BASE, VIEW_R);
}

TEST("V3 PROTECT takes any pages, skips what is not there, and splits what it does not take whole")
{
	begin();
	expect_ok(protect_pages(0, PAGES, VIEW_RW));
	expect_no_ranges(view);
	expect_ok(map_pages(4, 8, file, 4, VIEW_RW));
	expect_ok(map_pages(14, 4, other, 0, VIEW_RW));
	expect_pages(4, 8, BASE + 4, VIEW_RW);
	expect_ok(protect_pages(6, 2, VIEW_R));
	expect_ranges(view, { 4, 2, 4, VIEW_RW }, { 6, 2, 6, VIEW_R }, { 8, 4, 8, VIEW_RW }, { 14, 4, 0, VIEW_RW });
	expect_pages(4, 2, BASE + 4, VIEW_RW);
	expect_pages(6, 2, BASE + 6, VIEW_R);
	expect_pages(8, 4, BASE + 8, VIEW_RW);
	/* The end of one, the gap, and the begin of the next. */
	expect_ok(protect_pages(11, 4, 0));
	expect_ranges(view, { 4, 2, 4, VIEW_RW }, { 6, 2, 6, VIEW_R }, { 8, 3, 8, VIEW_RW }, { 11, 1, 11, 0 },
		      { 14, 1, 0, 0 }, { 15, 3, 1, VIEW_RW });
	expect_pages(8, 3, BASE + 8, VIEW_RW);
	expect_pages(11, 1, 0, 0);
	expect_nothing(12, 2);
	expect_pages(14, 1, 0, 0);
	expect_pages(15, 3, OTHER + 1, VIEW_RW);
	/* And back, everywhere. */
	expect_ok(protect_pages(0, PAGES, VIEW_RW));
	expect_pages(4, 8, BASE + 4, VIEW_RW);
	expect_pages(14, 4, OTHER, VIEW_RW);
	expect_nothing(0, 4);
}

TEST("V11 adjacent ranges are listed as they were mapped")
{
	begin();
	for (uint64_t i = 8; i-- > 0;)
		expect_ok(map_pages(2 * i, 2, file, 2 * i, VIEW_R));
	expect_ranges(view, { 0, 2, 0, VIEW_R }, { 2, 2, 2, VIEW_R }, { 4, 2, 4, VIEW_R }, { 6, 2, 6, VIEW_R },
		      { 8, 2, 8, VIEW_R }, { 10, 2, 10, VIEW_R }, { 12, 2, 12, VIEW_R }, { 14, 2, 14, VIEW_R });
	expect_ok(map_pages(3, 2, file, 3, VIEW_R | REPLACE));
	expect_ranges(view, { 0, 2, 0, VIEW_R }, { 2, 1, 2, VIEW_R }, { 3, 2, 3, VIEW_R }, { 5, 1, 5, VIEW_R },
		      { 6, 2, 6, VIEW_R }, { 8, 2, 8, VIEW_R }, { 10, 2, 10, VIEW_R }, { 12, 2, 12, VIEW_R },
		      { 14, 2, 14, VIEW_R });
}

TEST("V11 the list has the process's addresses, and each kind")
{
	struct memview_range ranges[4];
	struct memview_get_ranges get = { .ranges = (uintptr_t)ranges, .capacity = ARRAY_SIZE(ranges) };
	char *memory = expect_ok(mmap(NULL, 2 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

	begin();
	expect_ok(view_map(view, make_memfd(4 * PAGE), 2 * PAGE, 2 * PAGE, 4 * PAGE, VIEW_R | MEMVIEW_MAP_YIELD));
	expect_ok(view_map_memory(view, memory, 2 * PAGE, 2 * PAGE, VIEW_RX));
	expect_ok(map_pages(0, 1, file, 3, VIEW_RW));
	expect_ok(ioctl(view, MEMVIEW_GET_RANGES, &get));
	expect_equal(3, get.count);
	expect_equal(MEMVIEW_KIND_FILE, ranges[0].kind);
	expect_equal(MEMVIEW_KIND_PROCESS, ranges[1].kind);
	expect_equal((uintptr_t)memory, ranges[1].offset);
	expect_equal(VIEW_RX, ranges[1].flags);
	expect_equal(MEMVIEW_KIND_EXCLUSIVE, ranges[2].kind);
	expect_equal(2 * PAGE, ranges[2].offset);
	expect_equal(VIEW_R | MEMVIEW_MAP_YIELD, ranges[2].flags);
}

TEST("V11 a list that is too long for its place is cut, with the true count")
{
	struct memview_range ranges[4];
	struct memview_get_ranges get = { .ranges = (uintptr_t)ranges };

	begin();
	for (uint64_t i = 0; i < 3; i++)
		expect_ok(map_pages(2 * i, 1, file, i, VIEW_R));
	for (get.capacity = 0; get.capacity < 4; get.capacity++) {
		uint32_t n = get.capacity < 3 ? get.capacity : 3;

		memset(ranges, 0xaa, sizeof(ranges));
		get.count = 99;
		expect_ok(ioctl(view, MEMVIEW_GET_RANGES, &get));
		expect_equal(3, get.count);
		for (uint32_t i = 0; i < n; i++)
			expect_equal(2 * i * PAGE, ranges[i].mem_offset);
		expect_equal(0xaaaaaaaaaaaaaaaa, ranges[n].mem_offset);
	}
	get = (struct memview_get_ranges){ .ranges = 0, .capacity = 0 };
	expect_ok(ioctl(view, MEMVIEW_GET_RANGES, &get));
	expect_equal(3, get.count);
	get.capacity = 3;
	expect_errno(EFAULT, ioctl(view, MEMVIEW_GET_RANGES, &get));
	get.ranges = -PAGE;
	expect_errno(EFAULT, ioctl(view, MEMVIEW_GET_RANGES, &get));
	/* More than could be anywhere. */
	get.ranges = (uintptr_t)ranges;
	get.capacity = UINT32_MAX;
	expect_ok(ioctl(view, MEMVIEW_GET_RANGES, &get));
	expect_equal(3, get.count);
}

/* What a view should be: for each page its file's page or none, and its flags. */
struct model { int fd, from; uint32_t flags; };

static void expect_model(const struct model *model)
{
	struct memview_range ranges[PAGES];
	struct memview_get_ranges get = { .ranges = (uintptr_t)ranges, .capacity = PAGES };
	struct model listed[PAGES] = { 0 };

	expect_ok(ioctl(view, MEMVIEW_GET_RANGES, &get));
	check(get.count <= PAGES, "%u ranges", get.count);
	for (uint32_t i = 0; i < get.count; i++) {
		check(!i || ranges[i].mem_offset >= ranges[i - 1].mem_offset + ranges[i - 1].size, "out of order");
		for (uint64_t page = 0; page < ranges[i].size / PAGE; page++)
			listed[ranges[i].mem_offset / PAGE + page] =
				(struct model){ 1, ranges[i].offset / PAGE + page, ranges[i].flags };
	}
	for (size_t page = 0; page < PAGES; page++) {
		if (!model[page].fd) {
			expect_equal(0, listed[page].fd);
			expect_nothing(page, 1);
			continue;
		}
		expect_equal(1, listed[page].fd);
		expect_equal(model[page].from, listed[page].from);
		expect_equal(model[page].flags, listed[page].flags);
		expect_pages(page, 1, (model[page].fd == file ? BASE : OTHER) + model[page].from, model[page].flags);
	}
}

TEST("V2 V3 V11 thousands of random steps give what a simple model gives", .seconds = 300)
{
	static const uint32_t flags[] = { 0, VIEW_R, VIEW_RW };
	struct model model[PAGES] = { 0 };
	unsigned int seed = 1;

	begin();
	for (int step = 0; step < 3000; step++) {
		uint64_t at = rand_r(&seed) % PAGES, n = 1 + rand_r(&seed) % (PAGES - at), from = rand_r(&seed) % PAGES;
		uint32_t allowed = flags[rand_r(&seed) % 3];
		int fd = rand_r(&seed) % 2 ? file : other, what = rand_r(&seed) % 5;
		bool free = true;

		if (n > PAGES - from)
			n = PAGES - from;
		for (uint64_t i = at; i < at + n; i++)
			free &= !model[i].fd;
		if (what == 0) {
			expect_ok(unmap_pages(at, n));
		} else if (what == 1) {
			expect_ok(protect_pages(at, n, allowed));
		} else if (what == 2 && !free) {
			expect_errno(EEXIST, map_pages(at, n, fd, from, allowed));
			continue;
		} else {
			expect_ok(map_pages(at, n, fd, from, allowed | (free && what == 3 ? 0 : REPLACE)));
		}
		for (uint64_t i = at; i < at + n; i++) {
			if (what == 0)
				model[i].fd = 0;
			else if (what > 1)
				model[i] = (struct model){ fd, from + i - at, allowed };
			else
				model[i].flags = allowed;
		}
		if (step % 4 == 0)
			expect_model(model);
	}
}

/* ---- many ---- */

enum { MANY = 100000 };

static uint32_t order[MANY];

static void shuffle(unsigned int seed)
{
	for (uint32_t i = 0; i < MANY; i++)
		order[i] = i;
	for (uint32_t i = MANY - 1; i; i--) {
		uint32_t j = rand_r(&seed) % (i + 1), other = order[i];

		order[i] = order[j];
		order[j] = other;
	}
}

/* Page i of a file of few pages at page 2 * i. */
static int map_nth(uint32_t i, int fd, uint32_t flags)
{
	return map_pages(2 * (uint64_t)i, 1, fd, i % PAGES, flags);
}

static void expect_nth(uint32_t i, uint64_t base)
{
	expect_equal(base + i % PAGES, *(volatile uint64_t *)(p + 2 * (uint64_t)i * PAGE));
	expect_signal(SIGBUS, signal_of_load(p + (2 * (uint64_t)i + 1) * PAGE));
}

TEST("V1 V11 100,000 ranges in random order, in a view of 16 TiB", .seconds = 600)
{
	struct memview_range *ranges = calloc(MANY, sizeof(*ranges));
	struct memview_get_ranges get = { .ranges = (uintptr_t)ranges, .capacity = MANY };
	long listed = counter("view_ranges");
	uint64_t begin_ns = now_ns();

	view = make_view(16 * TIB);
	file = make_numbered_file(PAGES, BASE);
	other = make_numbered_file(PAGES, OTHER);
	p = map_view(view, 0, 0, RW);
	shuffle(1);
	for (uint32_t i = 0; i < MANY; i++)
		expect_ok(map_nth(order[i], file, VIEW_RW));
	diag("MAP_FD: %.1f us each", (now_ns() - begin_ns) / 1000. / MANY);
	expect_counter(listed + MANY, "view_ranges");
	expect_errno(EEXIST, map_nth(order[MANY / 2], other, VIEW_RW));
	for (uint32_t i = 0; i < MANY; i += 997)
		expect_nth(i, BASE);

	begin_ns = now_ns();
	shuffle(2);
	for (uint32_t i = 0; i < MANY; i += 2)
		expect_ok(map_nth(order[i], other, VIEW_R | REPLACE));
	diag("REPLACE: %.1f us each", (now_ns() - begin_ns) / 1000. / (MANY / 2));
	for (uint32_t i = 0; i < MANY; i += 101)
		expect_nth(order[i], i % 2 ? BASE : OTHER);

	expect_ok(ioctl(view, MEMVIEW_GET_RANGES, &get));
	expect_equal(MANY, get.count);
	for (uint32_t i = 0; i < MANY; i++) {
		expect_equal(2 * (uint64_t)i * PAGE, ranges[i].mem_offset);
		expect_equal(PAGE, ranges[i].size);
		expect_equal(i % PAGES * PAGE, ranges[i].offset);
	}

	begin_ns = now_ns();
	shuffle(3);
	for (uint32_t i = 0; i < MANY - 3; i++)
		expect_ok(view_unmap(view, 2 * (uint64_t)order[i] * PAGE, PAGE));
	diag("UNMAP_FD: %.1f us each", (now_ns() - begin_ns) / 1000. / (MANY - 3));
	expect_counter(listed + 3, "view_ranges");
	expect_equal(3, count_ranges(view));
	for (uint32_t i = 0; i < MANY; i += 997)
		expect_signal(i < MANY - 3 ? SIGBUS : 0, signal_of_load(p + 2 * (uint64_t)order[i] * PAGE));
	expect_ok(view_unmap(view, 0, 16 * TIB));
	expect_counter(listed, "view_ranges");
}

TEST("V10 a view of 100,000 ranges goes with its last descriptor", .seconds = 300)
{
	long ranges = counter("view_ranges");
	uint64_t begin_ns;

	view = make_view(16 * TIB);
	file = make_numbered_file(PAGES, BASE);
	p = map_view(view, 0, 0, RW);
	for (uint32_t i = 0; i < MANY; i++)
		expect_ok(map_nth(i, file, VIEW_RW));
	for (uint32_t i = 0; i < 100; i++)
		expect_nth(i, BASE);
	begin_ns = now_ns();
	close(view);
	diag("close: %.1f ms", (now_ns() - begin_ns) / 1e6);
	expect_counter_soon(ranges, "view_ranges");
	for (uint32_t i = 0; i < 100; i++)
		expect_signal(SIGBUS, signal_of_load(p + 2 * (uint64_t)i * PAGE));
}
