// SPDX-License-Identifier: GPL-2.0
/*
 * G5: a view that is mapped PROT_NONE, for KVM to find guest memory there. What KVM would find is what is in the page
 * table: the test module tells. That KVM does find it is for guest_view_kvm_test.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "guest.h"
#include "process.h"
#include "system.h"
#include "test_module.h"
#include "view.h"

#define PAGES 16
#define SIZE (PAGES * PAGE)

static int fd, view;
static char *p;		/* the object's own mapping */
static char *slot;	/* the view's, PROT_NONE */

static void begin_of(uint32_t flags)
{
	need_test_module();
	fd = make_memfd_flags(SIZE, flags);
	populate_filled(fd, 0, SIZE, 1);
	p = map_none(fd, SIZE);
	view = make_view(SIZE);
	slot = map_view(view, 0, 0, PROT_NONE);
}

static void begin(void)
{
	begin_of(GUEST);
}

/* A page of the view has this one of the object. */
static void expect_page(const char *memory, size_t at, size_t page)
{
	uint64_t pfn = pfn_of(memory + at * PAGE);

	check(pfn == pfn_of(p + page * PAGE), "page %zu of the view is not page %zu of the object (but 0x%llx)", at, page,
	      (unsigned long long)pfn);
}

static void expect_nothing(const char *memory, size_t at, size_t n)
{
	for (size_t page = at; page < at + n; page++)
		check(!pfn_of(memory + page * PAGE), "page %zu of the view has a page", page);
}

TEST("G5 MAP_FD sets up private and shared pages before it returns, UNMAP_FD takes them")
{
	begin();
	expect_ok(make_shared(fd, 5 * PAGE, PAGE));
	expect_nothing(slot, 0, PAGES);
	for (int round = 0; round < 5; round++) {
		expect_ok(view_map(view, fd, 2 * PAGE, 8 * PAGE, 4 * PAGE, VIEW_RW));
		for (size_t page = 0; page < 8; page++)
			expect_page(slot, 4 + page, 2 + page);
		expect_nothing(slot, 0, 4);
		expect_nothing(slot, 12, 4);
		expect_ok(view_unmap(view, 6 * PAGE, PAGE));
		expect_nothing(slot, 6, 1);
		expect_page(slot, 5, 3);
		expect_page(slot, 7, 5);
		expect_ok(view_unmap(view, 0, SIZE));
		expect_nothing(slot, 0, PAGES);
	}
}

TEST("G5 a mapping that is made later finds them at once")
{
	char *later;

	begin();
	expect_ok(view_map(view, fd, 0, SIZE, 0, VIEW_RW));
	later = map_view(view, 0, 0, PROT_NONE);
	for (size_t page = 0; page < PAGES; page++)
		expect_page(later, page, page);
	/* V4: any part, many times. */
	unmap(later, SIZE);
	later = map_view(view, 3 * PAGE, 4 * PAGE, PROT_NONE);
	for (size_t page = 0; page < 4; page++)
		expect_page(later, page, 3 + page);
	expect_page(slot, 3, 3);
	expect_ok(view_unmap(view, 0, SIZE));
	expect_nothing(later, 0, 4);
}

TEST("G5 such a mapping cannot be split or moved, as that of the object itself")
{
	char *elsewhere = plain_memory(SIZE);

	begin();
	expect_ok(view_map(view, fd, 0, SIZE, 0, VIEW_RW));
	expect_errno(EINVAL, munmap(slot, PAGE));
	expect_errno(EINVAL, munmap(slot + PAGE, PAGE));
	expect_errno(EINVAL, munmap(slot + SIZE - PAGE, PAGE));
	check(errno_of(mmap(slot + PAGE, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0)), "MAP_FIXED worked");
	check(errno_of(mremap(slot, SIZE, PAGE, 0)), "it shrank");
	check(errno_of(mremap(slot, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, elsewhere)), "it moved");
	check(errno_of(mremap(slot, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL)), "it was doubled");
	check(errno_of(mremap(slot, 0, SIZE, MREMAP_MAYMOVE)), "there is a second one");
	check(errno_of(mremap(slot, SIZE, 2 * SIZE, MREMAP_MAYMOVE)), "it grew");
	for (size_t page = 0; page < PAGES; page++)
		expect_page(slot, page, page);
	unmap(slot, SIZE);
}

