// SPDX-License-Identifier: GPL-2.0
/* V2 to V5, V7: everything at once, on one view. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "process.h"
#include "system.h"
#include "view.h"

#define PAGES 64
#define SIZE (PAGES * PAGE)
#define SECONDS 10

/* Words are 0 or a multiple of this, wherever they come from. */
#define UNIT UINT64_C(0x0101010101010101)

static int view, object, files[2];
static char *memory, *window;
static _Atomic bool stop;
static _Atomic uint64_t counts[8];

enum { CALLS, LISTS, LOADS, STORES, SIGNALS, MAPPINGS, CHANGES, WRONG };

static void begin(void)
{
	view = make_view(SIZE);
	for (int i = 0; i < 2; i++)
		files[i] = make_file(SIZE);
	object = make_memfd(SIZE);
	memory = expect_ok(mmap(NULL, SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	window = map_view(view, 0, 0, RWX);
	catch_access_signals();
}

/* The answers that a call may have while others change the view and its sources. */
static void expect_one_of(int answer, int first, int second)
{
	check(!answer || answer == first || answer == second, "%s", errno_name(answer));
}

static void *call(void *seed_)
{
	static const uint32_t flags[] = { 0, VIEW_R, VIEW_RW, VIEW_RW };
	unsigned int seed = (size_t)seed_;

	for (; !stop; counts[CALLS]++) {
		uint64_t at = rand_r(&seed) % PAGES * PAGE, n = (1 + rand_r(&seed) % 8) * PAGE;
		uint32_t allowed = flags[rand_r(&seed) % ARRAY_SIZE(flags)];
		uint32_t replace = rand_r(&seed) % 2 ? MEMVIEW_MAP_REPLACE : 0;

		if (n > SIZE - at)
			n = SIZE - at;
		switch (rand_r(&seed) % 8) {
		case 0:
		case 1:
			expect_one_of(errno_of(view_map(view, files[rand_r(&seed) % 2], at, n, at, allowed | replace)),
				      EEXIST, 0);
			break;
		case 2:
			expect_one_of(errno_of(view_map_memory(view, memory + at, n, at, allowed | replace)), EEXIST, 0);
			break;
		case 3:
			expect_one_of(errno_of(view_map(view, object, at, n, at, allowed | replace | MEMVIEW_MAP_YIELD)),
				      EEXIST, 0);
			break;
		case 4:
			expect_ok(view_unmap(view, at, n));
			break;
		case 5:
			expect_ok(view_protect(view, at, n, allowed));
			break;
		case 6:
			expect_ok(view_sync(view));
			break;
		default:
			if (rand_r(&seed) % 16 == 0)
				expect_ok(view_unmap(view, 0, SIZE));
			break;
		}
	}
	return NULL;
}

static void *list(void *unused)
{
	struct memview_range ranges[PAGES];
	struct memview_get_ranges get = { .ranges = (uintptr_t)ranges, .capacity = PAGES };

	(void)unused;
	for (; !stop; counts[LISTS]++) {
		uint64_t end = 0;

		expect_ok(ioctl(view, MEMVIEW_GET_RANGES, &get));
		check(get.count <= PAGES, "%u ranges", get.count);
		for (uint32_t i = 0; i < get.count; i++) {
			check(ranges[i].mem_offset >= end && ranges[i].size && !(ranges[i].size % PAGE),
			      "range %u is not in order", i);
			end = ranges[i].mem_offset + ranges[i].size;
			check(end <= SIZE, "range %u ends outside", i);
		}
	}
	return NULL;
}

static void *look(void *seed_)
{
	unsigned int seed = (size_t)seed_;

	while (!stop) {
		volatile uint64_t *word = (volatile uint64_t *)(window + rand_r(&seed) % PAGES * PAGE);
		bool store = rand_r(&seed) % 3 == 0;
		uint64_t value = 0;
		int signal = store ? try_store(word, UNIT * (rand_r(&seed) % 100)) : try_load(word, &value);

		counts[signal ? SIGNALS : store ? STORES : LOADS]++;
		counts[WRONG] += value % UNIT != 0 || (signal && signal != SIGBUS && signal != SIGSEGV);
	}
	return NULL;
}

/* Mappings of parts come, are changed, split, moved and go; sometimes with a fork between. */
static void *map_parts(void *seed_)
{
	unsigned int seed = (size_t)seed_;
	int fd = expect_ok(view_fd(view, VIEW_RW));
	uint64_t value;

	for (; !stop; counts[MAPPINGS]++) {
		size_t at = rand_r(&seed) % (PAGES - 8) * PAGE, size = 8 * PAGE;
		char *p = expect_ok(mmap(NULL, size, RW, MAP_SHARED, fd, at)), *moved;
		pid_t pid = 0;

		for (size_t page = 0; page < 8; page++)
			try_load((uint64_t *)(p + page * PAGE), &value);
		expect_ok(mprotect(p + 2 * PAGE, PAGE, PROT_READ));
		try_store((uint64_t *)(p + rand_r(&seed) % 8 * PAGE), UNIT);
		if (rand_r(&seed) % 8 == 0) {
			pid = start_child();
			if (!pid) {
				for (size_t page = 0; page < 8; page++)
					try_store((uint64_t *)(p + page * PAGE), 3 * UNIT);
				succeed();
			}
		}
		expect_ok(mprotect(p, size, RW));
		moved = expect_ok(mremap(p + 4 * PAGE, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE));
		try_store((uint64_t *)moved, 2 * UNIT);
		expect_ok(munmap(moved + PAGE, PAGE));
		expect_ok(munmap(p, size));
		if (pid)
			expect_success(pid);
	}
	return NULL;
}

/* The sources: files shrink, grow and get holes, memory comes and goes, the object is mapped. */
static void *change_sources(void *seed_)
{
	unsigned int seed = (size_t)seed_;
	uint64_t *q;

	for (; !stop; counts[CHANGES]++) {
		uint64_t at = rand_r(&seed) % PAGES * PAGE;
		int file = files[rand_r(&seed) % 2];

		switch (rand_r(&seed) % 5) {
		case 0:
			expect_ok(ftruncate(file, at));
			expect_ok(ftruncate(file, SIZE));
			break;
		case 1:
			expect_ok(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, PAGE));
			break;
		case 2:
			expect_ok(mmap(memory + at, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
			break;
		case 3:
			expect_ok(munmap(memory + at, PAGE));
			break;
		default:
			q = try_map(object, SIZE);
			if (q == MAP_FAILED) {
				expect_equal(EBUSY, errno);
				break;
			}
			try_store(q + at / 8, 5 * UNIT);
			unmap(q, SIZE);
			break;
		}
	}
	return NULL;
}

static bool much_happened(void)
{
	for (size_t i = 0; i < WRONG; i++)
		if (counts[i] <= 10)
			return false;
	return true;
}

static void run_all(void)
{
	static void *(*const works[])(void *) = { call, call, list, look, look, map_parts, change_sources };
	pthread_t threads[ARRAY_SIZE(works)];

	begin();
	for (size_t i = 0; i < ARRAY_SIZE(works); i++)
		expect_equal(0, pthread_create(&threads[i], NULL, works[i], (void *)(i + 1)));
	/* A kernel that checks itself may need longer. */
	for (int i = 0; i < SECONDS * 10 || (i < SECONDS * 100 && !much_happened()); i++)
		sleep_ms(100);
	stop = true;
	for (size_t i = 0; i < ARRAY_SIZE(works); i++)
		pthread_join(threads[i], NULL);
	diag("%llu calls, %llu lists, %llu loads, %llu stores, %llu signals, %llu mappings, %llu changes",
	     (unsigned long long)counts[CALLS], (unsigned long long)counts[LISTS], (unsigned long long)counts[LOADS],
	     (unsigned long long)counts[STORES], (unsigned long long)counts[SIGNALS],
	     (unsigned long long)counts[MAPPINGS], (unsigned long long)counts[CHANGES]);
	for (size_t i = 0; i < WRONG; i++)
		check(counts[i] > 10, "hardly any of number %zu", i);
	expect_equal(0, counts[WRONG]);
}

TEST("V2 V3 V5 V7 V9 everything at once: only right words, only right errors", .seconds = 180)
{
	uint64_t value;

	run_all();
	/* At rest it is an ordinary view. */
	expect_ok(view_unmap(view, 0, SIZE));
	for (size_t page = 0; page < PAGES; page++)
		expect_signal(SIGBUS, try_load((uint64_t *)(window + page * PAGE), &value));
	expect_equal(0, info_of(object).references);
	expect_equal(0, info_of(object).notifiers);
	expect_ok(ftruncate(files[0], SIZE));
	expect_ok(view_map(view, files[0], 0, SIZE, 0, VIEW_RW));
	fill(window, SIZE, 1);
	check(file_is_filled(files[0], 0, SIZE, 1), "read(2) gives other bytes");
}

TEST("L1 and killed in the middle of it", .seconds = 300)
{
	for (int i = 0; i < 20; i++) {
		pid_t pid = start_child();

		if (!pid) {
			run_all();
			succeed();
		}
		sleep_ms(20 + 17 * i);
		kill(pid, SIGKILL);
		expect_killed(SIGKILL, pid);
	}
}
