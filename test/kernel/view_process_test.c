// SPDX-License-Identifier: GPL-2.0
/* V8: a view of the owner's own address space. */
#include <linux/userfaultfd.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "disk.h"
#include "process.h"
#include "system.h"
#include "view.h"

#define PAGES 32
#define SIZE (PAGES * PAGE)
#define ANONYMOUS (MAP_PRIVATE | MAP_ANONYMOUS)

static int view;
static struct peer b;
static char *mine;

/* The owner's memory at a place of its own, and B that looks at it. */
static void begin_with(int flags, int fd, uint32_t allowed)
{
	b = start_peer();
	mine = expect_ok(mmap(NULL, SIZE, RW, flags, fd, 0));
	view = make_view(SIZE);
	expect_ok(view_map_memory(view, mine, SIZE, 0, allowed));
	give_view(&b, view, SIZE);
}

static void begin(uint32_t flags)
{
	begin_with(ANONYMOUS, -1, flags);
}

static void expect_one_memory(void)
{
	expect_ranges_of(MEMVIEW_KIND_PROCESS, view, { 0, PAGES, (uintptr_t)mine / PAGE, VIEW_RW });
	for (uint64_t round = 1; round < 5; round++) {
		fill(mine, SIZE, 2 * round);
		check(peer_finds(&b, 0, SIZE, 2 * round), "B finds other bytes");
		peer_fills(&b, 0, SIZE, 2 * round + 1);
		expect_filled(mine, SIZE, 2 * round + 1);
	}
	end_peer(&b);
}

TEST("V8 the owner's private memory is one memory with what B has")
{
	begin(VIEW_RW);
	expect_one_memory();
}

TEST("V8 so is shared memory")
{
	begin_with(MAP_SHARED | MAP_ANONYMOUS, -1, VIEW_RW);
	expect_one_memory();
}

TEST("V8 so is a mapping of a file")
{
	int file = make_file(SIZE);

	begin_with(MAP_SHARED, file, VIEW_RW);
	expect_one_memory();
	check(file_is_filled(file, 0, SIZE, 9), "the file has other bytes");
}

TEST("V8 a private mapping of a file gives its copies, and makes them")
{
	int file = make_filled_file(SIZE, 1);

	begin_with(MAP_PRIVATE, file, VIEW_RW);
	check(peer_finds(&b, 0, SIZE, 1), "B finds other bytes");
	*(volatile uint64_t *)mine = 5;
	expect_value(5, peer_load(&b, 0));
	expect_access(0, peer_store(&b, PAGE, 6));
	expect_equal(6, *(volatile uint64_t *)(mine + PAGE));
	expect_value(6, peer_load(&b, PAGE));
	check(file_is_filled(file, 0, SIZE, 1), "the file was changed");
	end_peer(&b);
}

TEST("V8 what nobody touched is zeros for B, and the owner's first store shows")
{
	begin(VIEW_RW);
	for (size_t page = 0; page < PAGES; page++) {
		expect_value(0, peer_load(&b, page * PAGE));
		*(volatile uint64_t *)(mine + page * PAGE) = page + 1;
		expect_value(page + 1, peer_load(&b, page * PAGE));
	}
	end_peer(&b);
	b = start_peer();
	give_view(&b, view, SIZE);
	expect_ok(madvise(mine, SIZE, MADV_DONTNEED));
	/* B is the first to store. */
	for (size_t page = 0; page < PAGES; page++) {
		expect_access(0, peer_store(&b, page * PAGE, page + 7));
		expect_equal(page + 7, *(volatile uint64_t *)(mine + page * PAGE));
	}
	end_peer(&b);
}

TEST("V8 transparent huge pages, and what splits them", .seconds = 120)
{
	size_t size = 8 * BLOCK;
	char *area = expect_ok(mmap(NULL, size + BLOCK, RW, ANONYMOUS, -1, 0));

	b = start_peer();
	mine = (char *)(((uintptr_t)area + BLOCK - 1) & -BLOCK);
	if (errno_of(madvise(mine, size, MADV_HUGEPAGE)))
		skip("no transparent huge pages: %s", errno_name(errno));
	view = make_view(size);
	expect_ok(view_map_memory(view, mine, size, 0, VIEW_RW));
	give_view(&b, view, size);
	fill(mine, size, 1);
	check(peer_finds(&b, 0, size, 1), "B finds other bytes");
	peer_fills(&b, 0, size, 2);
	expect_filled(mine, size, 2);
	expect_ok(madvise(mine + PAGE, PAGE, MADV_DONTNEED));
	expect_ok(mprotect(mine + BLOCK, PAGE, PROT_NONE));
	expect_ok(munmap(mine + 2 * BLOCK, PAGE));
	expect_ok(view_sync(view));
	check(peer_finds_zeros(&b, PAGE, PAGE), "B has what the owner gave away");
	expect_value(*(volatile uint64_t *)mine, peer_load(&b, 0));
	expect_value(*(volatile uint64_t *)(mine + 2 * PAGE), peer_load(&b, 2 * PAGE));
	check(peer_load(&b, BLOCK).signal, "B reads where the owner may not");
	expect_access(SIGBUS, peer_load(&b, 2 * BLOCK));
	expect_ok(view_unmap(view, 3 * BLOCK + PAGE, PAGE));
	expect_access(SIGBUS, peer_load(&b, 3 * BLOCK + PAGE));
	expect_access(0, peer_load(&b, 3 * BLOCK));
	end_peer(&b);
}

