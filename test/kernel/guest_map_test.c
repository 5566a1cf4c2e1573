// SPDX-License-Identifier: GPL-2.0
/* G1, and R1 to R8 with it: a mapping of guest memory is an address for KVM, and nothing else. */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "guest.h"
#include "process.h"
#include "system.h"

#define RW (PROT_READ | PROT_WRITE)
#define PAGES 8
#define SIZE (PAGES * PAGE)

/* Parts whose removal would split the mapping. */
static const struct { size_t offset, size; } parts[] = {
	{ 0, PAGE }, { 3 * PAGE, 2 * PAGE }, { SIZE - PAGE, PAGE }, { 0, SIZE - PAGE }, { PAGE, SIZE - PAGE },
};

/* All but PROT_NONE. */
static const int protections[] = {
	PROT_READ, PROT_WRITE, PROT_EXEC, RW, PROT_READ | PROT_EXEC, PROT_WRITE | PROT_EXEC, RW | PROT_EXEC,
};

static int fd;
static char *p;

static void begin_mapped(void)
{
	fd = make_memfd_flags(SIZE, GUEST);
	populate_filled(fd, 0, SIZE, 1);
	p = map_none(fd, SIZE);
}

static void expect_no_access(const char *at)
{
	expect_signal(SIGSEGV, signal_of_load(at));
	expect_signal(SIGSEGV, signal_of_zero((char *)at));
	expect_signal(SIGSEGV, signal_of_call(at));
}

static void expect_undisturbed(void)
{
	for (size_t offset = 0; offset < SIZE; offset += SIZE - PAGE)
		expect_no_access(p + offset);
	expect_no_access(p + SIZE - 1);
	check(holds(p, SIZE, 1), "the bytes changed");
	expect_errno(EBUSY, try_map_none(fd, SIZE));
	expect_equal(EXMEM_STATE_MAPPED, state_of(fd) & EXMEM_STATE_MAPPED);
}

/* ---- what can be made ---- */

TEST("G1 a guest object's information is what it was made with")
{
	static const uint32_t flags[] = { GUEST, HOST_ACCESS, GUEST | EXMEM_CREATE_HUGE };

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		struct exmem_info info;

		fd = make_memfd_flags(BLOCK, flags[i]);
		info = info_of(fd);
		expect_equal(BLOCK, info.size);
		expect_equal(flags[i], info.flags);
		expect_equal(0, info.shared);
		expect_equal(0, info.state & ~EXMEM_STATE_DIRECT_MAP_REMOVED);
		expect_equal(0, info.references);
		expect_equal(0, info.notifiers);
		expect_equal(0, info.reserved[0] | info.reserved[1]);
	}
}

TEST("G1 memory is zero when an object is new, whatever was in it before")
{
	for (int i = 0; i < 8; i++) {
		fd = make_memfd_flags(SIZE, GUEST);
		p = map_none(fd, SIZE);
		check(holds_zeros(p, SIZE), "other bytes than zeros");
		populate_filled(fd, 0, SIZE, i);
		check(holds(p, SIZE, i), "other bytes than those of EXMEM_POPULATE");
		unmap(p, SIZE);
		if (i % 2)
			expect_ok(destroy(fd));
		close(fd);
	}
}

/* ---- G1 ---- */

TEST("G1 an mmap with PROT_NONE works, and no access does")
{
	begin_mapped();
	expect_undisturbed();
	check(info_of(fd).resident >= SIZE, "%llu bytes are resident", info_of(fd).resident);
	expect_equal(EXMEM_STATE_MAPPED | EXMEM_STATE_DIRECT_MAP_REMOVED, state_of(fd));
}

TEST("G1 an mmap with any other protection is EACCES")
{
	long mappings = counter("mappings");

	fd = make_memfd_flags(SIZE, GUEST);
	for (size_t i = 0; i < ARRAY_SIZE(protections); i++)
		expect_errno(EACCES, mmap(NULL, SIZE, protections[i], MAP_SHARED, fd, 0));
	expect_counter(mappings, "mappings");
	expect_equal(0, state_of(fd) & EXMEM_STATE_MAPPED);
	map_none(fd, SIZE);
}

