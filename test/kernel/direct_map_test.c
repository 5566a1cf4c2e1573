// SPDX-License-Identifier: GPL-2.0
/* R9: what the direct map pays for it. */
#include <string.h>
#include <sys/resource.h>

#include "memory.h"
#include "system.h"
#include "test_module.h"

#define MIB(n) ((size_t)(n) << 20)

static long long splits(void)
{
	long long n = field("/proc/vmstat", "direct_map_level2_splits");

	if (n < 0)
		skip("this kernel does not count splits of the direct map");
	return n;
}

TEST("R9 64 MiB leave the direct map without a split, and with few flushes")
{
	long long before = splits();
	long flushes = counter("tlb_flushes"), single = counter("pages_single");
	int fd = make_memfd(MIB(64));
	char *p = map(fd, MIB(64));

	fill(p, MIB(64), 1);
	expect_equal(before, splits());
	expect_counter(single, "pages_single");
	diag("%ld flushes", counter("tlb_flushes") - flushes);
	/* At most one for each block. */
	check(counter("tlb_flushes") - flushes <= 32, "%ld flushes", counter("tlb_flushes") - flushes);
	unmap(p, MIB(64));
	expect_ok(destroy(fd));
	close(fd);
	expect_equal(before, splits());
}

TEST("R9 1000 objects of one page leave it without a split, and with few flushes", .seconds = 120)
{
	enum { OBJECTS = 1000 };
	static int fds[OBJECTS];
	static char *maps[OBJECTS];
	long long before = splits();
	long flushes = counter("tlb_flushes"), single = counter("pages_single"), blocks = counter("blocks");
	struct rlimit limit = { OBJECTS + 100, OBJECTS + 100 };

	expect_ok(setrlimit(RLIMIT_NOFILE, &limit));
	for (int i = 0; i < OBJECTS; i++) {
		fds[i] = make_memfd(PAGE);
		maps[i] = map(fds[i], PAGE);
		fill(maps[i], PAGE, i);
	}
	expect_equal(before, splits());
	expect_counter(single, "pages_single");
	diag("%ld flushes, %ld more blocks", counter("tlb_flushes") - flushes, counter("blocks") - blocks);
	check(counter("tlb_flushes") - flushes <= 16, "%ld flushes", counter("tlb_flushes") - flushes);
	check(counter("blocks") - blocks <= 3, "%ld blocks", counter("blocks") - blocks);
	for (int i = 0; i < OBJECTS; i++)
		expect_filled(maps[i], PAGE, i);
	/* Every second first, so that blocks are in use for a long time. */
	for (int i = 0; i < 2 * OBJECTS; i += 2) {
		int j = i % OBJECTS + (i >= OBJECTS);

		unmap(maps[j], PAGE);
		close(fds[j]);
	}
	expect_equal(before, splits());
}

TEST("R9 making and freeing again and again splits nothing", .seconds = 120)
{
	static const size_t sizes[] = { PAGE, BLOCK, 5 * PAGE, 3 * BLOCK + PAGE, BLOCK / 2, 2 * BLOCK };
	long long before = splits();

	write_text("/sys/module/exclusive_memory/parameters/keep_blocks", "0");
	for (int i = 0; i < 200; i++) {
		size_t size = sizes[i % ARRAY_SIZE(sizes)];
		int fd = make_memfd(size);
		char *p = map(fd, size);

		*(volatile char *)(p + size - 1) = 1;
		unmap(p, size);
		close(fd);
	}
	expect_equal(before, splits());
}

TEST("R9 no access faults, whatever the size")
{
	static const size_t sizes[] = { PAGE, 5 * PAGE, BLOCK, MIB(16) + PAGE };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		char *p = map(make_memfd(sizes[i]), sizes[i]);
		struct rusage before, after;

		getrusage(RUSAGE_SELF, &before);
		for (size_t offset = 0; offset < sizes[i]; offset += PAGE)
			*(volatile char *)(p + offset) = 1;
		getrusage(RUSAGE_SELF, &after);
		/* The stack or the counters themselves may fault once. */
		check(after.ru_minflt - before.ru_minflt <= 2, "%ld faults for %zu pages",
		      after.ru_minflt - before.ru_minflt, sizes[i] / PAGE);
	}
}

TEST("R9 what ordinary programs do meanwhile changes nothing")
{
	char *p = map(make_memfd(MIB(8)), MIB(8));
	uint64_t pfn;

	need_test_module();
	fill(p, MIB(8), 1);
	pfn = pfn_of(p);
	/* Modules come and go, which changes the direct map too. */
	for (int i = 0; i < 3; i++) {
		run_program("modprobe", "-q", "dummy");
		run_program("modprobe", "-q", "-r", "dummy");
	}
	for (size_t page = 0; page < MIB(8) / PAGE; page += 100)
		expect_equal(-EFAULT, read_page(pfn_of(p + page * PAGE)).direct_map);
	expect_equal(pfn, pfn_of(p));
	expect_filled(p, MIB(8), 1);
}
