// SPDX-License-Identifier: GPL-2.0
/* L1: death at any moment leaves nothing behind. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "memory.h"
#include "process.h"
#include "system.h"
#include "test_module.h"

/* One step of a process that will be killed; errors are none of its business. */
static void step(unsigned int *seed, int shared)
{
	static const size_t sizes[] = { PAGE, 3 * PAGE, 64 * PAGE, BLOCK, BLOCK + PAGE };
	size_t size = sizes[rand_r(seed) % ARRAY_SIZE(sizes)];
	struct exmem_create create = {
		.size = size,
		.flags = size == BLOCK ? EXMEM_CREATE_HUGE : 0,
		.name = "short-lived",
	};
	int device = open(DEVICE, O_RDWR | O_CLOEXEC), fd;
	char *p, *q;

	fd = rand_r(seed) % 3 ? ioctl(device, EXMEM_CREATE, &create) : dup(device);
	if (rand_r(seed) % 4 == 0)
		fd = dup(shared);
	p = try_map(fd, size);
	q = try_map(fd, size);
	if (p != MAP_FAILED)
		for (size_t offset = 0; offset < size; offset += PAGE)
			*(volatile char *)(p + offset) = 1;
	switch (rand_r(seed) % 6) {
	case 0:
		if (p != MAP_FAILED)
			madvise(p, size, MADV_DOFORK);
		/* fall through */
	case 1:
		if (!fork()) {
			p = try_map(fd, size);
			if (rand_r(seed) % 2)
				_exit(0);
			pause();
		}
		break;
	case 2:
		destroy(fd);
		break;
	case 3:
		if (p != MAP_FAILED)
			mremap(p, size, 2 * size, MREMAP_MAYMOVE);
		wait_idle(fd, 1000);
		break;
	}
	if (p != MAP_FAILED && rand_r(seed) % 2)
		munmap(p, size);
	if (q != MAP_FAILED)
		munmap(q, size);
	if (rand_r(seed) % 4)
		close(fd);
	close(device);
}

/* Its children are in its process group. */
static void kill_in_the_middle(unsigned int seed, int shared, unsigned int us)
{
	pid_t pid = start_child(), ended;
	int status;

	if (!pid) {
		setpgid(0, 0);
		for (;;)
			step(&seed, shared);
	}
	setpgid(pid, pid);
	usleep(us);
	/* Its orphans become children of this process; none of them is there for long. */
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

TEST("L1 kill -9 at any moment leaves no page behind", .seconds = 600)
{
	long pages = counter("pages_in_use"), objects = counter("objects"), mappings = counter("mappings");
	pid_t pids[3];

	for (unsigned int worker = 0; worker < ARRAY_SIZE(pids); worker++) {
		pids[worker] = start_child();
		if (pids[worker])
			continue;
		{
			unsigned int seed = 1000 * worker;
			int shared = make_memfd(3 * PAGE);

			expect_ok(prctl(PR_SET_CHILD_SUBREAPER, 1));
			for (int i = 0; i < 100; i++)
				kill_in_the_middle(seed + i, shared, rand_r(&seed) % 20000);
		}
		succeed();
	}
	for (size_t worker = 0; worker < ARRAY_SIZE(pids); worker++)
		expect_success(pids[worker]);
	expect_counter_soon(objects, "objects");
	expect_counter_soon(mappings, "mappings");
	expect_counter_soon(pages, "pages_in_use");
}

TEST("L1 a SIGKILL while the kernel makes a large mapping", .seconds = 300)
{
	long pages = counter("pages_in_use");
	size_t size = 256 << 20;

	for (int i = 0; i < 20; i++) {
		pid_t pid = start_child();

		if (!pid) {
			int fd = make_memfd(size);

			for (;;) {
				char *p = try_map(fd, size);

				if (p != MAP_FAILED)
					munmap(p, size);
			}
		}
		sleep_ms(5 + i * 7);
		kill(pid, SIGKILL);
		expect_killed(SIGKILL, pid);
	}
	expect_counter_soon(pages, "pages_in_use");
}

TEST("L1 the direct map is whole afterwards")
{
	enum { PAGES = 64 };
	uint64_t pfns[PAGES];
	int fd, out = 0;
	char *p;

	need_test_module();
	write_text("/sys/module/exclusive_memory/parameters/keep_blocks", "0");
	fd = make_memfd(PAGES * BLOCK);
	p = map(fd, PAGES * BLOCK);
	for (int i = 0; i < PAGES; i++)
		pfns[i] = pfn_of(p + i * BLOCK);
	unmap(p, PAGES * BLOCK);
	close(fd);
	for (int i = 0; i < PAGES; i++)
		out += !eventually(!read_page(pfns[i]).direct_map);
	expect_equal(0, out);
}