TEST("G1 so it is with MAP_SHARED_VALIDATE, MAP_POPULATE, MAP_LOCKED and MAP_NORESERVE")
{
	static const int flags[] = {
		MAP_SHARED_VALIDATE, MAP_SHARED | MAP_POPULATE, MAP_SHARED | MAP_LOCKED, MAP_SHARED | MAP_NORESERVE,
	};

	fd = make_memfd_flags(SIZE, GUEST);
	populate_filled(fd, 0, SIZE, 1);
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		expect_errno(EACCES, mmap(NULL, SIZE, RW, flags[i], fd, 0));
		p = expect_ok(mmap(NULL, SIZE, PROT_NONE, flags[i], fd, 0));
		expect_undisturbed();
		unmap(p, SIZE);
	}
}

TEST("G1 a later mprotect to anything else is EACCES, of the whole and of a part")
{
	begin_mapped();
	for (size_t i = 0; i < ARRAY_SIZE(protections); i++) {
		expect_errno(EACCES, mprotect(p, SIZE, protections[i]));
		expect_errno(EACCES, syscall(SYS_pkey_mprotect, p, SIZE, protections[i], -1));
		for (size_t j = 0; j < ARRAY_SIZE(parts); j++)
			expect_errno(EACCES, mprotect(p + parts[j].offset, parts[j].size, protections[i]));
	}
	expect_undisturbed();
}

TEST("G1 an mprotect to what it is changes nothing")
{
	begin_mapped();
	expect_ok(mprotect(p, SIZE, PROT_NONE));
	for (size_t j = 0; j < ARRAY_SIZE(parts); j++)
		expect_ok(mprotect(p + parts[j].offset, parts[j].size, PROT_NONE));
	expect_undisturbed();
}

TEST("G1 a protection key gives nothing")
{
	int key = syscall(SYS_pkey_alloc, 0, 0), answer;

	if (key < 0)
		skip("no protection keys: %s", errno_name(errno));
	begin_mapped();
	expect_errno(EACCES, syscall(SYS_pkey_mprotect, p, SIZE, PROT_READ, key));
	answer = errno_of(syscall(SYS_pkey_mprotect, p, SIZE, PROT_NONE, key));
	check(!answer || answer == EINVAL || answer == EACCES, "%s", errno_name(answer));
	check(errno_of(syscall(SYS_pkey_mprotect, p, PAGE, PROT_NONE, key)), "a part got a key of its own");
	expect_undisturbed();
}

TEST("G1 nor does a program that turns every PROT_READ into PROT_EXEC")
{
	enum { READ_IMPLIES_EXEC_ = 0x0400000 };

	expect_ok(syscall(SYS_personality, READ_IMPLIES_EXEC_));
	begin_mapped();
	expect_errno(EACCES, mprotect(p, SIZE, PROT_READ));
	expect_undisturbed();
}

TEST("G1 nor does a protection that grows up or down")
{
	begin_mapped();
	check(errno_of(mprotect(p, SIZE, PROT_NONE | PROT_GROWSDOWN)), "it grows down");
	check(errno_of(mprotect(p, SIZE, PROT_READ | PROT_GROWSUP)), "it grows up");
	expect_undisturbed();
}

TEST("G1 each page of it has another page in its place in the direct map, or none", .seconds = 120)
{
	static const size_t sizes[] = { PAGE, SIZE, BLOCK, 2 * BLOCK + 3 * PAGE };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		fd = make_memfd_flags(sizes[i], GUEST);
		p = map_none(fd, sizes[i]);
		for (size_t offset = 0; offset < sizes[i]; offset += (sizes[i] > BLOCK ? 37 : 1) * PAGE)
			check(is_out_of_direct_map(p + offset), "page %zu of %zu bytes", offset / PAGE, sizes[i]);
		check(is_out_of_direct_map(p + sizes[i] - PAGE), "the last page of %zu bytes", sizes[i]);
		expect_equal(EXMEM_STATE_DIRECT_MAP_REMOVED, state_of(fd) & EXMEM_STATE_DIRECT_MAP_REMOVED);
		unmap(p, sizes[i]);
	}
}