TEST("G5 the process itself has nothing there: SIGSEGV, EFAULT, EIO, EACCES")
{
	char buffer[64] = "";
	struct iovec plain = { buffer, sizeof(buffer) }, iov;
	int pipes[2], mem;

	begin();
	expect_ok(view_map(view, fd, 0, SIZE, 0, VIEW_RW));
	expect_ok(make_shared(fd, PAGE, PAGE));
	expect_ok(pipe2(pipes, O_NONBLOCK | O_CLOEXEC));
	for (size_t page = 0; page < PAGES; page += 5) {
		expect_signal(SIGSEGV, signal_of_load(slot + page * PAGE));
		expect_signal(SIGSEGV, signal_of_zero(slot + page * PAGE));
		expect_signal(SIGSEGV, signal_of_call(slot + page * PAGE));
		expect_errno(EFAULT, write(pipes[1], slot + page * PAGE, 1));
	}
	iov = (struct iovec){ slot, sizeof(buffer) };
	expect_errno(EFAULT, process_vm_readv(getpid(), &plain, 1, &iov, 1, 0));
	expect_errno(EFAULT, process_vm_writev(getpid(), &plain, 1, &iov, 1, 0));
	expect_errno(EFAULT, vmsplice(pipes[1], &iov, 1, 0));
	mem = expect_ok(open("/proc/self/mem", O_RDWR | O_CLOEXEC));
	expect_errno(EIO, pread(mem, buffer, sizeof(buffer), (uintptr_t)slot));
	expect_errno(EIO, pwrite(mem, buffer, sizeof(buffer), (uintptr_t)slot));
	expect_errno(EACCES, mprotect(slot, SIZE, PROT_READ));
	expect_errno(EACCES, mprotect(slot, SIZE, PROT_WRITE));
	expect_errno(EACCES, mprotect(slot + PAGE, PAGE, RW));
	expect_errno(EACCES, syscall(SYS_pkey_mprotect, slot, SIZE, PROT_READ, -1));
	expect_signal(SIGSEGV, signal_of_load(slot + PAGE));
	expect_page(slot, 1, 1);
	check(holds(p, SIZE, 1), "the bytes changed");
}

TEST("G5 a mapping for reading that lost its permission is no way to private pages")
{
	char *window;

	begin();
	window = map_view(view, 0, 0, RW);
	expect_ok(view_map(view, fd, 0, SIZE, 0, VIEW_RW));
	expect_ok(mprotect(window, SIZE, PROT_NONE));
	expect_signal(SIGSEGV, signal_of_load(window));
	expect_nothing(window, 0, PAGES);
	expect_ok(mprotect(window, SIZE, RW));
	for (size_t page = 0; page < PAGES; page++)
		expect_signal(SIGBUS, signal_of_load(window + page * PAGE));
	/* Nor the other way round: MAP_FD while it is PROT_NONE, then a readable one. */
	expect_ok(mprotect(window, SIZE, PROT_NONE));
	expect_ok(view_unmap(view, 0, SIZE));
	expect_ok(view_map(view, fd, 0, SIZE, 0, VIEW_RW));
	expect_nothing(window, 0, PAGES);
	expect_errno(EFAULT, syscall(SYS_write, 1, window, 1));
	if (!mprotect(window, SIZE, RW))
		for (size_t page = 0; page < PAGES; page++)
			expect_signal(SIGBUS, signal_of_load(window + page * PAGE));
	check(holds(p, SIZE, 1), "the bytes changed");
}

