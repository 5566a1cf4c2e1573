// SPDX-License-Identifier: GPL-2.0
/* V7: a source that shrinks, grows, and gets holes, while its pages are looked at. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "disk.h"
#include "process.h"
#include "system.h"
#include "view.h"

#define PAGES 32
#define SIZE (PAGES * PAGE)

/* Milliseconds within which a change reaches the mappings unasked: far more than it takes, for a slow machine. */
#define SOON 1000

static int view, file;
static char *p;

static void begin(int source)
{
	file = source;
	view = make_view(SIZE);
	expect_ok(view_map(view, file, 0, SIZE, 0, VIEW_RW));
	p = map_view(view, 0, 0, RW);
	fill(p, SIZE, 1);
	catch_access_signals();
}

static int on_tmpfs(void)
{
	struct disk disk = make_mount("tmpfs", 0, NULL);

	return make_file_on(&disk, "file", SIZE);
}

static int on_ext4(void)
{
	struct disk disk = make_disk(64 << 20);

	return make_file_on(&disk, "file", SIZE);
}

static int on_memfd(void)
{
	return make_file(SIZE);
}

/* Without a change of what catches signals: other threads may get some at the same time. */
static void expect_sigbus(size_t first, size_t end)
{
	uint64_t value;

	for (size_t page = first; page < end; page++) {
		expect_signal(SIGBUS, try_load((uint64_t *)(p + page * PAGE), &value));
		expect_equal(BUS_ADRERR, signal_code());
		expect_signal(SIGBUS, try_store((uint64_t *)(p + page * PAGE), 0));
		expect_equal(BUS_ADRERR, signal_code());
	}
}

static void expect_truncation_reaches(int source)
{
	begin(source);
	for (int round = 0; round < 50; round++) {
		size_t keep = round * 5 % PAGES;

		fill(p, SIZE, 1);
		expect_ok(ftruncate(file, keep * PAGE));
		expect_ok(view_sync(view));
		expect_sigbus(keep, PAGES);
		expect_filled(p, keep * PAGE, 1);
		expect_ok(ftruncate(file, SIZE));
		/* What was cut off does not come back. */
		expect_zero(p + keep * PAGE, SIZE - keep * PAGE);
	}
}

TEST("V7 a memfd's truncation has reached each mapping when SYNC returns", .seconds = 120)
{
	expect_truncation_reaches(on_memfd());
}

TEST("V7 so has that of a file on tmpfs", .seconds = 120)
{
	expect_truncation_reaches(on_tmpfs());
}

TEST("V7 so has that of a file on ext4", .seconds = 120)
{
	expect_truncation_reaches(on_ext4());
}

TEST("V7 a truncation reaches another process unasked, within milliseconds", .seconds = 120)
{
	struct peer b = start_peer();
	uint64_t longest = 0;

	begin(on_memfd());
	give_view(&b, view, SIZE);
	for (int round = 0; round < 50; round++) {
		uint64_t start;

		expect_access(0, peer_store(&b, 3 * PAGE, round));
		expect_ok(ftruncate(file, PAGE));
		start = now_ns();
		while (!peer_load(&b, 3 * PAGE).signal)
			check(now_ns() - start < SOON * UINT64_C(1000000), "not after %d ms", SOON);
		if (now_ns() - start > longest)
			longest = now_ns() - start;
		expect_access(SIGBUS, peer_store(&b, 3 * PAGE, round));
		expect_access(0, peer_load(&b, 0));
		expect_ok(ftruncate(file, SIZE));
		expect_value(0, peer_load(&b, 3 * PAGE));
	}
	diag("the longest took %.2f ms", longest / 1e6);
	end_peer(&b);
}

static void expect_holes_reach(int source)
{
	begin(source);
	for (int round = 0; round < 50; round++) {
		size_t at = round * 7 % (PAGES - 4);

		fill(p, SIZE, 2);
		expect_ok(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at * PAGE, 4 * PAGE));
		expect_ok(view_sync(view));
		expect_zero(p + at * PAGE, 4 * PAGE);
		expect_filled(p, at * PAGE, 2);
		fill(p + at * PAGE, 4 * PAGE, 3);
		check(file_is_filled(file, at * PAGE, 4 * PAGE, 3), "read(2) gives other bytes");
	}
}

TEST("V7 a hole in a memfd reads as zeros when SYNC returns, and can be filled again", .seconds = 120)
{
	expect_holes_reach(on_memfd());
}

TEST("V7 so does a hole in a file on ext4", .seconds = 120)
{
	expect_holes_reach(on_ext4());
}