TEST("G1 with HUGE it is whole blocks")
{
	static const size_t size = 2 * BLOCK;
	uint64_t pfn;

	fd = make_memfd_flags(size, GUEST | EXMEM_CREATE_HUGE);
	p = try_map_none(fd, size);
	if (p == MAP_FAILED) {
		expect_equal(ENOMEM, errno);
		skip("the machine has no whole blocks");
	}
	for (size_t offset = 0; offset < size; offset += BLOCK) {
		pfn = pfn_of(p + offset);
		expect_equal(0, pfn % (BLOCK / PAGE));
		for (size_t page = 1; page < BLOCK / PAGE; page += 73)
			expect_equal(pfn + page, pfn_of(p + offset + page * PAGE));
	}
}

/* ---- R1 to R5 ---- */

TEST("R1 G1 an mmap with an offset, or of another length, is EINVAL")
{
	long mappings = counter("mappings");

	fd = make_memfd_flags(SIZE, GUEST);
	expect_errno(EINVAL, mmap(NULL, SIZE - PAGE, PROT_NONE, MAP_SHARED, fd, PAGE));
	expect_errno(EINVAL, mmap(NULL, SIZE, PROT_NONE, MAP_SHARED, fd, PAGE));
	expect_errno(EINVAL, try_map_none(fd, PAGE));
	expect_errno(EINVAL, try_map_none(fd, SIZE - PAGE));
	expect_errno(EINVAL, try_map_none(fd, SIZE + 1));
	expect_errno(EINVAL, try_map_none(fd, 1 << 30));
	expect_counter(mappings, "mappings");
	map_none(fd, SIZE);
}

TEST("R1 G1 a size is rounded up to a page, and what is behind it is zeros")
{
	char bytes[2 * PAGE];

	fd = make_memfd_flags(PAGE + 8, GUEST);
	populate_filled(fd, 0, PAGE + 8, 1);
	expect_errno(EINVAL, try_map_none(fd, PAGE));
	p = map_none(fd, PAGE + 8);
	read_physical(p, bytes, sizeof(bytes));
	check(is_filled(bytes, PAGE + 8, 1) && is_zero(bytes + PAGE + 8, PAGE - 8), "other bytes");
}

TEST("R1 G1 an mmap of a guest object that has no size yet is EINVAL")
{
	fd = make_memfd_flags(0, GUEST);
	expect_errno(EINVAL, try_map_none(fd, PAGE));
	expect_ok(set_size(fd, PAGE));
	map_none(fd, PAGE);
}

TEST("R2 G1 MAP_PRIVATE is EINVAL")
{
	fd = make_memfd_flags(SIZE, GUEST);
	expect_errno(EINVAL, mmap(NULL, SIZE, PROT_NONE, MAP_PRIVATE, fd, 0));
	map_none(fd, SIZE);
}

TEST("R3 G1 a second mmap is EBUSY, here, by a copy of the descriptor, and in a child")
{
	pid_t pid;

	begin_mapped();
	expect_errno(EBUSY, try_map_none(fd, SIZE));
	expect_errno(EBUSY, try_map_none(dup(fd), SIZE));
	pid = start_child();
	if (!pid) {
		expect_errno(EBUSY, try_map_none(fd, SIZE));
		succeed();
	}
	expect_success(pid);
	expect_undisturbed();
}

TEST("R3 G1 the next mmap has the same pages, in this process or another")
{
	uint64_t pfn;
	pid_t pid;

	begin_mapped();
	pfn = pfn_of(p);
	unmap(p, SIZE);
	expect_signal(SIGSEGV, signal_of_load(p));
	check(object_holds(fd, SIZE, 1), "other bytes after munmap");
	pid = start_child();
	if (!pid) {
		p = map_none(fd, SIZE);
		expect_equal(pfn, pfn_of(p));
		expect_undisturbed();
		succeed();
	}
	expect_success(pid);
	p = map_none(fd, SIZE);
	expect_equal(pfn, pfn_of(p));
	expect_undisturbed();
}

