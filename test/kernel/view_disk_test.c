// SPDX-License-Identifier: GPL-2.0
/* V7: what is stored through a view reaches the disk at fsync(2), and what is on the disk is seen. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "disk.h"
#include "process.h"
#include "system.h"
#include "view.h"

#define PAGES 64
#define SIZE (PAGES * PAGE)

static int view;
static char *p;

static void begin(int file, uint32_t flags)
{
	view = make_view(SIZE);
	expect_ok(view_map(view, file, 0, SIZE, 0, flags));
	p = map_view(view, 0, 0, RW);
}

/* The bytes of a page of a file on the disk itself: no cache of the file system is between. */
static bool disk_has(const struct disk *disk, int file, uint64_t offset, uint64_t seed)
{
	return file_is_filled(disk->image, place_of(file, offset), PAGE, seed);
}

/* After a store of what fill() gives, and fsync(2). */
static void expect_on_disk(const struct disk *disk, int file, uint64_t offset, uint64_t round)
{
	bool cached, later;

	if (disk_has(disk, file, offset, round))
		return;
	cached = file_is_filled(file, offset, PAGE, round);
	sleep_ms(100);
	expect_ok(fsync(file));
	later = disk_has(disk, file, offset, round);
	fail("round %d: the disk has not what was stored at %d; read(2) %s it, another fsync 100 ms later %s it",
	     (int)round, (int)offset, cached ? "gives" : "does not give", later ? "brings" : "does not bring");
}

TEST("V7 what is stored through the view is on the disk after fsync, round by round", .seconds = 300)
{
	enum { ROUNDS = 200 };
	struct disk disk = make_disk(64 << 20);
	int file = make_file_on(&disk, "file", SIZE);

	begin(file, VIEW_RW);
	for (uint64_t round = 1; round <= ROUNDS; round++) {
		uint64_t page = round * 7 % PAGES;

		fill(p + page * PAGE, PAGE, round);
		/* One page is stored to in each round: it is never new. */
		fill(p, PAGE, round);
		expect_ok(round % 2 ? fsync(file) : fdatasync(file));
		expect_on_disk(&disk, file, 0, round);
		if (page)
			expect_on_disk(&disk, file, page * PAGE, round);
	}
}

TEST("V7 so it is when another process stores, with a mapping of its own", .seconds = 300)
{
	struct peer b = start_peer();
	struct disk disk = make_disk(64 << 20);
	int file = make_file_on(&disk, "file", SIZE);

	begin(file, VIEW_RW);
	give_view(&b, view, SIZE);
	for (uint64_t round = 1; round <= 100; round++) {
		peer_fills(&b, 0, PAGE, round);
		expect_ok(fsync(file));
		expect_on_disk(&disk, file, 0, round);
	}
	end_peer(&b);
}

TEST("V7 what was stored before UNMAP_FD, PROTECT or the owner's end is on the disk after fsync", .seconds = 120)
{
	struct disk disk = make_disk(64 << 20);
	int file = make_file_on(&disk, "file", SIZE);

	for (uint64_t round = 1; round <= 30; round++) {
		begin(file, VIEW_RW);
		fill(p, 4 * PAGE, round);
		if (round % 3 == 0)
			expect_ok(view_unmap(view, 0, SIZE));
		else if (round % 3 == 1)
			expect_ok(view_protect(view, 0, SIZE, VIEW_R));
		close(view);
		expect_signal(SIGBUS, signal_of_load(p));
		unmap(p, SIZE);
		check(file_is_filled(file, 0, 4 * PAGE, round), "read(2) gives other bytes");
		expect_ok(fsync(file));
		expect_ok(write_text("/proc/sys/vm/drop_caches", "3"));
		check(file_is_filled(file, 0, 4 * PAGE, round), "the bytes are lost");
		expect_on_disk(&disk, file, 0, round);
	}
}

static struct writeback {
	int file;
	bool reclaim;
	volatile bool stop;
} writeback;

static void *write_back(void *unused)
{
	(void)unused;
	while (!writeback.stop) {
		expect_ok(sync_file_range(writeback.file, 0, SIZE, SYNC_FILE_RANGE_WRITE));
		if (writeback.reclaim)
			expect_ok(write_text("/proc/sys/vm/drop_caches", "1"));
	}
	return NULL;
}

/* What B has stored so far: said in memory of its own, after each store. */
static _Atomic uint64_t *stored;

static void store_for_ever(void)
{
	p = map_view(view, 0, 0, RW);
	close(view);
	for (uint64_t n = 1;; n++) {
		*(volatile uint64_t *)p = n;
		*stored = n;
		if (n % 1024 == 0)
			sched_yield();
	}
}

