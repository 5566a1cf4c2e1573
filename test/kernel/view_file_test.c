// SPDX-License-Identifier: GPL-2.0
/* V2, V7: files as sources. What is read is what read(2) gives. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

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

/* Both ways between the view, read(2), write(2) and an ordinary mapping. */
static void expect_coherent(int file)
{
	char *q = map(file, SIZE);

	begin(file, VIEW_RW);
	expect_zero(p, SIZE);
	for (uint64_t round = 1; round < 6; round++) {
		fill(p, SIZE, 3 * round);
		check(file_is_filled(file, 0, SIZE, 3 * round), "read(2) gives other bytes");
		expect_filled(q, SIZE, 3 * round);
		write_filled(file, 0, SIZE, 3 * round + 1);
		expect_filled(p, SIZE, 3 * round + 1);
		fill(q, SIZE, 3 * round + 2);
		expect_filled(p, SIZE, 3 * round + 2);
		expect_ok(fsync(file));
		if (round % 2)
			expect_ok(write_text("/proc/sys/vm/drop_caches", "3"));
		expect_filled(p, SIZE, 3 * round + 2);
	}
	unmap(q, SIZE);
}

TEST("V7 a memfd is the same memory, whoever looks")
{
	expect_coherent(make_file(SIZE));
}

TEST("V7 so is a file on tmpfs")
{
	struct disk disk = make_mount("tmpfs", 0, NULL);

	expect_coherent(make_file_on(&disk, "file", SIZE));
}

TEST("V7 so is one on tmpfs with huge pages")
{
	struct disk disk = make_mount("tmpfs", 0, "huge=always");
	int file = make_file_on(&disk, "file", 8 * BLOCK);
	char *q;

	expect_coherent(file);
	view = make_view(8 * BLOCK);
	expect_ok(view_map(view, file, 0, 8 * BLOCK, 0, VIEW_RW));
	q = map_view(view, 0, 0, RW);
	fill(q, 8 * BLOCK, 5);
	check(file_is_filled(file, 0, 8 * BLOCK, 5), "read(2) gives other bytes");
	expect_ok(view_unmap(view, BLOCK + PAGE, PAGE));
	expect_signal(SIGBUS, signal_of_load(q + BLOCK + PAGE));
	expect_signal(0, signal_of_store(q + BLOCK));
	expect_signal(0, signal_of_store(q + BLOCK + 2 * PAGE));
}

TEST("V7 so is one on ext4")
{
	struct disk disk = make_disk(64 << 20);

	expect_coherent(make_file_on(&disk, "file", SIZE));
}

TEST("V7 one on overlayfs or 9p gives what read(2) gives, or is refused with ENODEV")
{
	int file = expect_ok(open("/proc/self/exe", O_RDONLY | O_CLOEXEC)), answer;
	char bytes[PAGE];

	view = make_view(SIZE);
	answer = errno_of(view_map(view, file, 0, 4 * PAGE, 0, VIEW_R));
	diag("/proc/self/exe: %s", errno_name(answer));
	if (answer) {
		expect_equal(ENODEV, answer);
		return;
	}
	p = map_view(view, 0, 0, PROT_READ);
	for (size_t page = 0; page < 4; page++) {
		expect_equal(PAGE, pread(file, bytes, PAGE, page * PAGE));
		expect_signal(0, signal_of_load(p + page * PAGE));
		check(!memcmp(bytes, p + page * PAGE, PAGE), "other bytes");
	}
}

/* ---- what a file does not allow ---- */

TEST("V2 a memfd sealed against writing can be mapped for reading only, else EPERM")
{
	int file = make_filled_file(SIZE, 1);

	expect_ok(fcntl(file, F_ADD_SEALS, F_SEAL_WRITE));
	view = make_view(SIZE);
	expect_errno(EPERM, view_map(view, file, 0, SIZE, 0, VIEW_RW));
	expect_errno(EPERM, view_map(view, file, 0, SIZE, 0, VIEW_RWX));
	expect_no_ranges(view);
	expect_ok(view_map(view, file, 0, SIZE, 0, VIEW_R));
	p = map_view(view, 0, 0, RW);
	expect_filled(p, SIZE, 1);
	expect_signal(SIGSEGV, signal_of_zero(p));
	check(errno_of(view_protect(view, 0, SIZE, VIEW_RW)), "PROTECT gives WRITE to a sealed file");
	expect_signal(SIGSEGV, signal_of_zero(p));
	check(file_is_filled(file, 0, SIZE, 1), "other bytes");
}