TEST("R4 G1 what would split the mapping fails")
{
	int expected = kernel_at_least(6, 12) ? EINVAL : ENOMEM;

	begin_mapped();
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		char *at = p + parts[i].offset;

		expect_errno(EINVAL, munmap(at, parts[i].size));
		expect_errno(expected, mmap(at, parts[i].size, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
		expect_errno(EINVAL, madvise(at, parts[i].size, MADV_SEQUENTIAL));
		expect_ok(mlock(at, parts[i].size));
		expect_ok(munlock(at, parts[i].size));
	}
	expect_undisturbed();
}

TEST("R4 G1 MAP_FIXED over the whole replaces it")
{
	begin_mapped();
	expect_ok(mmap(p, SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	expect_zero(p, SIZE);
	expect_equal(0, state_of(fd) & EXMEM_STATE_MAPPED);
	check(object_holds(fd, SIZE, 1), "the bytes changed");
}

TEST("R4 G1 advice gives no access and takes no byte")
{
	static const int advices[] = {
		MADV_NORMAL, MADV_WILLNEED, MADV_DONTNEED, MADV_FREE, MADV_REMOVE, MADV_COLD, MADV_PAGEOUT,
		MADV_POPULATE_READ, MADV_POPULATE_WRITE, MADV_MERGEABLE, MADV_HUGEPAGE, MADV_DODUMP, MADV_DONTDUMP,
	};

	begin_mapped();
	for (size_t i = 0; i < ARRAY_SIZE(advices); i++) {
		int answer = errno_of(madvise(p, SIZE, advices[i]));

		if (advices[i] == MADV_POPULATE_READ || advices[i] == MADV_POPULATE_WRITE ||
		    advices[i] == MADV_DONTNEED || advices[i] == MADV_REMOVE)
			check(answer, "advice %d succeeded", advices[i]);
		check(holds(p, SIZE, 1), "the bytes changed after advice %d", advices[i]);
	}
	expect_undisturbed();
}

TEST("R5 G1 mremap fails, each way")
{
	char *free_place = plain_memory(SIZE);

	begin_mapped();
	unmap(free_place, SIZE);
	expect_errno(EFAULT, mremap(p, SIZE, 2 * SIZE, MREMAP_MAYMOVE));
	expect_errno(EFAULT, mremap(p, SIZE, SIZE + PAGE, 0));
	expect_errno(EINVAL, mremap(p, SIZE, SIZE - PAGE, 0));
	expect_errno(EBUSY, mremap(p, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, free_place));
	expect_errno(EINVAL, mremap(p, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP));
	expect_errno(EFAULT, mremap(p, 0, SIZE, MREMAP_MAYMOVE));
	expect_undisturbed();
}

/* ---- R6 ---- */

TEST("R6 G1 a child has nothing there")
{
	pid_t pid;

	begin_mapped();
	pid = start_child();
	if (!pid) {
		expect_no_access(p);
		expect_errno(ENOMEM, mprotect(p, SIZE, PROT_READ));
		succeed();
	}
	expect_success(pid);
	expect_undisturbed();
}

TEST("R6 G1 nor with MADV_DOFORK, whatever it tries")
{
	pid_t pid;

	begin_mapped();
	errno_of(madvise(p, SIZE, MADV_DOFORK));
	pid = start_child();
	if (!pid) {
		expect_no_access(p);
		expect_no_access(p + SIZE - 1);
		for (size_t i = 0; i < ARRAY_SIZE(protections); i++)
			check(errno_of(mprotect(p, SIZE, protections[i])), "the child's mprotect succeeded");
		expect_no_access(p);
		expect_equal(0, pfn_of(p));
		succeed();
	}
	expect_success(pid);
	expect_undisturbed();
}

static int shared_child(void *unused)
{
	(void)unused;
	expect_errno(EACCES, mprotect(p, SIZE, PROT_READ));
	expect_no_access(p);
	return 0;
}

TEST("R6 G1 a child that shares the address space has no more than its parent")
{
	static char stack[64 << 10] __attribute__((aligned(16)));

	begin_mapped();
	expect_success(expect_ok(clone(shared_child, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL)));
	expect_undisturbed();
}

/* ---- R7, R8, R11 ---- */

TEST("R7 G1 the size is set once")
{
	fd = make_memfd_flags(0, GUEST);
	expect_ok(ftruncate(fd, SIZE));
	expect_errno(EINVAL, ftruncate(fd, 2 * SIZE));
	expect_errno(EINVAL, ftruncate(fd, 0));
	expect_errno(EINVAL, set_size(fd, 2 * SIZE));
	expect_errno(EINVAL, set_size(fd, SIZE));
	expect_equal(SIZE, info_of(fd).size);
	expect_equal(SIZE, lseek(fd, 0, SEEK_END));
	map_none(fd, SIZE);
}

TEST("R7 G1 a size that no machine has is ENOMEM")
{
	static const uint64_t sizes[] = { UINT64_C(1) << 46, UINT64_C(1) << 62, INT64_MAX, UINT64_MAX };
	long pages = counter("pages_in_use");

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct exmem_create create = { .size = sizes[i], .flags = GUEST, .name = "huge" };

		expect_errno(ENOMEM, create_ioctl(create));
		create.flags |= EXMEM_CREATE_HUGE;
		expect_errno(ENOMEM, create_ioctl(create));
		fd = make_memfd_flags(0, GUEST);
		expect_errno(ENOMEM, set_size(fd, sizes[i]));
		expect_equal(0, info_of(fd).size);
	}
	expect_counter(pages, "pages_in_use");
}

TEST("R8 G1 the descriptor moves no byte")
{
	int pipes[2], plain = expect_ok(memfd_create("plain", MFD_CLOEXEC)), answer;
	char buffer[16] = "", path[64];
	loff_t zero = 0, to = 0;

	begin_mapped();
	expect_ok(pipe2(pipes, O_CLOEXEC | O_NONBLOCK));
	expect_ok(ftruncate(plain, PAGE));
	expect_errno(EINVAL, read(fd, buffer, sizeof(buffer)));
	expect_errno(EINVAL, write(fd, buffer, sizeof(buffer)));
	answer = errno_of(pread(fd, buffer, sizeof(buffer), 0));
	check(answer == EINVAL || answer == ESPIPE, "pread: %s", errno_name(answer));
	answer = errno_of(pwrite(fd, buffer, sizeof(buffer), 0));
	check(answer == EINVAL || answer == ESPIPE, "pwrite: %s", errno_name(answer));
	expect_errno(EINVAL, splice(fd, NULL, pipes[1], NULL, PAGE, 0));
	expect_errno(EINVAL, sendfile(plain, fd, NULL, PAGE));
	expect_errno(EINVAL, sendfile(fd, plain, NULL, PAGE));
	expect_errno(EXDEV, copy_file_range(fd, &zero, plain, &to, PAGE, 0));
	expect_errno(EOPNOTSUPP, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE));
	expect_errno(EOPNOTSUPP, fallocate(fd, 0, 0, SIZE));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	expect_errno(ENXIO, open(path, O_RDWR | O_CLOEXEC));
	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (long)p, (long)(p + SIZE));
	answer = errno_of(open(path, O_RDWR | O_CLOEXEC));
	check(answer == ENXIO || answer == ENOENT, "map_files: %s", errno_name(answer));
	expect_undisturbed();
}