/* ---- what the owner does later shows ---- */

TEST("V8 what the owner unmaps is SIGBUS, and what it maps there shows")
{
	begin(VIEW_RW);
	for (int round = 0; round < 20; round++) {
		fill(mine, SIZE, round);
		check(peer_finds(&b, 0, SIZE, round), "B finds other bytes");
		expect_ok(munmap(mine + 4 * PAGE, 8 * PAGE));
		expect_ok(view_sync(view));
		expect_access(0, peer_load(&b, 3 * PAGE));
		expect_access(SIGBUS, peer_load(&b, 4 * PAGE));
		expect_access(SIGBUS, peer_store(&b, 11 * PAGE, 1));
		expect_access(0, peer_load(&b, 12 * PAGE));
		expect_ok(mmap(mine + 4 * PAGE, 8 * PAGE, RW, ANONYMOUS | MAP_FIXED, -1, 0));
		check(peer_finds_zeros(&b, 4 * PAGE, 8 * PAGE), "B finds other bytes");
	}
	end_peer(&b);
}

TEST("V8 what is mapped over it shows, without a moment of the old when SYNC has returned")
{
	int files[2] = { make_filled_file(SIZE, 10), make_filled_file(SIZE, 11) };

	begin(VIEW_RW);
	fill(mine, SIZE, 1);
	check(peer_finds(&b, 0, SIZE, 1), "B finds other bytes");
	for (int round = 0; round < 40; round++) {
		expect_ok(mmap(mine, SIZE, RW, MAP_SHARED | MAP_FIXED, files[round % 2], 0));
		expect_ok(view_sync(view));
		check(peer_finds(&b, 0, SIZE, 10 + round % 2), "B finds other bytes");
	}
	end_peer(&b);
}

TEST("V8 an owner's munmap reaches B unasked, within milliseconds")
{
	uint64_t start, longest = 0;

	begin(VIEW_RW);
	for (int round = 0; round < 30; round++) {
		expect_access(0, peer_store(&b, 0, round));
		expect_ok(munmap(mine, PAGE));
		start = now_ns();
		while (!peer_load(&b, 0).signal)
			check(now_ns() - start < 1000000000, "not after a second");
		longest = now_ns() - start > longest ? now_ns() - start : longest;
		expect_ok(mmap(mine, PAGE, RW, ANONYMOUS | MAP_FIXED, -1, 0));
	}
	diag("the longest took %.2f ms", longest / 1e6);
	end_peer(&b);
}

TEST("V8 what the owner protects, B may not do either")
{
	begin(VIEW_RW);
	fill(mine, SIZE, 1);
	check(peer_finds(&b, 0, SIZE, 1), "B finds other bytes");
	expect_access(0, peer_store(&b, 0, *(uint64_t *)mine));
	expect_ok(mprotect(mine, SIZE, PROT_READ));
	expect_ok(view_sync(view));
	check(peer_finds(&b, 0, SIZE, 1), "B finds other bytes");
	check(peer_store(&b, 0, 99).signal, "B stored where the owner may not");
	expect_filled(mine, SIZE, 1);
	expect_ok(mprotect(mine, SIZE, PROT_NONE));
	expect_ok(view_sync(view));
	check(peer_load(&b, 0).signal, "B read where the owner may not");
	expect_ok(mprotect(mine, SIZE, RW));
	check(peer_finds(&b, 0, SIZE, 1), "B finds other bytes");
	expect_access(0, peer_store(&b, 0, 5));
	expect_equal(5, *(volatile uint64_t *)mine);
	end_peer(&b);
}

