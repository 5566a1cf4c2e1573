// SPDX-License-Identifier: GPL-2.0
/* L1: nothing of a view is left behind; V2: nor does it keep what it does not show. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "disk.h"
#include "process.h"
#include "system.h"
#include "view.h"

#define PAGES 64
#define SIZE (PAGES * PAGE)

/* A file of /proc whose first number counts what is there. */
static long first_number(const char *path)
{
	return strtol(read_text(path), NULL, 10);
}

TEST("L1 views, view fds and mappings are counted, and go")
{
	long views = counter("views"), ranges = counter("view_ranges");
	int view, fds[3];
	char *p;

	view = make_view(SIZE);
	check(counter("views") > views, "a control file does not count");
	expect_ok(view_map(view, make_file(SIZE), 0, PAGE, 0, VIEW_RW));
	expect_ok(view_map(view, make_file(SIZE), 0, PAGE, 2 * PAGE, VIEW_RW));
	expect_counter(ranges + 2, "view_ranges");
	expect_ok(view_unmap(view, 0, PAGE));
	expect_counter(ranges + 1, "view_ranges");
	for (int i = 0; i < 3; i++)
		fds[i] = expect_ok(view_fd(view, 0));
	p = map_view(view, 0, 0, RW);
	close(view);
	expect_counter_soon(ranges, "view_ranges");
	check(counter("views") > views, "view fds do not count");
	for (int i = 0; i < 3; i++)
		close(fds[i]);
	check(counter("views") > views, "a mapping does not count");
	unmap(p, SIZE);
	expect_counter_soon(views, "views");
}