TEST("V2 so can one sealed against future writing")
{
	int file = make_filled_file(SIZE, 1);

	expect_ok(fcntl(file, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
	view = make_view(SIZE);
	expect_errno(EPERM, view_map(view, file, 0, SIZE, 0, VIEW_RW));
	expect_ok(view_map(view, file, 0, SIZE, 0, VIEW_R));
	p = map_view(view, 0, 0, RW);
	expect_filled(p, SIZE, 1);
	expect_signal(SIGSEGV, signal_of_zero(p));
	check(errno_of(view_protect(view, 0, SIZE, VIEW_RW)), "PROTECT gives WRITE to a sealed file");
	expect_signal(SIGSEGV, signal_of_zero(p));
}

TEST("V2 a range that could be written before that seal can be written after it, and no other can")
{
	int file = make_filled_file(SIZE, 1);

	view = make_view(SIZE);
	expect_ok(view_map(view, file, 0, PAGE, 0, VIEW_RW));
	expect_ok(view_map(view, file, PAGE, PAGE, PAGE, VIEW_R));
	expect_ok(fcntl(file, F_ADD_SEALS, F_SEAL_FUTURE_WRITE));
	expect_errno(EPERM, view_map(view, file, 2 * PAGE, PAGE, 2 * PAGE, VIEW_RW));
	check(errno_of(view_protect(view, PAGE, PAGE, VIEW_RW)), "PROTECT gives WRITE to a sealed file");
	p = map_view(view, 0, 0, RW);
	expect_signal(SIGSEGV, signal_of_zero(p + PAGE));
	expect_signal(SIGBUS, signal_of_zero(p + 2 * PAGE));
	expect_signal(0, signal_of_store(p));
}

TEST("V7 F_SEAL_WRITE is EBUSY while the view could write, and works after UNMAP_FD")
{
	int file = make_filled_file(SIZE, 1);

	begin(file, VIEW_RW);
	expect_signal(0, signal_of_store(p));
	expect_errno(EBUSY, fcntl(file, F_ADD_SEALS, F_SEAL_WRITE));
	expect_ok(view_unmap(view, 0, SIZE));
	expect_ok(view_sync(view));
	expect_ok(fcntl(file, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW));
	expect_ok(view_map(view, file, 0, SIZE, 0, VIEW_R));
	expect_filled(p, SIZE, 1);
}

TEST("V2 EXEC of a file on a noexec mount is EPERM")
{
	struct disk disk = make_mount("tmpfs", MS_NOEXEC, NULL);
	int file = make_file_on(&disk, "file", SIZE);

	view = make_view(SIZE);
	expect_errno(EPERM, view_map(view, file, 0, SIZE, 0, VIEW_RX));
	expect_errno(EPERM, view_map(view, file, 0, SIZE, 0, VIEW_RWX));
	expect_ok(view_map(view, file, 0, SIZE, 0, VIEW_RW));
	expect_errno(EPERM, view_protect(view, 0, SIZE, VIEW_RX));
	expect_ranges(view, { 0, PAGES, 0, VIEW_RW });
	p = map_view(view, 0, 0, RWX);
	*p = 0xc3;
	expect_signal(SIGSEGV, signal_of_call(p));
}

TEST("V2 a file on a read-only mount can be mapped for reading")
{
	struct disk disk = make_mount("tmpfs", 0, NULL);
	int file = make_file_on(&disk, "file", SIZE);

	write_filled(file, 0, SIZE, 1);
	close(file);
	expect_ok(mount(NULL, disk.directory, NULL, MS_REMOUNT | MS_RDONLY, NULL));
	file = open_on(&disk, "file", O_RDONLY);
	view = make_view(SIZE);
	expect_errno(EACCES, view_map(view, file, 0, SIZE, 0, VIEW_RW));
	expect_ok(view_map(view, file, 0, SIZE, 0, VIEW_RX));
	p = map_view(view, 0, 0, RW);
	expect_filled(p, SIZE, 1);
	expect_signal(SIGSEGV, signal_of_zero(p));
}

TEST("V7 an unlinked file lives as long as the view has it")
{
	struct disk disk = make_mount("tmpfs", 0, NULL);
	int file = make_file_on(&disk, "file", SIZE);
	char path[64];

	begin(file, VIEW_RW);
	close(file);
	snprintf(path, sizeof(path), "%s/file", disk.directory);
	expect_ok(unlink(path));
	fill(p, SIZE, 1);
	expect_filled(p, SIZE, 1);
	expect_errno(EBUSY, unmount(&disk));
	expect_ok(view_unmap(view, 0, SIZE));
	check(eventually(!unmount(&disk)), "umount: %s", errno_name(errno));
}

TEST("V7 a swapped or dropped page comes back with its bytes")
{
	struct disk disk = make_disk(64 << 20);
	int file = make_file_on(&disk, "file", SIZE);
	char *q = map(file, SIZE);

	begin(file, VIEW_RW);
	for (uint64_t round = 1; round <= 20; round++) {
		fill(p, SIZE, round);
		expect_ok(fsync(file));
		madvise(q, SIZE, MADV_PAGEOUT);
		posix_fadvise(file, 0, SIZE, POSIX_FADV_DONTNEED);
		expect_filled(p, SIZE, round);
	}
}