TEST("V8 MADV_DONTNEED by the owner is zeros for B")
{
	begin(VIEW_RW);
	for (int round = 0; round < 20; round++) {
		fill(mine, SIZE, round);
		check(peer_finds(&b, 0, SIZE, round), "B finds other bytes");
		expect_ok(madvise(mine, SIZE, MADV_DONTNEED));
		expect_ok(view_sync(view));
		check(peer_finds_zeros(&b, 0, SIZE), "B finds other bytes");
		peer_fills(&b, 0, SIZE, 100 + round);
		expect_filled(mine, SIZE, 100 + round);
	}
	end_peer(&b);
}

TEST("V8 what mremap moves away is SIGBUS, and what it moves there shows")
{
	char *other = expect_ok(mmap(NULL, 4 * SIZE, PROT_NONE, ANONYMOUS, -1, 0));

	begin(VIEW_RW);
	fill(mine, SIZE, 1);
	check(peer_finds(&b, 0, SIZE, 1), "B finds other bytes");
	expect_ok(mremap(mine, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, other));
	expect_ok(view_sync(view));
	expect_access(SIGBUS, peer_load(&b, 0));
	expect_access(SIGBUS, peer_store(&b, SIZE - PAGE, 1));
	expect_ok(mremap(other, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, mine));
	check(peer_finds(&b, 0, SIZE, 1), "B finds other bytes");
	end_peer(&b);
}

TEST("V8 a fork of the owner: B stays with the owner, whoever writes first")
{
	int go = make_gate(), done = make_gate();
	pid_t pid;

	begin(VIEW_RW);
	fill(mine, SIZE, 1);
	check(peer_finds(&b, 0, SIZE, 1), "B finds other bytes");
	pid = start_child();
	if (!pid) {
		close(view);
		/* It does not see what B and the owner store from now on. */
		wait_at_gate(go);
		expect_filled(mine, SIZE, 1);
		fill(mine, SIZE, 3);
		open_gate(done);
		succeed();
	}
	peer_fills(&b, 0, SIZE / 2, 2);
	expect_filled(mine, SIZE / 2, 2);
	*(volatile uint64_t *)(mine + SIZE - PAGE) = 44;
	expect_value(44, peer_load(&b, SIZE - PAGE));
	open_gate(go);
	wait_at_gate(done);
	expect_success(pid);
	check(peer_finds(&b, 0, SIZE / 2, 2), "B finds the child's bytes");
	expect_value(44, peer_load(&b, SIZE - PAGE));
	expect_filled(mine, SIZE / 2, 2);
	end_peer(&b);
}

TEST("V8 pages that were paged out come back, with their bytes")
{
	struct disk disk = make_disk(64 << 20);
	int file = make_file_on(&disk, "file", SIZE);

	begin_with(MAP_SHARED, file, VIEW_RW);
	for (uint64_t round = 1; round <= 20; round++) {
		peer_fills(&b, 0, SIZE, round);
		expect_ok(fsync(file));
		expect_ok(madvise(mine, SIZE, MADV_PAGEOUT));
		expect_ok(write_text("/proc/sys/vm/drop_caches", "1"));
		check(peer_finds(&b, 0, SIZE, round), "B finds other bytes");
		expect_filled(mine, SIZE, round);
	}
	end_peer(&b);
}

/* ---- what cannot be shown ---- */

TEST("V8 where the owner has nothing, B gets SIGBUS, and later what comes there")
{
	char *area = expect_ok(mmap(NULL, SIZE, PROT_NONE, ANONYMOUS, -1, 0));

	expect_ok(munmap(area, SIZE));
	b = start_peer();
	view = make_view(SIZE);
	expect_ok(view_map_memory(view, area, SIZE, 0, VIEW_RW));
	give_view(&b, view, SIZE);
	expect_access(SIGBUS, peer_load(&b, 0));
	expect_access(SIGBUS, peer_store(&b, SIZE - PAGE, 1));
	expect_ok(mmap(area, PAGE, RW, ANONYMOUS | MAP_FIXED, -1, 0));
	expect_access(0, peer_store(&b, 0, 3));
	expect_equal(3, *(volatile uint64_t *)area);
	expect_access(SIGBUS, peer_load(&b, PAGE));
	end_peer(&b);
}

TEST("V8 the owner's exclusive memory does not show: SIGBUS")
{
	int fd = make_memfd(2 * PAGE);
	char *secret;

	begin(VIEW_RW);
	fill(mine, SIZE, 1);
	expect_ok(munmap(mine + PAGE, 2 * PAGE));
	secret = expect_ok(mmap(mine + PAGE, 2 * PAGE, RW, MAP_SHARED | MAP_FIXED, fd, 0));
	fill(secret, 2 * PAGE, 2);
	expect_access(SIGBUS, peer_load(&b, PAGE));
	expect_access(SIGBUS, peer_store(&b, 2 * PAGE, 1));
	expect_filled(secret, 2 * PAGE, 2);
	check(peer_finds(&b, 0, PAGE, 1), "B finds other bytes");
	expect_equal(0, info_of(fd).references);
	end_peer(&b);
}