TEST("G5 MAP_PRIVATE is EINVAL")
{
	int window;

	begin();
	expect_ok(view_map(view, fd, 0, SIZE, 0, VIEW_RW));
	window = expect_ok(view_fd(view, 0));
	expect_errno(EINVAL, mmap(NULL, SIZE, PROT_NONE, MAP_PRIVATE, window, 0));
	expect_errno(EINVAL, mmap(NULL, SIZE, RW, MAP_PRIVATE, window, 0));
}

TEST("G5 other kinds are nothing there: a file, other exclusive memory, process memory")
{
	char *mine = plain_memory(SIZE);
	int file = make_filled_file(SIZE, 2), object = make_memfd(SIZE);

	begin();
	memset(mine, 1, SIZE);
	expect_ok(view_map(view, file, 0, 2 * PAGE, 0, VIEW_RW));
	expect_ok(view_map(view, object, 0, 2 * PAGE, 4 * PAGE, VIEW_RW));
	expect_ok(view_map_memory(view, mine, 2 * PAGE, 8 * PAGE, VIEW_RW));
	expect_ok(view_map(view, fd, 0, PAGE, 3 * PAGE, VIEW_RW));
	expect_nothing(slot, 0, 3);
	expect_page(slot, 3, 0);
	expect_nothing(slot, 4, 12);
	/* REPLACE, both ways. */
	expect_ok(view_map(view, file, 0, PAGE, 3 * PAGE, VIEW_RW | MEMVIEW_MAP_REPLACE));
	expect_nothing(slot, 3, 1);
	expect_ok(view_map(view, fd, 7 * PAGE, PAGE, 8 * PAGE, VIEW_RW | MEMVIEW_MAP_REPLACE));
	expect_page(slot, 8, 7);
	expect_nothing(slot, 9, 7);
}

TEST("G5 REPLACE shows another part, or another object")
{
	int other;
	char *q;

	begin();
	expect_ok(view_map(view, fd, 0, 4 * PAGE, 0, VIEW_RW));
	expect_ok(view_map(view, fd, 9 * PAGE, 2 * PAGE, PAGE, VIEW_RW | MEMVIEW_MAP_REPLACE));
	expect_page(slot, 0, 0);
	expect_page(slot, 1, 9);
	expect_page(slot, 2, 10);
	expect_page(slot, 3, 3);
	other = make_memfd_flags(SIZE, HOST_ACCESS);
	q = map_none(other, SIZE);
	expect_ok(view_map(view, other, 0, PAGE, 2 * PAGE, VIEW_RW | MEMVIEW_MAP_REPLACE));
	expect_equal(pfn_of(q), pfn_of(slot + 2 * PAGE));
	expect_ok(destroy(other));
	expect_nothing(slot, 2, 1);
	expect_page(slot, 3, 3);
}

TEST("G5 a guest object can be mapped into a view without a mapping or a byte of its own")
{
	need_test_module();
	view = make_view(SIZE);
	slot = map_view(view, 0, 0, PROT_NONE);
	fd = make_memfd_flags(SIZE, GUEST);
	expect_ok(view_map(view, fd, 0, SIZE, 0, VIEW_RW));
	check(pfn_of(slot), "there is no page");
	check(holds_zeros(slot, SIZE), "other bytes than zeros");
	populate_filled(fd, 0, SIZE, 3);
	check(holds(slot, SIZE, 3), "other bytes");
	p = map_none(fd, SIZE);
	expect_page(slot, 5, 5);
}

TEST("G5 pages stay there while they are made shared and private")
{
	begin();
	expect_ok(view_map(view, fd, 0, SIZE, 0, VIEW_RW));
	for (size_t page = 0; page < PAGES; page++) {
		expect_ok(make_shared(fd, page * PAGE, PAGE));
		expect_page(slot, page, page);
	}
	expect_ok(make_private(fd, 0, SIZE));
	for (size_t page = 0; page < PAGES; page++)
		expect_page(slot, page, page);
}

