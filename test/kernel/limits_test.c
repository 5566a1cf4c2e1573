// SPDX-License-Identifier: GPL-2.0
/* R11: whose memory it is, and how much of it there may be. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "cgroup.h"
#include "memory.h"
#include "process.h"
#include "system.h"

#define LIMIT_BYTES "/sys/module/exclusive_memory/parameters/limit_bytes"
#define KIB(n) ((size_t)(n) << 10)
#define MIB(n) ((size_t)(n) << 20)

/* ---- RLIMIT_MEMLOCK ---- */

static void set_memlock(size_t bytes)
{
	expect_ok(setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ bytes, bytes }));
}

static int device;

/* A user without capabilities who has the device open, and a limit of 64 KiB. */
static void begin_limited(void)
{
	device = open_device();
	set_memlock(KIB(64));
	drop_privileges();
}

TEST("R11 a mapping over RLIMIT_MEMLOCK is EAGAIN, one of its size works")
{
	int fits = make_memfd(KIB(64)), exceeds = make_memfd(KIB(64) + 1);
	long pages = counter("pages_in_use");

	begin_limited();
	expect_errno(EAGAIN, try_map(exceeds, KIB(64) + 1));
	expect_errno(EAGAIN, try_map(device, KIB(68)));
	expect_counter(pages, "pages_in_use");
	expect_equal(0, info_of(device).size);
	map(fits, KIB(64));
	expect_errno(EAGAIN, try_map(device, PAGE));
}

TEST("R11 a limit of 0 is EAGAIN for each mapping")
{
	int fd = make_memfd(PAGE);

	set_memlock(0);
	drop_privileges();
	expect_errno(EAGAIN, try_map(fd, PAGE));
	expect_errno(EAGAIN, mmap(NULL, PAGE, PROT_NONE, MAP_SHARED, fd, 0));
}

TEST("R11 the sum of the mappings counts, and munmap releases")
{
	int a = make_memfd(KIB(32)), b = make_memfd(KIB(32)), c = make_memfd(PAGE);
	char *p;

	set_memlock(KIB(64));
	drop_privileges();
	p = map(a, KIB(32));
	map(b, KIB(32));
	expect_errno(EAGAIN, try_map(c, PAGE));
	unmap(p, KIB(32));
	for (int i = 0; i < 100; i++)
		unmap(map(c, PAGE), PAGE);
	map(a, KIB(32));
	expect_errno(EAGAIN, try_map(c, PAGE));
}