TEST("L1 thousands of views leave no file, inode or memory behind", .seconds = 900)
{
	long files = 0, inodes = 0, views = counter("views"), ranges = counter("view_ranges");
	long long slab = 0;
	int file = make_file(SIZE), object = make_memfd(SIZE);
	char *memory = expect_ok(mmap(NULL, SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

	for (int i = 0; i < 4000; i++) {
		int view, fd;
		char *p;

		if (i == 1000) {
			files = first_number("/proc/sys/fs/file-nr");
			inodes = first_number("/proc/sys/fs/inode-nr");
			slab = field("/proc/meminfo", "SUnreclaim");
		}
		view = make_view(SIZE);
		expect_ok(view_map(view, file, 0, 4 * PAGE, 0, VIEW_RW));
		expect_ok(view_map(view, object, 0, PAGE, 8 * PAGE, VIEW_RW));
		expect_ok(view_map_memory(view, memory, 4 * PAGE, 16 * PAGE, VIEW_RW));
		fd = expect_ok(view_fd(view, 0));
		p = expect_ok(mmap(NULL, SIZE, RW, MAP_SHARED, fd, 0));
		expect_signal(0, signal_of_store(p));
		expect_signal(0, signal_of_store(p + 8 * PAGE));
		expect_signal(0, signal_of_store(p + 16 * PAGE));
		if (i % 2)
			expect_ok(view_unmap(view, 0, SIZE));
		if (i % 3)
			unmap(p, SIZE);
		close(view);
		close(fd);
		if (i % 3 == 0)
			unmap(p, SIZE);
	}
	expect_counter_soon(views, "views");
	expect_counter_soon(ranges, "view_ranges");
	files = first_number("/proc/sys/fs/file-nr") - files;
	inodes = first_number("/proc/sys/fs/inode-nr") - inodes;
	slab = field("/proc/meminfo", "SUnreclaim") - slab;
	diag("after 3000 more: %ld files, %ld inodes, %lld KiB of slab", files, inodes, slab);
	check(files < 300 && inodes < 300, "%ld files, %ld inodes", files, inodes);
	check(slab < 4096, "%lld KiB", slab);
	expect_equal(0, info_of(object).references);
	expect_equal(0, info_of(object).notifiers);
}

/* ---- what a range keeps ---- */

static void expect_unmounts_soon(const struct disk *disk)
{
	uint64_t begin = now_ns();

	check(eventually(!unmount(disk)), "umount: %s", errno_name(errno));
	diag("after %.0f ms", (now_ns() - begin) / 1e6);
}

static void expect_keeps_while_mapped(struct disk (*make)(void))
{
	struct disk disk = make();
	int file = make_file_on(&disk, "file", SIZE), view = make_view(SIZE);
	char *p = map_view(view, 0, 0, RW);

	expect_ok(view_map(view, file, 0, SIZE, 0, VIEW_RW));
	close(file);
	expect_errno(EBUSY, unmount(&disk));
	fill(p, SIZE, 1);
	expect_filled(p, SIZE, 1);
	expect_ok(view_unmap(view, PAGE, SIZE - PAGE));
	expect_errno(EBUSY, unmount(&disk));
	expect_signal(0, signal_of_store(p));
	expect_ok(view_unmap(view, 0, PAGE));
	expect_unmounts_soon(&disk);
}

static struct disk make_tmpfs(void)
{
	return make_mount("tmpfs", 0, NULL);
}

static struct disk make_ext4(void)
{
	return make_disk(64 << 20);
}

TEST("V3 a tmpfs can be unmounted shortly after UNMAP_FD, and not before")
{
	expect_keeps_while_mapped(make_tmpfs);
}

TEST("V3 so can an ext4")
{
	expect_keeps_while_mapped(make_ext4);
}

TEST("V10 it can be unmounted shortly after UNMAP_FD, REPLACE or the owner's end")
{
	for (int way = 0; way < 3; way++) {
		struct disk disk = make_tmpfs();
		int file = make_file_on(&disk, "file", SIZE), view = make_view(SIZE);
		char *p = map_view(view, 0, 0, RW);

		expect_ok(view_map(view, file, 0, SIZE, 0, VIEW_RW));
		close(file);
		fill(p, SIZE, 1);
		if (way == 0)
			expect_ok(view_unmap(view, 0, SIZE));
		else if (way == 1)
			expect_ok(view_map(view, make_file(SIZE), 0, SIZE, 0, VIEW_R | MEMVIEW_MAP_REPLACE));
		else
			close(view);
		expect_unmounts_soon(&disk);
		unmap(p, SIZE);
	}
}

TEST("V3 a memfd's memory is free shortly after UNMAP_FD, though B has its mapping", .seconds = 300)
{
	size_t size = 128 << 20;
	int view = make_view(size), file = make_file(size);
	char *p = map_view(view, 0, 0, RW);
	long long before, used, after;

	before = field("/proc/meminfo", "Shmem");
	expect_ok(view_map(view, file, 0, size, 0, VIEW_RW));
	memset(p, 1, size);
	close(file);
	used = field("/proc/meminfo", "Shmem") - before;
	check(used >= (long long)(size >> 10) - 4096, "%lld KiB", used);
	expect_ok(view_unmap(view, 0, size));
	check(eventually((after = field("/proc/meminfo", "Shmem") - before) < 4096), "%lld KiB are left", after);
}

TEST("V8 a killed owner's memory is free at once, though B has its mapping", .seconds = 300)
{
	size_t size = 128 << 20;
	int sockets[2], ready = make_gate();
	long long before = field("/proc/meminfo", "AnonPages"), after;
	pid_t pid;
	char *p;
	int fd;

	make_socket_pair(sockets);
	pid = start_child();
	if (!pid) {
		char *mine = expect_ok(mmap(NULL, size, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
		int view = make_view(size);

		memset(mine, 1, size);
		expect_ok(view_map_memory(view, mine, size, 0, VIEW_RW));
		expect_ok(send_fd(sockets[1], expect_ok(view_fd(view, 0))));
		open_gate(ready);
		pause();
	}
	fd = expect_ok(receive_fd(sockets[0]));
	p = expect_ok(mmap(NULL, size, RW, MAP_SHARED, fd, 0));
	wait_at_gate(ready);
	for (size_t offset = 0; offset < size; offset += PAGE)
		check(p[offset] == 1, "other bytes");
	check(field("/proc/meminfo", "AnonPages") - before >= (long long)(size >> 10) - 4096, "it is not there");
	kill(pid, SIGKILL);
	expect_killed(SIGKILL, pid);
	check(eventually((after = field("/proc/meminfo", "AnonPages") - before) < 4096), "%lld KiB are left", after);
}

/* ---- death ---- */

struct step {
	int view, fd, file, object;
	char *p, *memory;
};

/* One step of a process that will be killed; errors are none of its business. */
static void step(unsigned int *seed, struct step *s)
{
	uint64_t at = rand_r(seed) % PAGES, n = 1 + rand_r(seed) % (PAGES - at);
	uint32_t flags = rand_r(seed) % 2 ? VIEW_RW : VIEW_R;
	uint64_t value;
	char *q;

	if (rand_r(seed) % 3)
		flags |= MEMVIEW_MAP_REPLACE;
	switch (rand_r(seed) % 10) {
	case 0:
		close(s->view);
		s->view = open(VIEW_DEVICE, O_RDWR | O_CLOEXEC);
		view_set_size(s->view, SIZE);
		break;
	case 1:
		close(s->fd);
		s->fd = view_fd(s->view, 0);
		q = mmap(NULL, SIZE, RW, MAP_SHARED, s->fd, 0);
		if (q == MAP_FAILED)
			break;
		if (s->p)
			munmap(s->p, SIZE);
		s->p = q;
		break;
	case 2:
		view_map(s->view, s->file, at * PAGE, n * PAGE, at * PAGE, flags);
		break;
	case 3:
		view_map_memory(s->view, s->memory + at * PAGE, n * PAGE, at * PAGE, flags);
		break;
	case 4:
		view_map(s->view, s->object, at * PAGE, n * PAGE, at * PAGE, flags | MEMVIEW_MAP_YIELD);
		break;
	case 5:
		view_unmap(s->view, at * PAGE, n * PAGE);
		break;
	case 6:
		view_protect(s->view, at * PAGE, n * PAGE, flags & VIEW_RW);
		break;
	case 7:
		if (ftruncate(s->file, at * PAGE) || ftruncate(s->file, SIZE))
			_exit(0);
		madvise(s->memory, n * PAGE, MADV_DONTNEED);
		break;
	case 8:
		q = try_map(s->object, SIZE);
		if (q != MAP_FAILED)
			munmap(q, SIZE);
		view_sync(s->view);
		break;
	default:
		if (!fork()) {
			for (uint64_t i = 0; s->p && i < PAGES; i++)
				try_load((uint64_t *)(s->p + i * PAGE), &value);
			if (rand_r(seed) % 2)
				_exit(0);
			pause();
		}
		break;
	}
	for (uint64_t i = at; s->p && i < at + n; i++)
		try_store((uint64_t *)(s->p + i * PAGE), i);
}

/* Its children are in its process group. */
static void kill_in_the_middle(unsigned int seed, unsigned int us)
{
	pid_t pid = start_child(), ended;
	int status;

	if (!pid) {
		struct step s = { -1, -1, make_file(SIZE), make_memfd(SIZE), NULL, NULL };

		setpgid(0, 0);
		catch_access_signals();
		s.memory = expect_ok(mmap(NULL, SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
		s.view = make_view(SIZE);
		for (;;)
			step(&seed, &s);
	}
	setpgid(pid, pid);
	usleep(us);
	do {
		kill(-pid, SIGKILL);
		ended = waitpid(-1, &status, WNOHANG);
		if (ended > 0)
			check(WIFSIGNALED(status) || !WEXITSTATUS(status), "wait status 0x%x", status);
		else if (!ended)
			usleep(200);
	} while (ended >= 0);
	expect_equal(ECHILD, errno);
}

TEST("L1 kill -9 at any moment leaves no view, range, page or reference behind", .seconds = 600)
{
	static const char *const names[] = { "views", "view_ranges", "pages_in_use", "objects", "mappings" };
	long before[ARRAY_SIZE(names)];
	pid_t pids[3];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		before[i] = counter(names[i]);
	for (unsigned int worker = 0; worker < ARRAY_SIZE(pids); worker++) {
		pids[worker] = start_child();
		if (!pids[worker]) {
			unsigned int seed = 1000 * worker;

			expect_ok(prctl(PR_SET_CHILD_SUBREAPER, 1));
			for (int i = 0; i < 150; i++)
				kill_in_the_middle(seed + i, rand_r(&seed) % 40000);
			succeed();
		}
	}
	for (size_t worker = 0; worker < ARRAY_SIZE(pids); worker++)
		expect_success(pids[worker]);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		expect_counter_soon(before[i], names[i]);
}