TEST("G5 V10 R16 the owner's end takes them, and EXMEM_DESTROY does")
{
	begin();
	expect_ok(view_map(view, fd, 0, SIZE, 0, VIEW_RW));
	expect_page(slot, 0, 0);
	close(view);
	expect_nothing(slot, 0, PAGES);
	begin();
	expect_ok(view_map(view, fd, 0, SIZE, 0, VIEW_RW));
	expect_page(slot, 0, 0);
	expect_ok(destroy(fd));
	expect_nothing(slot, 0, PAGES);
}

TEST("G5 UNMAP_FD takes pages from several mappings of one view")
{
	char *others[3];

	begin();
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		others[i] = map_view(view, i * PAGE, SIZE - i * PAGE, PROT_NONE);
	expect_ok(view_map(view, fd, 0, SIZE, 0, VIEW_RW));
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		expect_page(others[i], 5, 5 + i);
	expect_ok(view_unmap(view, 5 * PAGE, 3 * PAGE));
	for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
		expect_nothing(others[i], 5 - i, 3);
		expect_page(others[i], 8 - i, 8);
	}
}

/* Else whoever has a view fd could run a guest of his own, and have it read all out. */
TEST("G5 who was given a view fd finds nothing in a PROT_NONE mapping of it, private or shared")
{
	int sockets[2];
	pid_t pid;

	begin();
	make_socket_pair(sockets);
	expect_ok(make_shared(fd, PAGE, PAGE));
	pid = start_child();
	if (!pid) {
		int received = expect_ok(receive_fd(sockets[1]));
		char *own = expect_ok(mmap(NULL, SIZE, PROT_NONE, MAP_SHARED, received, 0));

		expect_nothing(own, 0, PAGES);
		/* Nor does a new range, or one of his making. */
		expect_ok(view_unmap(view, 0, SIZE));
		expect_ok(view_map(view, fd, 0, SIZE, 0, VIEW_RW));
		expect_nothing(own, 0, PAGES);
		expect_nothing(map_view(view, 0, 0, PROT_NONE), 0, PAGES);
		succeed();
	}
	expect_ok(view_map(view, fd, 0, SIZE, 0, VIEW_RW));
	expect_ok(send_fd(sockets[0], view_fd(view, 0)));
	expect_success(pid);
	expect_page(slot, 0, 0);
}

TEST("G5 R6 what a child inherits gives it nothing to read")
{
	pid_t pid;

	begin();
	expect_ok(view_map(view, fd, 0, SIZE, 0, VIEW_RW));
	for (int asked = 0; asked < 2; asked++) {
		if (asked)
			errno_of(madvise(slot, SIZE, MADV_DOFORK));
		pid = start_child();
		if (!pid) {
			expect_signal(SIGSEGV, signal_of_load(slot));
			check(errno_of(mprotect(slot, SIZE, PROT_READ)), "mprotect succeeded");
			expect_signal(SIGSEGV, signal_of_load(slot));
			/* Nor anything for a guest of its own. */
			expect_nothing(slot, 0, PAGES);
			succeed();
		}
		expect_success(pid);
		expect_page(slot, 0, 0);
	}
	expect_ok(view_unmap(view, 0, SIZE));
	expect_nothing(slot, 0, PAGES);
}

TEST("G5 a range behind the object's end is nothing, or EINVAL")
{
	int answer;

	begin();
	answer = errno_of(view_map(view, fd, SIZE - PAGE, 2 * PAGE, 0, VIEW_RW));
	if (!answer) {
		expect_page(slot, 0, PAGES - 1);
		expect_nothing(slot, 1, PAGES - 1);
	} else {
		expect_equal(EINVAL, answer);
		expect_nothing(slot, 0, PAGES);
	}
}