TEST("R8 G1 a mapping outlives its descriptor")
{
	long objects = counter("objects"), pages = counter("pages_in_use");

	begin_mapped();
	close(fd);
	expect_no_access(p);
	check(holds(p, SIZE, 1), "the bytes changed");
	expect_counter(objects + 1, "objects");
	unmap(p, SIZE);
	expect_counter_soon(objects, "objects");
	expect_counter_soon(pages, "pages_in_use");
}

TEST("R11 G1 a mapping over RLIMIT_MEMLOCK is EAGAIN, as that of other exclusive memory")
{
	fd = make_memfd_flags(SIZE, GUEST);
	expect_ok(setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ SIZE - PAGE, SIZE - PAGE }));
	drop_privileges();
	expect_errno(EAGAIN, try_map_none(fd, SIZE));
	expect_equal(0, state_of(fd) & EXMEM_STATE_MAPPED);
}

/* ---- R16 ---- */

TEST("R16 G1 after destroy nothing is behind the mapping, and all calls are ENXIO")
{
	struct exmem_info info;
	char byte = 1;

	begin_mapped();
	expect_ok(destroy(fd));
	check(signal_of_load(p), "a load succeeded");
	expect_equal(0, pfn_of(p));
	check(errno_of(mprotect(p, SIZE, PROT_READ)), "mprotect succeeded");
	expect_errno(ENXIO, populate(fd, 0, 1, &byte));
	expect_errno(ENXIO, seal(fd, EXMEM_STATE_CONTENT_SEALED));
	expect_errno(ENXIO, make_shared(fd, 0, PAGE));
	expect_errno(ENXIO, make_private(fd, 0, PAGE));
	info = info_of(fd);
	expect_equal(EXMEM_STATE_DESTROYED, info.state & EXMEM_STATE_DESTROYED);
	expect_equal(0, info.resident);
	expect_equal(0, info.shared);
	unmap(p, SIZE);
	expect_errno(ENXIO, try_map_none(fd, SIZE));
	expect_ok(destroy(fd));
}

