// SPDX-License-Identifier: GPL-2.0
/* V2, V7: sources with pages of 2 MiB. */
#include <pthread.h>
#include <string.h>
#include <sys/mount.h>

#include "disk.h"
#include "process.h"
#include "system.h"
#include "view.h"

enum { HUGE = 8 };

#define SIZE (HUGE * BLOCK)

static int view, file;
static char *p;

static void begin(void)
{
	file = make_huge_file(SIZE);
	view = make_view(SIZE + BLOCK);
	expect_ok(view_map(view, file, 0, SIZE, 0, VIEW_RW));
	p = map_view(view, 0, 0, RW);
}

static void aligned(void)
{
	file = make_huge_file(SIZE);
	view = make_view(SIZE + PAGE);
	for (uint64_t off = PAGE; off < BLOCK; off = off * 8 + PAGE) {
		expect_errno(EINVAL, view_map(view, file, off, BLOCK, 0, VIEW_R));
		expect_errno(EINVAL, view_map(view, file, 0, off, 0, VIEW_R));
		expect_errno(EINVAL, view_map(view, file, 0, BLOCK + off, 0, VIEW_R));
		expect_errno(EINVAL, view_map(view, file, 0, BLOCK, off, VIEW_R));
	}
	expect_no_ranges(view);
	expect_ok(view_map(view, file, BLOCK, 2 * BLOCK, 4 * BLOCK, VIEW_R));
	expect_ranges(view, { 4 * 512, 2 * 512, 512, VIEW_R });
}

TEST("V2 hugetlbfs has its own alignment, else EINVAL")
{
	with_huge_pages(HUGE, aligned);
}

static void coherent(void)
{
	char *q;

	begin();
	q = map(file, SIZE);
	for (uint64_t round = 1; round < 4; round++) {
		fill(p, SIZE, 2 * round);
		expect_filled(q, SIZE, 2 * round);
		fill(q, SIZE, 2 * round + 1);
		expect_filled(p, SIZE, 2 * round + 1);
		check(file_is_filled(file, 0, SIZE, 2 * round + 1), "read(2) gives other bytes");
	}
	expect_signal(SIGBUS, signal_of_load(p + SIZE));
}

TEST("V7 a memfd of huge pages is the same memory, whoever looks", .seconds = 120)
{
	with_huge_pages(HUGE, coherent);
}

static void on_file_system(void)
{
	struct disk disk = make_mount("hugetlbfs", 0, NULL);

	file = make_file_on(&disk, "file", 2 * BLOCK);
	view = make_view(SIZE);
	expect_errno(EINVAL, view_map(view, file, PAGE, BLOCK, 0, VIEW_RW));
	expect_ok(view_map(view, file, 0, 2 * BLOCK, BLOCK, VIEW_RW));
	p = map_view(view, 0, 0, RW);
	fill(p + BLOCK, 2 * BLOCK, 1);
	expect_filled(map(file, 2 * BLOCK), 2 * BLOCK, 1);
	expect_signal(SIGBUS, signal_of_load(p + BLOCK - PAGE));
	expect_signal(SIGBUS, signal_of_load(p + 3 * BLOCK));
}

TEST("V7 so is a file on hugetlbfs")
{
	with_huge_pages(HUGE, on_file_system);
}

static void unmapped_in_parts(void)
{
	begin();
	fill(p, SIZE, 1);
	/* Whole pages of it, and a part of one. */
	expect_ok(view_unmap(view, BLOCK, BLOCK));
	expect_ok(view_unmap(view, 3 * BLOCK + 8 * PAGE, 2 * PAGE));
	expect_ranges(view, { 0, 512, 0, VIEW_RW }, { 1024, 512 + 8, 1024, VIEW_RW },
		      { 3 * 512 + 10, SIZE / PAGE - 3 * 512 - 10, 3 * 512 + 10, VIEW_RW });
	expect_signal(SIGBUS, signal_of_load(p + BLOCK));
	expect_signal(SIGBUS, signal_of_load(p + 2 * BLOCK - PAGE));
	expect_signal(SIGBUS, signal_of_load(p + 3 * BLOCK + 8 * PAGE));
	expect_signal(SIGBUS, signal_of_load(p + 3 * BLOCK + 9 * PAGE));
	for (size_t page = 0; page < 8; page++)
		expect_signal(0, signal_of_store(p + 3 * BLOCK + page * PAGE));
	expect_signal(0, signal_of_store(p + 3 * BLOCK + 10 * PAGE));
	expect_signal(0, signal_of_store(p + 4 * BLOCK - PAGE));
	/* Another page in its place. */
	expect_ok(view_map(view, make_filled_file(PAGE, 2), 0, PAGE, 3 * BLOCK + 8 * PAGE, VIEW_R));
	expect_filled(p + 3 * BLOCK + 8 * PAGE, PAGE, 2);
	expect_signal(SIGSEGV, signal_of_zero(p + 3 * BLOCK + 8 * PAGE));
	expect_ok(view_protect(view, 5 * BLOCK + PAGE, PAGE, VIEW_R));
	expect_signal(SIGSEGV, signal_of_zero(p + 5 * BLOCK + PAGE));
	expect_signal(0, signal_of_store(p + 5 * BLOCK));
	expect_signal(0, signal_of_store(p + 5 * BLOCK + 2 * PAGE));
	expect_filled(p, BLOCK, 1);
}