TEST("V7 ext4: a truncation to a part of a page leaves zeros behind it")
{
	begin(on_ext4());
	expect_ok(ftruncate(file, 2 * PAGE + 96));
	expect_ok(view_sync(view));
	expect_filled(p, 2 * PAGE, 1);
	expect_zero(p + 2 * PAGE + 96, PAGE - 96);
	expect_sigbus(3, PAGES);
	/* What is stored behind the end is not there after the file grew. */
	memset(p + 2 * PAGE + 96, 'x', PAGE - 96);
	expect_ok(fsync(file));
	expect_ok(ftruncate(file, SIZE));
	expect_ok(view_sync(view));
	expect_zero(p + 3 * PAGE, PAGE);
}

/* ---- against faults, in a loop ---- */

enum { FAULTERS = 3 };

static _Atomic bool stop;
static _Atomic uint64_t loads[FAULTERS], faults[FAULTERS], wrong;

/* Bytes of the file are 0 or 0xab...ab at any time. */
static void *fault(void *number)
{
	size_t self = (size_t)number;
	unsigned int seed = self + 1;
	uint64_t value;

	while (!stop) {
		size_t page = rand_r(&seed) % PAGES;
		volatile uint64_t *word = (volatile uint64_t *)(p + page * PAGE);
		int signal = self == 0 ? try_store(word, 0xabababababababab) : try_load(word, &value);

		if (signal)
			faults[self]++;
		else
			loads[self]++;
		wrong += signal && signal != SIGBUS;
		wrong += self && !signal && value && value != 0xabababababababab;
	}
	return NULL;
}

static void against_faults(int source, void (*change)(unsigned int *seed), bool shrinks)
{
	uint64_t end = now_ns() + UINT64_C(5000000000);
	pthread_t threads[FAULTERS];
	unsigned int seed = 1;
	uint64_t changes = 0;

	begin(source);
	memset(p, 0xab, SIZE);
	for (size_t i = 0; i < FAULTERS; i++)
		expect_equal(0, pthread_create(&threads[i], NULL, fault, (void *)i));
	for (; now_ns() < end; changes++) {
		change(&seed);
		if (shrinks && changes % 16 == 0) {
			expect_ok(ftruncate(file, PAGE));
			expect_ok(view_sync(view));
			expect_sigbus(1, PAGES);
		}
	}
	stop = true;
	for (size_t i = 0; i < FAULTERS; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < FAULTERS; i++)
		diag("thread %zu: %llu accesses, %llu SIGBUS", i, (unsigned long long)loads[i],
		     (unsigned long long)faults[i]);
	diag("%llu changes", (unsigned long long)changes);
	expect_equal(0, wrong);
	for (size_t i = 0; i < FAULTERS; i++)
		check(loads[i] && (!shrinks || faults[i]), "thread %zu never had one of both", i);
	/* At rest, all is well. */
	expect_ok(ftruncate(file, SIZE));
	fill(p, SIZE, 7);
	check(file_is_filled(file, 0, SIZE, 7), "read(2) gives other bytes");
}

static void resize(unsigned int *seed)
{
	expect_ok(ftruncate(file, rand_r(seed) % PAGES * PAGE));
	expect_ok(ftruncate(file, SIZE));
}

static void punch(unsigned int *seed)
{
	size_t at = rand_r(seed) % PAGES;

	expect_ok(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at * PAGE,
			    (1 + rand_r(seed) % (PAGES - at)) * PAGE));
}

TEST("V7 against faults: a memfd shrinks and grows", .seconds = 120)
{
	against_faults(on_memfd(), resize, true);
}

TEST("V7 against faults: a memfd gets holes", .seconds = 120)
{
	against_faults(on_memfd(), punch, false);
}

TEST("V7 against faults: a file on ext4 shrinks and grows", .seconds = 120)
{
	against_faults(on_ext4(), resize, true);
}

TEST("V7 against faults: a file on ext4 gets holes", .seconds = 120)
{
	against_faults(on_ext4(), punch, false);
}

static void remap(unsigned int *seed)
{
	size_t at = rand_r(seed) % PAGES, n = 1 + rand_r(seed) % (PAGES - at);

	resize(seed);
	expect_ok(view_unmap(view, at * PAGE, n * PAGE));
	expect_ok(view_map(view, file, at * PAGE, n * PAGE, at * PAGE, VIEW_RW));
}

TEST("V7 against faults: a memfd shrinks and grows while its ranges come and go", .seconds = 120)
{
	against_faults(on_memfd(), remap, true);
}