static void expect_in_time(bool others_write_back)
{
	struct disk disk = make_disk(64 << 20);
	int file = make_file_on(&disk, "file", SIZE), late = 0, rounds = 0;
	uint64_t end = now_ns() + UINT64_C(10000000000), before, word, place, most = 0;
	pthread_t thread;
	pid_t pid;

	view = make_view(SIZE);
	expect_ok(view_map(view, file, 0, SIZE, 0, VIEW_RW));
	stored = expect_ok(mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	pid = start_child();
	if (!pid)
		store_for_ever();
	check(eventually(*stored), "B does not store");
	expect_ok(fsync(file));
	place = place_of(file, 0);
	writeback.file = file;
	if (others_write_back)
		expect_equal(0, pthread_create(&thread, NULL, write_back, NULL));
	for (; now_ns() < end; rounds++) {
		before = *stored;
		expect_ok(fsync(file));
		expect_equal(8, pread(disk.image, &word, 8, place));
		if (word >= before)
			continue;
		late++;
		most = before - word > most ? before - word : most;
	}
	writeback.stop = true;
	if (others_write_back)
		pthread_join(thread, NULL);
	kill(pid, SIGKILL);
	expect_killed(SIGKILL, pid);
	diag("%d rounds, %llu stores", rounds, (unsigned long long)*stored);
	check(!late, "in %d rounds the disk was late, by up to %llu stores", late, (unsigned long long)most);
	check(rounds > 20, "hardly any");
}

TEST("V7 what B has stored when fsync begins is on the disk when it returns", .seconds = 120)
{
	expect_in_time(false);
}

TEST("V7 so it is while others write the file back all the time", .seconds = 120)
{
	expect_in_time(true);
}

TEST("V7 no store is lost while the kernel writes back and reclaims all the time", .seconds = 300)
{
	struct disk disk = make_disk(64 << 20);
	int file = make_file_on(&disk, "file", SIZE);
	volatile uint64_t *words;
	uint64_t rounds = 0, end = now_ns() + UINT64_C(5000000000), word;
	pthread_t thread;

	begin(file, VIEW_RW);
	words = (volatile uint64_t *)p;
	writeback.file = file;
	writeback.reclaim = true;
	expect_equal(0, pthread_create(&thread, NULL, write_back, NULL));
	for (; now_ns() < end; rounds++)
		for (size_t page = 0; page < PAGES; page++) {
			expect_equal(rounds, words[page * PAGE / 8]);
			words[page * PAGE / 8] = rounds + 1;
		}
	writeback.stop = true;
	pthread_join(thread, NULL);
	diag("%llu rounds", (unsigned long long)rounds);
	expect_ok(view_unmap(view, 0, SIZE));
	expect_ok(fsync(file));
	for (size_t page = 0; page < PAGES; page++) {
		expect_equal(8, pread(disk.image, &word, 8, place_of(file, page * PAGE)));
		expect_equal(rounds, word);
	}
}

TEST("V7 the bytes are there after umount and mount")
{
	struct disk disk = make_disk(64 << 20);
	int file = make_file_on(&disk, "file", SIZE);

	begin(file, VIEW_RW);
	fill(p, SIZE, 9);
	close(view);
	close(file);
	unmap(p, SIZE);
	check(eventually(!unmount(&disk)), "umount: %s", errno_name(errno));
	expect_ok(write_text("/proc/sys/vm/drop_caches", "3"));
	mount_again(&disk);
	check(file_is_filled(open_on(&disk, "file", O_RDONLY), 0, SIZE, 9), "other bytes");
}

TEST("V7 a store where the file has no block yet gives it one, or is refused: never lost", .seconds = 120)
{
	struct disk disk = make_disk(16 << 20);
	int file = make_file_on(&disk, "sparse", 64 << 20);
	uint64_t stored = 0, found = 0;

	view = make_view(64 << 20);
	expect_ok(view_map(view, file, 0, 64 << 20, 0, VIEW_RW));
	p = map_view(view, 0, 0, RW);
	/* The disk is too small for all of it. */
	for (size_t offset = 0; offset < 64 << 20; offset += PAGE) {
		if (signal_of_zero(p + offset + 1)) {
			expect_equal(BUS_ADRERR, signal_code());
			break;
		}
		*(volatile uint64_t *)(p + offset) = offset + 1;
		stored++;
	}
	diag("%llu of %d pages", (unsigned long long)stored, (64 << 20) / (int)PAGE);
	check(stored > 100 && stored < (16 << 20) / PAGE, "that is not as many as the disk has");
	expect_ok(fsync(file));
	expect_ok(view_unmap(view, 0, 64 << 20));
	for (size_t i = 0; i < stored; i++) {
		uint64_t word;

		expect_equal(8, pread(disk.image, &word, 8, place_of(file, i * PAGE)));
		found += word == i * PAGE + 1;
	}
	expect_equal(stored, found);
}

TEST("V7 O_DIRECT writes by others are seen at once, and disturb no cache", .seconds = 300)
{
	struct peer b = start_peer();
	struct disk disk = make_disk(64 << 20);
	int file = make_file_on(&disk, "file", SIZE), log = log_begin();
	int direct = open_on(&disk, "file", O_RDWR | O_DIRECT);
	char *buffer = expect_ok(mmap(NULL, SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

	write_filled(file, 0, SIZE, 1);
	expect_ok(fsync(file));
	begin(file, VIEW_RW);
	give_view(&b, view, SIZE);
	for (uint64_t round = 2; round < 100; round++) {
		check(peer_finds(&b, 0, SIZE, round - 1), "B finds other bytes");
		/* Sometimes what is to be overwritten is dirty. */
		if (round % 3 == 0)
			fill(p + PAGE, PAGE, 99);
		fill(buffer, SIZE, round);
		expect_equal(SIZE, pwrite(direct, buffer, SIZE, 0));
		check(file_is_filled(file, 0, SIZE, round), "round %d: read(2) gives other bytes", (int)round);
		expect_ok(view_sync(view));
		check(is_filled(p, SIZE, round), "round %d: the view has other bytes", (int)round);
	}
	check(!log_contains(log, "Page cache invalidation failure"), "the kernel complains");
	end_peer(&b);
}