TEST("R11 mlock counts against the same limit")
{
	int fd = make_memfd(KIB(32));
	char *plain = expect_ok(mmap(NULL, KIB(64), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

	set_memlock(KIB(64));
	drop_privileges();
	expect_ok(mlock(plain, KIB(32) + PAGE));
	expect_errno(EAGAIN, try_map(fd, KIB(32)));
	expect_ok(munlock(plain, PAGE));
	map(fd, KIB(32));
	expect_errno(ENOMEM, mlock(plain, PAGE));
}

static int make_limited(size_t size)
{
	struct exmem_create create = { .size = size, .name = "limited" };

	return expect_ok(ioctl(device, EXMEM_CREATE, &create));
}

/* What is left of the limit is exactly this much. */
static void expect_left(size_t kib)
{
	int fits = make_limited(KIB(kib)), exceeds = make_limited(KIB(kib) + 1);

	expect_errno(EAGAIN, try_map(exceeds, KIB(kib) + 1));
	unmap(map(fits, KIB(kib)), KIB(kib));
	close(fits);
	close(exceeds);
}

TEST("R11 mlock and munlock of the mapping itself count nothing")
{
	int fd = make_memfd(KIB(32));
	char *p;

	begin_limited();
	p = map(fd, KIB(32));
	expect_left(32);
	mlock(p, KIB(32));
	expect_left(32);
	expect_ok(munlock(p, KIB(32)));
	expect_ok(munlockall());
	expect_left(32);
	unmap(p, KIB(32));
	expect_left(64);
}

TEST("R11 failed calls count nothing")
{
	int fd = make_memfd(KIB(32));
	char *p;

	begin_limited();
	for (int i = 0; i < 10; i++) {
		expect_errno(EINVAL, mmap(NULL, KIB(32), PROT_READ, MAP_PRIVATE, fd, 0));
		expect_errno(EINVAL, try_map(fd, KIB(64)));
		expect_errno(EACCES, mmap(NULL, KIB(32), PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0));
	}
	expect_left(64);
	p = map(fd, KIB(32));
	for (int i = 0; i < 10; i++) {
		expect_errno(EBUSY, try_map(fd, KIB(32)));
		expect_errno(EINVAL, munmap(p, PAGE));
		check((long)mremap(p, KIB(32), KIB(32), MREMAP_MAYMOVE | MREMAP_FIXED, p - MIB(16)) == -1, "moved");
	}
	expect_left(32);
	unmap(p, KIB(32));
	expect_left(64);
}

TEST("R11 what a child with MADV_DOFORK inherits counts nothing, nor does its end")
{
	int fd = make_memfd(KIB(32));
	char *p;

	begin_limited();
	p = map(fd, KIB(32));
	expect_ok(madvise(p, KIB(32), MADV_DOFORK));
	for (int i = 0; i < 10; i++) {
		pid_t pid = start_child();

		if (!pid) {
			if (i % 2)
				munmap(p, KIB(32));
			succeed();
		}
		expect_success(pid);
	}
	expect_left(32);
	unmap(p, KIB(32));
	expect_left(64);
}

TEST("R11 a child's limit is its own, and not used up by its parent's mapping")
{
	int a = make_memfd(KIB(64)), b = make_memfd(KIB(64));
	pid_t pid;
	char *p;

	begin_limited();
	p = map(a, KIB(64));
	pid = start_child();
	if (!pid) {
		map(b, KIB(64));
		succeed();
	}
	expect_success(pid);
	unmap(p, KIB(64));
	expect_left(64);
}

TEST("R11 what is released is what was counted, though the limit changed")
{
	int fd = make_memfd(KIB(32));
	struct rlimit limit = { KIB(64), KIB(64) };
	char *p;

	begin_limited();
	p = map(fd, KIB(32));
	limit.rlim_cur = 0;
	expect_ok(setrlimit(RLIMIT_MEMLOCK, &limit));
	unmap(p, KIB(32));
	expect_errno(EAGAIN, try_map(fd, KIB(32)));
	limit.rlim_cur = KIB(64);
	expect_ok(setrlimit(RLIMIT_MEMLOCK, &limit));
	expect_left(64);
}

TEST("R11 CAP_IPC_LOCK exempts")
{
	set_memlock(0);
	fill(map(make_memfd(MIB(4)), MIB(4)), MIB(4), 1);
}

TEST("R11 after destroy and munmap nothing counts any more")
{
	int fd = make_memfd(KIB(64));
	char *p;

	begin_limited();
	p = map(fd, KIB(64));
	expect_ok(destroy(fd));
	unmap(p, KIB(64));
	expect_left(64);
}

TEST("R11 after the mapper's death nothing counts any more")
{
	int fd = make_memfd(KIB(64));

	begin_limited();
	for (int i = 0; i < 10; i++) {
		pid_t pid = start_child();

		if (!pid) {
			map(fd, KIB(64));
			kill(getpid(), SIGKILL);
		}
		expect_killed(SIGKILL, pid);
	}
	expect_left(64);
}

/* ---- limit_bytes ---- */

static char old_limit[64];

static void set_limit_bytes(size_t bytes)
{
	char text[32];

	snprintf(old_limit, sizeof(old_limit), "%s", read_text(LIMIT_BYTES));
	snprintf(text, sizeof(text), "%zu", bytes);
	expect_ok(write_text(LIMIT_BYTES, text));
}

static void waitpid_and_restore(pid_t pid)
{
	int status;

	expect_equal(pid, waitpid(pid, &status, 0));
	expect_ok(write_text(LIMIT_BYTES, old_limit));
	check(status == 0, "a child ended with wait status 0x%x", status);
}

/* True if a child was ended by SIGUSR1, false if it stopped. */
static bool stops_or_dies(pid_t pid)
{
	int status;

	expect_equal(pid, waitpid(pid, &status, WUNTRACED));
	check(WIFSTOPPED(status) || (WIFSIGNALED(status) && WTERMSIG(status) == SIGUSR1),
	      "a child ended with wait status 0x%x", status);
	return !WIFSTOPPED(status);
}

/* The test's own process restores what is changed, though its child may fail. */
static void with_limit_bytes(size_t bytes, void (*run)(void))
{
	pid_t pid;

	set_limit_bytes(bytes);
	pid = start_child();
	if (!pid) {
		run();
		succeed();
	}
	waitpid_and_restore(pid);
}

static void over_the_limit(void)
{
	int fd = make_memfd(0);

	expect_errno(ENOMEM, create_ioctl((struct exmem_create){ .size = MIB(8) + 1, .name = "limit" }));
	expect_errno(ENOMEM, set_size(fd, MIB(64)));
	expect_errno(ENOMEM, ftruncate(fd, MIB(64)));
	expect_errno(ENOMEM, try_map(open_device(), MIB(64)));
	expect_equal(0, info_of(fd).size);
}

TEST("R7 a size over limit_bytes is ENOMEM")
{
	with_limit_bytes(MIB(8), over_the_limit);
}

static void up_to_the_limit(void)
{
	enum { OBJECTS = 8 };
	int fds[OBJECTS], mapped = 0;
	char *maps[OBJECTS];

	/* Two megabytes each, of which four fit. */
	for (int i = 0; i < OBJECTS; i++) {
		fds[i] = create_ioctl((struct exmem_create){ .size = MIB(2), .name = "limit" });
		if (fds[i] < 0) {
			expect_equal(ENOMEM, errno);
			continue;
		}
		maps[i] = try_map(fds[i], MIB(2));
		if (maps[i] == MAP_FAILED) {
			expect_equal(ENOMEM, errno);
			continue;
		}
		fill(maps[i], MIB(2), i);
		mapped++;
		check(counter("pages_in_use") <= (long)(MIB(8) / PAGE), "%ld pages are in use", counter("pages_in_use"));
	}
	expect_equal(4, mapped);
	for (int i = 0; i < 4; i++)
		expect_filled(maps[i], MIB(2), i);

	/* What is given back can be had again. */
	unmap(maps[0], MIB(2));
	expect_ok(destroy(fds[0]));
	fill(map(make_memfd(MIB(2)), MIB(2)), MIB(2), 9);
}

TEST("R11 limit_bytes bounds the sum")
{
	with_limit_bytes(MIB(8), up_to_the_limit);
}

static void many_processes(void)
{
	int refused = 0;

	for (int i = 0; i < 6; i++) {
		pid_t pid = start_child();

		if (!pid) {
			int fd = create_ioctl((struct exmem_create){ .size = MIB(2), .name = "limit" });

			if (fd < 0 || try_map(fd, MIB(2)) == MAP_FAILED)
				kill(getpid(), errno == ENOMEM ? SIGUSR1 : SIGUSR2);
			/* Here it holds its pages, until the test ends. */
			kill(getpid(), SIGSTOP);
		}
		refused += stops_or_dies(pid);
	}
	expect_equal(2, refused);
}

TEST("R11 limit_bytes bounds the sum of all processes")
{
	with_limit_bytes(MIB(8), many_processes);
}

TEST("R11 limit_bytes can be changed at any time, and below what is in use")
{
	char *p = map(make_memfd(MIB(4)), MIB(4));

	fill(p, MIB(4), 1);
	set_limit_bytes(MIB(2));
	pid_t pid = start_child();

	if (!pid) {
		expect_errno(ENOMEM, create_ioctl((struct exmem_create){ .size = MIB(4), .name = "limit" }));
		succeed();
	}
	waitpid_and_restore(pid);
	expect_filled(p, MIB(4), 1);
	map(make_memfd(MIB(4)), MIB(4));
}

/* ---- the memory cgroup ---- */

static void is_charged(void)
{
	long long before = charged();
	int fd = make_memfd(MIB(8));
	char *p = map(fd, MIB(8));

	fill(p, MIB(8), 1);
	check(charged() - before >= (long long)MIB(8), "8 MiB were charged with %lld bytes", charged() - before);
	check(charged() - before < (long long)MIB(11), "8 MiB were charged with %lld bytes", charged() - before);
	unmap(p, MIB(8));
	check(charged() - before >= (long long)MIB(7), "unmapped, but not freed, 8 MiB are charged with %lld bytes",
	      charged() - before);
	expect_ok(destroy(fd));
	close(fd);
	/* The module may keep free blocks for this cgroup, and reclaim has its own pace. */
	diag("after destroy, %lld bytes stay charged", charged() - before);
}

TEST("R11 memory is charged to the memory cgroup of who maps it")
{
	in_cgroup("max", is_charged);
}

static void whole_block_is_charged(void)
{
	long long before = charged();
	int fd = make_memfd(PAGE);
	char *p = map(fd, PAGE);
	long long one = charged() - before, many;

	fill(p, PAGE, 1);
	check(one >= (long long)BLOCK, "one page was charged with %lld bytes", one);
	check(one < (long long)(BLOCK + MIB(1)), "one page was charged with %lld bytes", one);
	for (int i = 0; i < 100; i++)
		fill(map(make_memfd(PAGE), PAGE), PAGE, i);
	many = charged() - before;
	/* Each guest object has blocks of its own. */
	check(many < (long long)((is_host_access() ? 101 : 1) * BLOCK + MIB(3)),
	      "101 pages were charged with %lld bytes", many);
}

TEST("R11 a page is charged with its whole block, the next ones with nothing")
{
	in_cgroup("max", whole_block_is_charged);
}

static void not_shared(void)
{
	fill(map(make_memfd(PAGE), PAGE), PAGE, 1);
	check(charged() >= (long long)BLOCK, "one page was charged with %lld bytes", charged());
}

TEST("R11 a page of another cgroup's block is not given away")
{
	/* This process, in the root, has a block with room left. */
	fill(map(make_memfd(PAGE), PAGE), PAGE, 2);
	in_cgroup("max", not_shared);
}

static void over_memory_max(void)
{
	long pages = counter("pages_in_use");
	char *p;
	int fd = make_memfd(MIB(2));

	p = map(fd, MIB(2));
	fill(p, MIB(2), 1);
	expect_errno(ENOMEM, try_map(make_memfd(MIB(64)), MIB(64)));
	expect_errno(ENOMEM, try_map(make_memfd_flags(MIB(64), EXMEM_CREATE_HUGE), MIB(64)));
	expect_errno(ENOMEM, try_map(open_device(), MIB(64)));
	expect_counter(pages + (long)(MIB(2) / PAGE), "pages_in_use");
	expect_filled(p, MIB(2), 1);
	unmap(p, MIB(2));
	expect_equal(0, field(CGROUP "/memory.events", "oom_kill"));
}

TEST("R11 an mmap over memory.max is ENOMEM, and kills nobody")
{
	in_cgroup("12582912", over_memory_max);
}

static void many_over_memory_max(void)
{
	for (int i = 0; i < 200; i++)
		expect_errno(ENOMEM, try_map(make_memfd(MIB(32)), MIB(32)));
	check(charged() < (long long)MIB(12), "%lld bytes stay charged", charged());
	expect_equal(0, field(CGROUP "/memory.events", "oom_kill"));
}

TEST("R11 a failed mmap leaves nothing charged", .seconds = 600)
{
	in_cgroup("12582912", many_over_memory_max);
}

/* ---- whole blocks ---- */

TEST("R11 EXMEM_CREATE_HUGE gets whole blocks")
{
	long blocks = counter("blocks"), idle = counter("blocks_idle"), single = counter("pages_single");
	int fd = make_memfd_flags(MIB(8), EXMEM_CREATE_HUGE);
	char *p = map(fd, MIB(8));
	uint64_t pfn;

	fill(p, MIB(8), 1);
	expect_equal(EXMEM_CREATE_HUGE, info_of(fd).flags & EXMEM_CREATE_HUGE);
	expect_equal(MIB(8), info_of(fd).resident);
	expect_counter(single, "pages_single");
	check(counter("blocks") - blocks >= 4 - idle, "%ld blocks, %ld before, of which %ld idle",
	      counter("blocks"), blocks, idle);
	for (size_t block = 0; block < 4; block++) {
		pfn = pfn_of(p + block * BLOCK);
		expect_equal(0, pfn % (BLOCK / PAGE));
		for (size_t page = 1; page < BLOCK / PAGE; page += 51)
			expect_equal(pfn + page, pfn_of(p + block * BLOCK + page * PAGE));
	}
	expect_filled(p, MIB(8), 1);
}

TEST("R11 EXMEM_CREATE_HUGE that cannot be had is ENOMEM")
{
	long pages = counter("pages_in_use"), total = field("/proc/meminfo", "MemTotal") * 1024;
	int fd = create_ioctl((struct exmem_create){ .size = total, .flags = EXMEM_CREATE_HUGE, .name = "huge" });

	if (fd < 0)
		expect_equal(ENOMEM, errno);
	else
		expect_errno(ENOMEM, try_map(fd, total));
	expect_counter_soon(pages, "pages_in_use");
}

TEST("R7 an ordinary object as large as the machine's memory is ENOMEM, and kills nobody")
{
	long pages = counter("pages_in_use"), total = field("/proc/meminfo", "MemTotal") * 1024;
	long long kills = field("/proc/vmstat", "oom_kill");
	int fd = create_ioctl((struct exmem_create){ .size = total, .name = "large" });

	if (fd < 0)
		expect_equal(ENOMEM, errno);
	else
		expect_errno(ENOMEM, try_map(fd, total));
	expect_counter_soon(pages, "pages_in_use");
	expect_equal(kills, field("/proc/vmstat", "oom_kill"));
}