TEST("V3 UNMAP_FD, PROTECT and REPLACE take a part of a huge page")
{
	with_huge_pages(HUGE, unmapped_in_parts);
}

static void mapped_in_parts(void)
{
	char *parts[4];
	int fd;

	begin();
	fill(p, SIZE, 1);
	fd = expect_ok(view_fd(view, 0));
	/* Mappings that begin and end inside a huge page, and at addresses that fit none. */
	for (size_t i = 0; i < 4; i++) {
		parts[i] = expect_ok(mmap(NULL, 2 * BLOCK, RW, MAP_SHARED, fd, i * (BLOCK / 4 + PAGE)));
		for (size_t offset = 0; offset < 2 * BLOCK; offset += 8 * PAGE)
			check(!memcmp(parts[i] + offset, p + i * (BLOCK / 4 + PAGE) + offset, PAGE), "other bytes");
	}
	expect_ok(munmap(parts[0] + BLOCK / 2, PAGE));
	expect_signal(0, signal_of_store(parts[0] + BLOCK / 2 - PAGE));
	expect_signal(SIGSEGV, signal_of_load(parts[0] + BLOCK / 2));
	expect_ok(mprotect(parts[1] + BLOCK / 2, PAGE, PROT_READ));
	expect_signal(SIGSEGV, signal_of_zero(parts[1] + BLOCK / 2));
	expect_signal(0, signal_of_store(parts[1] + BLOCK / 2 + PAGE));
	expect_ok(view_unmap(view, 0, SIZE));
	for (size_t i = 1; i < 4; i++)
		for (size_t offset = 0; offset < 2 * BLOCK; offset += BLOCK / 8)
			expect_signal(SIGBUS, signal_of_load(parts[i] + offset));
}

TEST("V4 mappings of any part of huge pages work, and are split by munmap and mprotect")
{
	with_huge_pages(HUGE, mapped_in_parts);
}

static void forked(void)
{
	pid_t pid;
	int go = make_gate();

	begin();
	fill(p, SIZE, 1);
	pid = start_child();
	if (!pid) {
		close(view);
		expect_filled(p, SIZE, 1);
		wait_at_gate(go);
		expect_signal(SIGBUS, signal_of_load(p));
		expect_signal(SIGBUS, signal_of_load(p + SIZE - PAGE));
		succeed();
	}
	sleep_ms(50);
	expect_ok(view_unmap(view, 0, SIZE));
	open_gate(go);
	expect_success(pid);
}

TEST("V3 a child by fork sees huge pages, and loses them too")
{
	with_huge_pages(HUGE, forked);
}

static void escalated(void)
{
	begin();
	expect_ok(view_protect(view, 0, SIZE, VIEW_R));
	for (size_t i = 0; i < HUGE; i++) {
		expect_signal(0, signal_of_load(p + i * BLOCK));
		expect_ok(mprotect(p, SIZE, PROT_READ));
		expect_ok(mprotect(p, SIZE, RW));
		expect_signal(SIGSEGV, signal_of_zero(p + i * BLOCK));
		expect_signal(SIGSEGV, signal_of_zero(p + i * BLOCK + PAGE));
	}
}

TEST("V5 a round trip of mprotect gives nothing there either")
{
	with_huge_pages(HUGE, escalated);
}

static void truncated(void)
{
	begin();
	for (int round = 0; round < 20; round++) {
		size_t keep = round % HUGE;

		for (size_t i = 0; i < HUGE; i++)
			*(volatile uint64_t *)(p + i * BLOCK) = i + 1;
		expect_ok(ftruncate(file, keep * BLOCK));
		expect_ok(view_sync(view));
		for (size_t i = 0; i < HUGE; i++)
			expect_signal(i < keep ? 0 : SIGBUS, signal_of_load(p + i * BLOCK));
		expect_ok(ftruncate(file, SIZE));
		for (size_t i = 0; i < HUGE; i++)
			expect_equal(i < keep ? i + 1 : 0, *(volatile uint64_t *)(p + i * BLOCK));
		expect_ok(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, keep * BLOCK, BLOCK));
		expect_ok(view_sync(view));
		expect_equal(0, *(volatile uint64_t *)(p + keep * BLOCK));
	}
}

TEST("V7 truncation and holes reach the mappings", .seconds = 120)
{
	with_huge_pages(HUGE, truncated);
}

static void used_up(void)
{
	int answer, there = 0;

	file = make_huge_file(4 * BLOCK);
	view = make_view(SIZE);
	/* As mmap(2) of the file, it may ask for all pages at once. */
	answer = errno_of(view_map(view, file, 0, 4 * BLOCK, 0, VIEW_RW));
	diag("MAP_FD: %s", errno_name(answer));
	if (answer) {
		expect_equal(ENOMEM, answer);
		expect_no_ranges(view);
		return;
	}
	p = map_view(view, 0, 0, RW);
	for (size_t i = 0; i < 4; i++) {
		int signal = signal_of_zero(p + i * BLOCK);

		there += !signal;
		check(!signal || signal == SIGBUS, "signal %d", signal);
	}
	expect_equal(2, there);
	expect_signal(0, signal_of_load(p));
}

TEST("V7 with too few huge pages, MAP_FD is ENOMEM or the access SIGBUS")
{
	with_huge_pages(2, used_up);
}