TEST("G5 a view keeps an object whose descriptors and mapping are gone")
{
	long objects = counter("objects"), pages = counter("pages_in_use");

	begin();
	expect_ok(view_map(view, fd, 0, SIZE, 0, VIEW_RW));
	unmap(p, SIZE);
	close(fd);
	check(holds(slot, SIZE, 1), "other bytes");
	expect_counter(objects + 1, "objects");
	expect_ok(view_unmap(view, 0, SIZE));
	expect_nothing(slot, 0, PAGES);
	expect_counter_soon(objects, "objects");
	expect_counter_soon(pages, "pages_in_use");
}

TEST("G5 whole blocks, and a view with holes of terabytes", .seconds = 120)
{
	static const size_t size = 3 * BLOCK;

	need_test_module();
	fd = make_memfd_flags(size, GUEST);
	p = map_none(fd, size);
	view = make_view(TIB);
	slot = map_view(view, 0, TIB, PROT_NONE);
	expect_ok(view_map(view, fd, 0, size, 512 * GIB, VIEW_RW));
	expect_ok(view_map(view, fd, PAGE, BLOCK, 7 * PAGE, VIEW_RW));
	for (size_t page = 0; page < size / PAGE; page += 41)
		expect_page(slot + 512 * GIB, page, page);
	for (size_t page = 0; page < BLOCK / PAGE; page += 41)
		expect_page(slot + 7 * PAGE, page, page + 1);
	expect_ok(view_unmap(view, 512 * GIB + BLOCK, BLOCK));
	expect_page(slot + 512 * GIB, BLOCK / PAGE - 1, BLOCK / PAGE - 1);
	expect_nothing(slot + 512 * GIB, BLOCK / PAGE, 2);
	expect_page(slot + 512 * GIB, 2 * BLOCK / PAGE, 2 * BLOCK / PAGE);
}

/* ---- several at once ---- */

/* So many pages that filling a new mapping takes a while. */
#define MANY 6000

static void *map_one(void *mapping)
{
	*(char **)mapping = map_view(view, 0, 0, PROT_NONE);
	return NULL;
}

TEST("G5 UNMAP_FD while a large mapping is being made: it has nothing, either", .seconds = 180)
{
	static const size_t pages[] = { 0, 1, 1023, 1024, 2047, 2048, 4500, MANY - 1 };
	uint64_t began = now_ns();

	need_test_module();
	fd = make_memfd_flags(MANY * PAGE, GUEST);
	p = map_none(fd, MANY * PAGE);
	view = make_view(MANY * PAGE);
	for (int round = 0; round < 12 || (round < 60 && now_ns() - began < UINT64_C(20000000000)); round++) {
		char *maps[2];
		pthread_t threads[2];

		expect_ok(view_map(view, fd, 0, MANY * PAGE, 0, VIEW_RW));
		for (size_t i = 0; i < ARRAY_SIZE(maps); i++)
			expect_equal(0, pthread_create(&threads[i], NULL, map_one, &maps[i]));
		usleep(round * 97 % 4000);
		expect_ok(view_unmap(view, 0, MANY * PAGE));
		for (size_t i = 0; i < ARRAY_SIZE(maps); i++) {
			pthread_join(threads[i], NULL);
			for (size_t j = 0; j < ARRAY_SIZE(pages); j++)
				expect_nothing(maps[i], pages[j], 1);
		}
		if (round % 4 == 0) {
			expect_ok(view_map(view, fd, 0, MANY * PAGE, 0, VIEW_RW));
			for (size_t i = 0; i < ARRAY_SIZE(maps); i++)
				for (size_t j = 0; j < ARRAY_SIZE(pages); j++)
					expect_page(maps[i], pages[j], pages[j]);
			expect_ok(view_unmap(view, 0, MANY * PAGE));
		}
		for (size_t i = 0; i < ARRAY_SIZE(maps); i++)
			unmap(maps[i], MANY * PAGE);
	}
}

static _Atomic bool stop;
static _Atomic long mappings;