/* ---- the other kind ---- */

TEST("G1a with HOST_ACCESS it can be read and written, and is out of the direct map")
{
	fd = make_memfd_flags(SIZE, HOST_ACCESS);
	p = map(fd, SIZE);
	expect_zero(p, SIZE);
	fill(p, SIZE, 1);
	expect_filled(p, SIZE, 1);
	check(holds(p, SIZE, 1), "the pages have other bytes than the mapping shows");
	for (size_t offset = 0; offset < SIZE; offset += PAGE)
		check(is_out_of_direct_map(p + offset), "page %zu", offset / PAGE);
	expect_equal(EXMEM_STATE_MAPPED | EXMEM_STATE_DIRECT_MAP_REMOVED, state_of(fd));
}

TEST("G1a what EXMEM_POPULATE brought is in the mapping at once, and what was stored remains")
{
	fd = make_memfd_flags(SIZE, HOST_ACCESS);
	populate_filled(fd, 0, SIZE, 1);
	p = map(fd, SIZE);
	expect_filled(p, SIZE, 1);
	populate_filled(fd, PAGE, PAGE, 2);
	expect_filled(p + PAGE, PAGE, 2);
	fill(p, SIZE, 3);
	unmap(p, SIZE);
	check(object_holds(fd, SIZE, 3), "the bytes changed");
	expect_filled(map(fd, SIZE), SIZE, 3);
}

TEST("G1a PROT_EXEC is EACCES, MAP_PRIVATE is EINVAL")
{
	fd = make_memfd_flags(SIZE, HOST_ACCESS);
	expect_errno(EACCES, mmap(NULL, SIZE, RW | PROT_EXEC, MAP_SHARED, fd, 0));
	expect_errno(EACCES, mmap(NULL, SIZE, PROT_EXEC, MAP_SHARED, fd, 0));
	expect_errno(EINVAL, mmap(NULL, SIZE, RW, MAP_PRIVATE, fd, 0));
	p = map(fd, SIZE);
	expect_errno(EACCES, mprotect(p, SIZE, RW | PROT_EXEC));
	expect_errno(EINVAL, mprotect(p, PAGE, PROT_READ));
	expect_ok(mprotect(p, SIZE, PROT_NONE));
	expect_signal(SIGSEGV, signal_of_load(p));
	expect_ok(mprotect(p, SIZE, RW));
	fill(p, SIZE, 1);
	expect_filled(p, SIZE, 1);
}

TEST("G1a one mapping, whole, of any protection that the monitor may have")
{
	fd = make_memfd_flags(SIZE, HOST_ACCESS);
	p = map(fd, SIZE);
	expect_errno(EBUSY, try_map(fd, SIZE));
	expect_errno(EBUSY, try_map_none(fd, SIZE));
	expect_errno(EINVAL, munmap(p, PAGE));
	unmap(p, SIZE);
	p = map_none(fd, SIZE);
	expect_signal(SIGSEGV, signal_of_load(p));
	expect_ok(mprotect(p, SIZE, RW));
	expect_zero(p, SIZE);
}