TEST("V6 V8 a view that the owner has mapped does not show: SIGBUS")
{
	int other = make_view(SIZE);
	char *window;

	expect_ok(view_map(other, make_filled_file(SIZE, 1), 0, SIZE, 0, VIEW_RW));
	window = map_view(other, 0, 0, RW);
	expect_filled(window, SIZE, 1);
	b = start_peer();
	view = make_view(SIZE);
	if (!errno_of(view_map_memory(view, window, SIZE, 0, VIEW_RW))) {
		give_view(&b, view, SIZE);
		expect_access(SIGBUS, peer_load(&b, 0));
		expect_access(SIGBUS, peer_store(&b, PAGE, 1));
	} else {
		expect_equal(ELOOP, errno);
	}
	expect_filled(window, SIZE, 1);
	end_peer(&b);
}

TEST("V8 where nobody answers the owner's fault, B can be killed, and UNMAP_FD does not wait")
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register area = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK), status;
	uint64_t value;
	pid_t pid, ended;
	char *p;

	if (uffd < 0)
		skip("no userfaultfd: %s", errno_name(errno));
	mine = expect_ok(mmap(NULL, SIZE, RW, ANONYMOUS, -1, 0));
	view = make_view(SIZE);
	expect_ok(view_map_memory(view, mine, SIZE, 0, VIEW_RW));
	p = map_view(view, 0, 0, RW);
	area.range.start = (uintptr_t)mine;
	area.range.len = SIZE;
	expect_ok(ioctl(uffd, UFFDIO_API, &api));
	expect_ok(ioctl(uffd, UFFDIO_REGISTER, &area));
	pid = start_child();
	if (!pid) {
		catch_access_signals();
		expect_signal(SIGBUS, try_load((uint64_t *)p, &value));
		succeed();
	}
	sleep_ms(200);
	ended = expect_ok(waitpid(pid, &status, WNOHANG));
	diag("B %s", ended ? "had its answer" : "waits");
	expect_ok(view_unmap(view, 0, SIZE));
	if (ended) {
		expect_equal(0, status);
		return;
	}
	kill(pid, SIGKILL);
	expect_killed(SIGKILL, pid);
}

/* ---- its end ---- */

static void expect_gone_with(int signal)
{
	int ready = make_gate(), sockets[2];
	char *p;
	pid_t pid;
	int fd;

	make_socket_pair(sockets);
	pid = start_child();
	if (!pid) {
		mine = expect_ok(mmap(NULL, SIZE, RW, ANONYMOUS, -1, 0));
		view = make_view(SIZE);
		fill(mine, SIZE, 1);
		expect_ok(view_map_memory(view, mine, SIZE, 0, VIEW_RW));
		expect_ok(send_fd(sockets[1], expect_ok(view_fd(view, 0))));
		/* Somebody else keeps the control file. */
		expect_ok(send_fd(sockets[1], view));
		open_gate(ready);
		if (!signal) {
			sleep_ms(20);
			succeed();
		}
		pause();
	}
	wait_at_gate(ready);
	fd = expect_ok(receive_fd(sockets[0]));
	view = expect_ok(receive_fd(sockets[0]));
	p = expect_ok(mmap(NULL, SIZE, RW, MAP_SHARED, fd, 0));
	if (signal) {
		expect_filled(p, SIZE, 1);
		expect_ok(kill(pid, signal));
		expect_killed(signal, pid);
	} else {
		expect_signal(0, signal_of_load(p));
		expect_success(pid);
	}
	expect_ok(view_sync(view));
	for (size_t page = 0; page < PAGES; page++)
		expect_signal(SIGBUS, signal_of_load(p + page * PAGE));
	/* The range is there, of an address space that is not. */
	expect_equal(1, count_ranges(view));
	expect_ok(view_unmap(view, 0, SIZE));
	/* The new owner's own address space is another matter. */
	mine = expect_ok(mmap(NULL, PAGE, RW, ANONYMOUS, -1, 0));
	expect_ok(view_map_memory(view, mine, PAGE, 0, VIEW_RW));
	*(volatile uint64_t *)p = 8;
	expect_equal(8, *(volatile uint64_t *)mine);
}

TEST("V8 when the process exits, its memory is SIGBUS, though the view lives on")
{
	expect_gone_with(0);
}

TEST("V8 so it is when it is killed")
{
	expect_gone_with(SIGKILL);
}
