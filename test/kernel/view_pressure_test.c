// SPDX-License-Identifier: GPL-2.0
/* V7: nothing is pinned. The kernel reclaims and moves the pages as it likes, and B finds the right bytes. */
#include <linux/mempolicy.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "cgroup.h"
#include "disk.h"
#include "process.h"
#include "system.h"
#include "view.h"

#define PAGES ((size_t)2048)
#define SIZE (PAGES * PAGE)

/* B's findings. A page holds its number, and how often it was stored to, in each place. */
static struct findings {
	_Atomic uint64_t passes, wrong, signals;
	_Atomic bool stop;
} *findings;

static int view;
static struct disk disk;

static void begin(void)
{
	findings = expect_ok(mmap(NULL, sizeof(*findings), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	view = make_view(SIZE);
}

/* Checks each page and stores the next bytes, again and again: nobody else stores. */
static void look(size_t first, size_t end)
{
	char *p = map_view(view, 0, 0, RW);
	uint64_t turn = 0, seen, first_seen, last_seen;

	close(view);
	catch_access_signals();
	while (!findings->stop) {
		for (size_t page = first; page < end; page++) {
			volatile uint64_t *words = (volatile uint64_t *)(p + page * PAGE);
			uint64_t expected = turn ? page << 32 | turn : 0;

			seen = first_seen = last_seen = ~UINT64_C(0);
			if (try_load(words, &first_seen) || try_load(words + 100, &seen) ||
			    try_load(words + PAGE / 8 - 1, &last_seen))
				findings->signals++;
			else if (first_seen != expected || seen != expected || last_seen != expected)
				findings->wrong++;
			expected = page << 32 | (turn + 1);
			if (try_store(words, expected) || try_store(words + 100, expected) ||
			    try_store(words + PAGE / 8 - 1, expected))
				findings->signals++;
		}
		turn++;
		findings->passes++;
	}
}

static pid_t start_looking(size_t first, size_t end)
{
	pid_t pid = start_child();

	if (!pid) {
		look(first, end);
		succeed();
	}
	return pid;
}

static void report(void)
{
	diag("%llu passes over what is viewed", (unsigned long long)findings->passes);
	expect_equal(0, findings->wrong);
	expect_equal(0, findings->signals);
	check(findings->passes >= 2, "B hardly looked");
}

/* A kernel that checks itself may need longer. */
static bool is_time_left(uint64_t end)
{
	uint64_t now = now_ns();

	return now < end || (findings->passes < 2 && now < end + UINT64_C(60000000000));
}

/* All kinds of pressure on the machine, for some seconds. */
static void press(int seconds)
{
	uint64_t end = now_ns() + seconds * UINT64_C(1000000000);

	for (int i = 0; is_time_left(end); i++) {
		write_text("/proc/sys/vm/drop_caches", i % 2 ? "1" : "3");
		write_text("/proc/sys/vm/compact_memory", "1");
		sync();
	}
}

/* ---- files ---- */

static void under_pressure_file(int file)
{
	pid_t pids[2];

	begin();
	expect_ok(view_map(view, file, 0, SIZE, 0, VIEW_RW));
	for (size_t i = 0; i < 2; i++)
		pids[i] = start_looking(i * PAGES / 2, (i + 1) * PAGES / 2);
	press(6);
	findings->stop = true;
	for (size_t i = 0; i < 2; i++)
		expect_success(pids[i]);
	report();
}

TEST("V7 a file on ext4 under drop_caches, compaction and writeback", .seconds = 180)
{
	disk = make_disk(64 << 20);
	under_pressure_file(make_file_on(&disk, "file", SIZE));
}

TEST("V7 a memfd under drop_caches and compaction", .seconds = 180)
{
	under_pressure_file(make_file(SIZE));
}

static void reclaimed(void)
{
	int file = open_on(&disk, "file", O_RDWR);
	uint64_t end = now_ns() + UINT64_C(20000000000);
	long long stolen;
	pid_t pid;

	begin();
	expect_ok(view_map(view, file, 0, SIZE, 0, VIEW_RW));
	pid = start_looking(0, PAGES);
	while (is_time_left(end) && findings->passes < 5)
		sleep_ms(100);
	findings->stop = true;
	expect_success(pid);
	stolen = field(CGROUP "/memory.stat", "pgsteal");
	diag("%lld pages were reclaimed", stolen);
	/* Twice as many as fit: each pass reclaims. */
	check(stolen > (long long)PAGES / 2, "reclaim did not take what is viewed");
	report();
}

TEST("V7 a memory cgroup of half its size reclaims what is viewed, and no byte is lost", .seconds = 180)
{
	disk = make_disk(64 << 20);
	close(make_file_on(&disk, "file", SIZE));
	in_cgroup("4194304", reclaimed);
}

/* ---- the owner's memory ---- */

/* In the owner: it moves its pages about, and pages them out, until it is told to stop. */
static void move_about(char *mine, size_t size)
{
	static void *pages[PAGES];
	static int nodes[PAGES], status[PAGES];
	uint64_t end = now_ns() + UINT64_C(6000000000);
	uint64_t moved = 0;
	unsigned long node = 1;

	for (size_t i = 0; i < size / PAGE; i++)
		pages[i] = mine + i * PAGE;
	for (int i = 0; is_time_left(end); i++) {
		uint64_t pfn = pfn_of(mine);

		madvise(mine, size, MADV_PAGEOUT);
		write_text("/proc/sys/vm/compact_memory", "1");
		syscall(SYS_move_pages, 0, size / PAGE, pages, nodes, status, 4 /* MPOL_MF_MOVE_ALL */);
		syscall(SYS_mbind, mine, size, MPOL_BIND, &node, 8, MPOL_MF_MOVE | MPOL_MF_STRICT);
		madvise(mine, size, i % 2 ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
		madvise(mine, size, 25 /* MADV_COLLAPSE */);
		moved += pfn_of(mine) != pfn;
	}
	diag("the first page moved %llu times", (unsigned long long)moved);
}

static void under_pressure_memory(int flags, int file)
{
	char *area = expect_ok(mmap(NULL, SIZE + BLOCK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	char *mine = (char *)(((uintptr_t)area + BLOCK - 1) & -BLOCK);
	pid_t pid;

	mine = expect_ok(mmap(mine, SIZE, RW, flags | MAP_FIXED, file, 0));
	begin();
	expect_ok(view_map_memory(view, mine, SIZE, 0, VIEW_RW));
	pid = start_looking(0, PAGES);
	move_about(mine, SIZE);
	findings->stop = true;
	expect_success(pid);
	report();
}

TEST("V8 the owner's anonymous memory while its pages move, collapse and split", .seconds = 180)
{
	under_pressure_memory(MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

TEST("V8 the owner's shared memory while its pages move", .seconds = 180)
{
	under_pressure_memory(MAP_SHARED | MAP_ANONYMOUS, -1);
}

TEST("V8 the owner's mapping of a file on ext4 while its pages move and are paged out", .seconds = 180)
{
	disk = make_disk(64 << 20);
	under_pressure_memory(MAP_SHARED, make_file_on(&disk, "file", SIZE));
}

/* ---- swap ---- */

static void swapped(void)
{
	char *mine = expect_ok(mmap(NULL, SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	uint64_t end = now_ns() + UINT64_C(40000000000);
	long long before = field("/proc/vmstat", "pswpout");
	pid_t pid;

	begin();
	expect_ok(view_map_memory(view, mine, SIZE, 0, VIEW_RW));
	pid = start_looking(0, PAGES);
	while (is_time_left(end) && findings->passes < 5) {
		madvise(mine, SIZE, MADV_PAGEOUT);
		sleep_ms(50);
	}
	findings->stop = true;
	expect_success(pid);
	diag("%lld pages were swapped out", field("/proc/vmstat", "pswpout") - before);
	report();
	check(field("/proc/vmstat", "pswpout") > before, "nothing was swapped");
}

TEST("V8 the owner's memory is swapped out and in", .seconds = 180)
{
	char name[32];
	int loop, status;
	pid_t pid;

	/* In memory, but the kernel does not know. */
	loop = make_loop_device(64 << 20, name, NULL);
	if (run_program("mkswap", name))
		skip("mkswap does not work");
	if (errno_of(syscall(SYS_swapon, name, 0)))
		skip("swapon: %s", errno_name(errno));
	pid = start_child();
	if (!pid) {
		swapped();
		succeed();
	}
	expect_equal(pid, waitpid(pid, &status, 0));
	expect_ok(syscall(SYS_swapoff, name));
	close(loop);
	check(status == 0, "a child ended with wait status 0x%x", status);
}

/* ---- huge ---- */

static void huge(void)
{
	int file = make_huge_file(SIZE);

	under_pressure_file(file);
}

TEST("V7 a memfd of huge pages under compaction", .seconds = 180)
{
	with_huge_pages(SIZE / BLOCK, huge);
}