static void *map_for_ever(void *unused)
{
	(void)unused;
	while (!stop) {
		char *own = map_view(view, 0, 0, PROT_NONE);

		mappings++;
		unmap(own, SIZE);
	}
	return NULL;
}

static void *convert_for_ever(void *unused)
{
	(void)unused;
	for (size_t i = 0; !stop; i++) {
		expect_ok(make_shared(fd, i % PAGES * PAGE, PAGE));
		expect_ok(make_private(fd, (i + 3) % PAGES * PAGE, PAGE));
	}
	return NULL;
}

TEST("G5 what is there is what the ranges say, while mappings come and go and pages are converted", .seconds = 180)
{
	uint64_t began = now_ns();
	pthread_t threads[3];
	unsigned int seed = 4;
	int from[PAGES];

	begin();
	memset(from, 0xff, sizeof(from));
	expect_equal(0, pthread_create(&threads[0], NULL, map_for_ever, NULL));
	expect_equal(0, pthread_create(&threads[1], NULL, map_for_ever, NULL));
	expect_equal(0, pthread_create(&threads[2], NULL, convert_for_ever, NULL));
	/* As many as a slow machine can, too. */
	for (int round = 0; round < 20 || (round < 150 && now_ns() - began < UINT64_C(20000000000)); round++) {
		int at = rand_r(&seed) % PAGES, n = 1 + rand_r(&seed) % (PAGES - at), first = rand_r(&seed) % (PAGES - n + 1);

		if (round % 3) {
			expect_ok(view_map(view, fd, first * PAGE, n * PAGE, at * PAGE, VIEW_RW | MEMVIEW_MAP_REPLACE));
			for (int page = 0; page < n; page++)
				from[at + page] = first + page;
		} else {
			expect_ok(view_unmap(view, at * PAGE, n * PAGE));
			memset(from + at, 0xff, n * sizeof(*from));
		}
		for (int page = 0; page < PAGES; page++)
			if (from[page] < 0)
				expect_nothing(slot, page, 1);
			else
				expect_page(slot, page, from[page]);
	}
	stop = true;
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	check(mappings, "no mapping was made");
	check(holds(p, SIZE, 1), "the bytes changed");
}

/* Filling a mapping with so many takes minutes. */
#define MANY_RANGES 20000
#define RANGE_SIZE (2 * BLOCK)
/* Far more than a slow machine needs, and less than the filling. */
#define SOON_NS UINT64_C(10000000000)

static void map_many_ranges(int go, _Atomic bool *filled, int socket)
{
	view = make_view(MANY_RANGES * RANGE_SIZE);
	for (uint64_t i = 0; i < MANY_RANGES; i++)
		expect_ok(view_map(view, fd, 0, RANGE_SIZE, i * RANGE_SIZE, VIEW_RW));
	expect_ok(send_fd(socket, view));
	open_gate(go);
	map_view(view, 0, 0, PROT_NONE);
	*filled = true;
	pause();
}

TEST("V3 L1 a mapping of tens of thousands of ranges that is being made delays no UNMAP_FD, and can be killed",
     .seconds = 300)
{
	_Atomic bool *filled = expect_ok(mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	int sockets[2], go = make_gate();
	uint64_t began;
	pid_t pid;

	fd = make_memfd_flags(RANGE_SIZE, GUEST);
	make_socket_pair(sockets);
	pid = start_child();
	if (!pid)
		map_many_ranges(go, filled, sockets[1]);
	view = expect_ok(receive_fd(sockets[0]));
	wait_at_gate(go);
	sleep_ms(500);
	began = now_ns();
	expect_ok(view_unmap(view, 0, PAGE));
	check(now_ns() - began < SOON_NS, "UNMAP_FD took %.1f s", (now_ns() - began) / 1e9);
	if (*filled)
		diag("it was filled before");
	began = now_ns();
	kill(pid, SIGKILL);
	expect_killed(SIGKILL, pid);
	check(now_ns() - began < SOON_NS, "its end took %.1f s", (now_ns() - began) / 1e9);
}
