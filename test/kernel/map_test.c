// SPDX-License-Identifier: GPL-2.0
/* R1 to R4, R7, R8: one whole shared mapping that cannot be split. */
#include <linux/mempolicy.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "memory.h"
#include "system.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#define MADV_GUARD_INSTALL_ 102
#define MADV_GUARD_REMOVE_ 103

#define RW (PROT_READ | PROT_WRITE)
#define PAGES 8
#define SIZE (PAGES * PAGE)

/* Parts whose removal would split the mapping: its begin, middle and end. */
static const struct { size_t offset, size; } parts[] = {
	{ 0, PAGE }, { 3 * PAGE, 2 * PAGE }, { SIZE - PAGE, PAGE }, { 0, SIZE - PAGE }, { PAGE, SIZE - PAGE },
};

/* A filled mapping, and that it is as it was. */
static int fd;
static char *p;

static void begin_mapped(void)
{
	fd = make_memfd(SIZE);
	p = map(fd, SIZE);
	fill(p, SIZE, 1);
}

static void expect_undisturbed(void)
{
	expect_filled(p, SIZE, 1);
	expect_signal(0, signal_of_store(p));
	expect_signal(0, signal_of_store(p + SIZE - 1));
	expect_errno(EBUSY, try_map(fd, SIZE));
	expect_equal(EXMEM_STATE_MAPPED, state_of(fd) & EXMEM_STATE_MAPPED);
}

TEST("R1 an mmap of the whole works and finds zeros")
{
	fd = make_memfd(SIZE);
	p = map(fd, SIZE);
	expect_zero(p, SIZE);
	fill(p, SIZE, 1);
	expect_undisturbed();
}

TEST("R1 an mmap with an offset is EINVAL")
{
	long mappings = counter("mappings");

	fd = make_memfd(SIZE);
	expect_errno(EINVAL, mmap(NULL, SIZE - PAGE, RW, MAP_SHARED, fd, PAGE));
	expect_errno(EINVAL, mmap(NULL, SIZE, RW, MAP_SHARED, fd, PAGE));
	expect_errno(EINVAL, mmap(NULL, SIZE, RW, MAP_SHARED, fd, SIZE));
	expect_errno(EINVAL, mmap(NULL, SIZE, RW, MAP_SHARED, fd, INT64_MAX - (2 * SIZE - 1)));
	expect_counter(mappings, "mappings");
	map(fd, SIZE);
}

TEST("R1 an mmap of another length is EINVAL")
{
	fd = make_memfd(SIZE);
	expect_errno(EINVAL, mmap(NULL, PAGE, RW, MAP_SHARED, fd, 0));
	expect_errno(EINVAL, mmap(NULL, SIZE - PAGE, RW, MAP_SHARED, fd, 0));
	expect_errno(EINVAL, mmap(NULL, SIZE + 1, RW, MAP_SHARED, fd, 0));
	expect_errno(EINVAL, mmap(NULL, SIZE + PAGE, RW, MAP_SHARED, fd, 0));
	expect_errno(EINVAL, mmap(NULL, 1 << 30, RW, MAP_SHARED, fd, 0));
	map(fd, SIZE);
}

TEST("R1 a length is rounded up to a page, the object's and mmap's")
{
	fd = make_memfd(PAGE + 1);
	expect_errno(EINVAL, try_map(fd, PAGE));
	expect_errno(EINVAL, try_map(fd, 2 * PAGE + 1));
	for (size_t length = PAGE + 1; length <= 2 * PAGE; length += PAGE - 1) {
		p = map(fd, length);
		fill(p, 2 * PAGE, length);
		expect_filled(p, 2 * PAGE, length);
		unmap(p, length);
	}
}

TEST("R1 an mmap of an object that has no size yet is EINVAL")
{
	fd = make_memfd(0);
	expect_errno(EINVAL, try_map(fd, PAGE));
	expect_ok(set_size(fd, PAGE));
	map(fd, PAGE);
}

TEST("R2 MAP_PRIVATE is EINVAL")
{
	fd = make_memfd(SIZE);
	expect_errno(EINVAL, mmap(NULL, SIZE, RW, MAP_PRIVATE, fd, 0));
	expect_errno(EINVAL, mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, fd, 0));
	expect_equal(0, state_of(fd) & EXMEM_STATE_MAPPED);
	map(fd, SIZE);
}

TEST("R2 PROT_EXEC is EACCES, for mmap and mprotect")
{
	fd = make_memfd(SIZE);
	expect_errno(EACCES, mmap(NULL, SIZE, RW | PROT_EXEC, MAP_SHARED, fd, 0));
	expect_errno(EACCES, mmap(NULL, SIZE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0));
	expect_errno(EACCES, mmap(NULL, SIZE, PROT_EXEC, MAP_SHARED, fd, 0));
	begin_mapped();
	expect_errno(EACCES, mprotect(p, SIZE, RW | PROT_EXEC));
	expect_errno(EACCES, mprotect(p, SIZE, PROT_EXEC));
	expect_errno(EACCES, syscall(SYS_pkey_mprotect, p, SIZE, PROT_READ | PROT_EXEC, -1));
	expect_undisturbed();
}

/* "rw-s" or the like, from /proc/self/maps */
static const char *protection_of(const void *address)
{
	static char shown[5];
	unsigned long begin, end;
	FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];

	shown[0] = '\0';
	while (maps && fgets(line, sizeof(line), maps))
		if (sscanf(line, "%lx-%lx", &begin, &end) == 2 && begin <= (uintptr_t)address && (uintptr_t)address < end)
			sscanf(line, "%*x-%*x %4s", shown);
	if (maps)
		fclose(maps);
	return shown;
}

TEST("R2 a program that turns every PROT_READ into PROT_EXEC gets nothing executable")
{
	enum { READ_IMPLIES_EXEC_ = 0x0400000 };

	fd = make_memfd(SIZE);
	expect_ok(syscall(SYS_personality, READ_IMPLIES_EXEC_));
	expect_errno(EACCES, try_map(fd, SIZE));
	expect_ok(syscall(SYS_personality, 0));
	begin_mapped();
	expect_ok(syscall(SYS_personality, READ_IMPLIES_EXEC_));
	expect_ok(mprotect(p, SIZE, PROT_NONE));
	expect_ok(mprotect(p, SIZE, RW));
	check(!strcmp(protection_of(p), "rw-s"), "it is %s", protection_of(p));
	expect_undisturbed();
}

TEST("R3 a second mmap in this process is EBUSY")
{
	begin_mapped();
	expect_errno(EBUSY, try_map(fd, SIZE));
	expect_errno(EBUSY, mmap(NULL, SIZE, PROT_NONE, MAP_SHARED, fd, 0));
	expect_errno(EBUSY, try_map(dup(fd), SIZE));
	expect_undisturbed();
}

TEST("R3 the mmap after a munmap sees the same bytes")
{
	begin_mapped();
	for (int i = 0; i < 3; i++) {
		unmap(p, SIZE);
		expect_signal(SIGSEGV, signal_of_load(p));
		p = map(fd, SIZE);
		expect_filled(p, SIZE, 1);
	}
	expect_undisturbed();
}

TEST("R3 another object's mapping is no obstacle")
{
	char *other;

	begin_mapped();
	other = map(make_memfd(SIZE), SIZE);
	fill(other, SIZE, 2);
	expect_undisturbed();
	expect_filled(other, SIZE, 2);
}

TEST("R4 munmap of a part is EINVAL")
{
	begin_mapped();
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		expect_errno(EINVAL, munmap(p + parts[i].offset, parts[i].size));
	expect_undisturbed();
}

TEST("R4 munmap from before it into it, and from it to behind, is EINVAL")
{
	char *area = expect_ok(mmap(NULL, SIZE + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

	begin_mapped();
	unmap(p, SIZE);
	p = expect_ok(mmap(area + PAGE, SIZE, RW, MAP_SHARED | MAP_FIXED, fd, 0));
	expect_errno(EINVAL, munmap(area, 2 * PAGE));
	expect_errno(EINVAL, munmap(area + SIZE, 2 * PAGE));
	expect_undisturbed();
	unmap(area, SIZE + 2 * PAGE);
	expect_equal(0, state_of(fd) & EXMEM_STATE_MAPPED);
	expect_filled(map(fd, SIZE), SIZE, 1);
}

TEST("R4 mprotect of a part is EINVAL")
{
	begin_mapped();
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		expect_errno(EINVAL, mprotect(p + parts[i].offset, parts[i].size, PROT_NONE));
		expect_errno(EINVAL, mprotect(p + parts[i].offset, parts[i].size, PROT_READ));
		expect_errno(EINVAL, syscall(SYS_pkey_mprotect, p + parts[i].offset, parts[i].size, PROT_READ, -1));
	}
	expect_undisturbed();
}

TEST("R4 mprotect of a part that changes nothing is a no-op")
{
	begin_mapped();
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		expect_ok(mprotect(p + parts[i].offset, parts[i].size, RW));
	expect_undisturbed();
}

TEST("R4 mprotect of the whole takes permissions away and gives them back")
{
	begin_mapped();
	expect_ok(mprotect(p, SIZE, PROT_NONE));
	expect_signal(SIGSEGV, signal_of_load(p));
	expect_signal(SIGSEGV, signal_of_load(p + SIZE - 1));
	expect_ok(mprotect(p, SIZE, PROT_READ));
	expect_filled(p, SIZE, 1);
	expect_signal(SIGSEGV, signal_of_store(p));
	expect_ok(mprotect(p, SIZE, RW));
	expect_undisturbed();
}

TEST("R4 a mapping that began as PROT_NONE becomes readable and writable")
{
	fd = make_memfd(SIZE);
	p = expect_ok(mmap(NULL, SIZE, PROT_NONE, MAP_SHARED, fd, 0));
	expect_signal(SIGSEGV, signal_of_load(p));
	expect_ok(mprotect(p, SIZE, RW));
	expect_zero(p, SIZE);
	fill(p, SIZE, 1);
	expect_undisturbed();
}

TEST("R4 a protection key applies to the whole")
{
	int key = syscall(SYS_pkey_alloc, 0, 0);

	begin_mapped();
	if (key < 0)
		skip("no protection keys: %s", errno_name(errno));
	expect_errno(EINVAL, syscall(SYS_pkey_mprotect, p, PAGE, RW, key));
	expect_ok(syscall(SYS_pkey_mprotect, p, SIZE, RW, key));
	expect_filled(p, SIZE, 1);
	expect_ok(pkey_set(key, PKEY_DISABLE_WRITE));
	expect_filled(p, SIZE, 1);
	expect_signal(SIGSEGV, signal_of_store(p));
	expect_ok(pkey_set(key, PKEY_DISABLE_ACCESS));
	expect_signal(SIGSEGV, signal_of_load(p));
	expect_ok(pkey_set(key, 0));
	expect_undisturbed();
}

TEST("R4 MAP_FIXED over a part fails")
{
	/* The older kernel says ENOMEM whatever the reason why a range cannot be unmapped. */
	int expected = kernel_at_least(6, 12) ? EINVAL : ENOMEM;

	begin_mapped();
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++)
		expect_errno(expected, mmap(p + parts[i].offset, parts[i].size, RW,
					    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	expect_errno(expected, mmap(p + PAGE, SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	expect_undisturbed();
}

TEST("R4 MAP_FIXED over the whole replaces it")
{
	begin_mapped();
	expect_ok(mmap(p, SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	expect_zero(p, SIZE);
	expect_equal(0, state_of(fd) & EXMEM_STATE_MAPPED);
	expect_filled(map(fd, SIZE), SIZE, 1);
}

TEST("R4 MAP_FIXED_NOREPLACE over it is EEXIST")
{
	begin_mapped();
	expect_errno(EEXIST, mmap(p, SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
	expect_undisturbed();
}

TEST("R4 remap_file_pages fails")
{
	begin_mapped();
	check(errno_of(syscall(SYS_remap_file_pages, p, PAGE, 0, 1, 0)), "a part was remapped");
	expect_undisturbed();
}

TEST("R4 mlock and munlock of a part are no-ops")
{
	begin_mapped();
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		expect_ok(mlock(p + parts[i].offset, parts[i].size));
		expect_ok(mlock2(p + parts[i].offset, parts[i].size, MLOCK_ONFAULT));
		expect_ok(munlock(p + parts[i].offset, parts[i].size));
	}
	expect_undisturbed();
	expect_ok(mlock(p, SIZE));
	expect_ok(munlock(p, SIZE));
	expect_ok(mlockall(MCL_CURRENT));
	expect_ok(munlockall());
	expect_undisturbed();
	unmap(p, SIZE);
	p = map(fd, SIZE);
	expect_undisturbed();
}

TEST("R4 mmap while MCL_FUTURE is set")
{
	expect_ok(mlockall(MCL_FUTURE));
	begin_mapped();
	expect_undisturbed();
	unmap(p, SIZE);
	expect_ok(munlockall());
	p = map(fd, SIZE);
	expect_undisturbed();
}

TEST("R4 mbind of a part is EINVAL, and moves nothing")
{
	unsigned long nodes = 1;
	uint64_t pfn;

	begin_mapped();
	pfn = pfn_of(p + PAGE);
	if (errno_of(syscall(SYS_mbind, p, SIZE, MPOL_DEFAULT, NULL, 0, 0)) == ENOSYS)
		skip("this kernel has no memory policies");
	expect_errno(EINVAL, syscall(SYS_mbind, p + PAGE, PAGE, MPOL_BIND, &nodes, 8, 0));
	expect_undisturbed();
	expect_equal(pfn, pfn_of(p + PAGE));
}

/*
 * Advice, and what may be the answer on the whole of the mapping. On a part,
 * what changes a flag is EINVAL. Bytes and protection stay in any case.
 */
static const struct {
	const char *name;
	int advice;
	int answers[3];		/* until a second 0 */
	bool changes_flags;
} advices[] = {
	{ "NORMAL", MADV_NORMAL, { 0 }, false },
	{ "RANDOM", MADV_RANDOM, { 0 }, true },
	{ "SEQUENTIAL", MADV_SEQUENTIAL, { 0 }, true },
	{ "WILLNEED", MADV_WILLNEED, { 0 }, false },
	{ "DONTNEED", MADV_DONTNEED, { 0, EINVAL }, false },
	{ "DONTNEED_LOCKED", 24, { 0, EINVAL }, false },
	{ "FREE", MADV_FREE, { EINVAL }, false },
	{ "REMOVE", MADV_REMOVE, { EINVAL, EOPNOTSUPP }, false },
	{ "DONTFORK", MADV_DONTFORK, { 0 }, false },
	{ "DONTDUMP", MADV_DONTDUMP, { 0 }, false },
	{ "DODUMP", MADV_DODUMP, { EINVAL }, false },
	{ "WIPEONFORK", MADV_WIPEONFORK, { EINVAL }, false },
	{ "KEEPONFORK", MADV_KEEPONFORK, { 0, EINVAL }, false },
	{ "MERGEABLE", MADV_MERGEABLE, { 0, EINVAL }, false },
	{ "UNMERGEABLE", MADV_UNMERGEABLE, { 0, EINVAL }, false },
	{ "COLD", MADV_COLD, { 0, EINVAL }, false },
	{ "PAGEOUT", MADV_PAGEOUT, { 0, EINVAL }, false },
	{ "POPULATE_READ", MADV_POPULATE_READ, { EFAULT, EINVAL }, false },
	{ "POPULATE_WRITE", MADV_POPULATE_WRITE, { EFAULT, EINVAL }, false },
	{ "COLLAPSE", MADV_COLLAPSE, { EINVAL }, false },
	{ "GUARD_INSTALL", MADV_GUARD_INSTALL_, { EINVAL }, false },
	{ "GUARD_REMOVE", MADV_GUARD_REMOVE_, { EINVAL }, false },
};

static void expect_answer(size_t i, int answer)
{
	for (size_t j = 0; j < ARRAY_SIZE(advices[i].answers); j++)
		if (answer == advices[i].answers[j])
			return;
	fail("MADV_%s: got %s", advices[i].name, errno_name(answer));
}

TEST("R4 madvise on the whole leaves the bytes and the mapping")
{
	begin_mapped();
	for (size_t i = 0; i < ARRAY_SIZE(advices); i++) {
		expect_answer(i, errno_of(madvise(p, SIZE, advices[i].advice)));
		if (!is_filled(p, SIZE, 1))
			fail("MADV_%s: the bytes changed", advices[i].name);
		expect_ok(madvise(p, SIZE, MADV_NORMAL));
	}
	expect_undisturbed();
}

TEST("R4 madvise on a part that changes flags is EINVAL")
{
	begin_mapped();
	for (size_t i = 0; i < ARRAY_SIZE(advices); i++)
		for (size_t part = 0; advices[i].changes_flags && part < ARRAY_SIZE(parts); part++)
			expect_errno(EINVAL, madvise(p + parts[part].offset, parts[part].size, advices[i].advice));
	expect_errno(EINVAL, madvise(p + PAGE, PAGE, MADV_DOFORK));
	expect_undisturbed();
}

TEST("R4 other madvise on a part leaves the bytes and the mapping")
{
	begin_mapped();
	for (size_t i = 0; i < ARRAY_SIZE(advices); i++) {
		for (size_t part = 0; !advices[i].changes_flags && part < ARRAY_SIZE(parts); part++)
			expect_answer(i, errno_of(madvise(p + parts[part].offset, parts[part].size, advices[i].advice)));
		if (!is_filled(p, SIZE, 1))
			fail("MADV_%s: the bytes changed", advices[i].name);
	}
	expect_undisturbed();
}

TEST("R4 huge page advice leaves the bytes and the mapping of a whole block")
{
	int block = make_memfd(BLOCK);
	char *q = map(block, BLOCK);
	static const int huge[] = { MADV_HUGEPAGE, MADV_NOHUGEPAGE };

	fill(q, BLOCK, 3);
	for (size_t i = 0; i < ARRAY_SIZE(huge); i++) {
		int whole = errno_of(madvise(q, BLOCK, huge[i]));
		int part = errno_of(madvise(q + PAGE, PAGE, MADV_HUGEPAGE + MADV_NOHUGEPAGE - huge[i]));

		check(whole == 0 || whole == EINVAL, "the whole: %s", errno_name(whole));
		check(part == 0 || part == EINVAL, "a part: %s", errno_name(part));
	}
	errno_of(madvise(q, BLOCK, MADV_COLLAPSE));
	expect_filled(q, BLOCK, 3);
	expect_errno(EINVAL, munmap(q, PAGE));
	expect_errno(EBUSY, try_map(block, BLOCK));
}

TEST("R4 msync and mincore are harmless")
{
	unsigned char resident[PAGES];

	begin_mapped();
	expect_ok(msync(p, SIZE, MS_ASYNC));
	expect_ok(msync(p + PAGE, PAGE, MS_ASYNC));
	expect_ok(mincore(p, SIZE, resident));
	expect_undisturbed();
}

TEST("R7 ftruncate sets a restricted memfd's size, once")
{
	struct stat stat;

	fd = make_memfd(0);
	expect_ok(fstat(fd, &stat));
	expect_equal(0, stat.st_size);
	expect_ok(ftruncate(fd, SIZE));
	expect_ok(fstat(fd, &stat));
	expect_equal(SIZE, stat.st_size);
	expect_equal(SIZE, info_of(fd).size);
	expect_errno(EINVAL, ftruncate(fd, SIZE + PAGE));
	expect_errno(EINVAL, ftruncate(fd, PAGE));
	expect_errno(EINVAL, ftruncate(fd, 0));
	expect_errno(EINVAL, ftruncate(fd, SIZE));
	expect_errno(EINVAL, set_size(fd, SIZE));
	p = map(fd, SIZE);
	fill(p, SIZE, 1);
	expect_errno(EINVAL, ftruncate(fd, 0));
	expect_errno(EINVAL, ftruncate(fd, 2 * SIZE));
	expect_errno(EINVAL, set_size(fd, 2 * SIZE));
	expect_undisturbed();
	expect_equal(SIZE, info_of(fd).size);
}

TEST("R7 EXMEM_SET_SIZE sets the size of either kind, once")
{
	int fds[] = { make_memfd(0), open_device() };

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		expect_equal(0, info_of(fds[i]).size);
		expect_errno(EINVAL, set_size(fds[i], 0));
		expect_ok(set_size(fds[i], SIZE));
		expect_errno(EINVAL, set_size(fds[i], SIZE));
		expect_errno(EINVAL, set_size(fds[i], 2 * SIZE));
		expect_errno(EINVAL, set_size(fds[i], 0));
		expect_equal(SIZE, info_of(fds[i]).size);
		expect_errno(EINVAL, try_map(fds[i], 2 * SIZE));
		map(fds[i], SIZE);
	}
}

TEST("R7 the size that EXMEM_CREATE gave cannot be changed")
{
	fd = make_memfd(SIZE);
	expect_errno(EINVAL, ftruncate(fd, 2 * SIZE));
	expect_errno(EINVAL, set_size(fd, 2 * SIZE));
	expect_equal(SIZE, info_of(fd).size);
}

TEST("R7 ftruncate on a device file is EINVAL")
{
	expect_errno(EINVAL, ftruncate(open_device(), SIZE));
}

TEST("R7 the first mmap sets the size of a device file")
{
	fd = open_device();
	expect_errno(EINVAL, mmap(NULL, SIZE, RW, MAP_PRIVATE, fd, 0));
	expect_errno(EINVAL, mmap(NULL, SIZE, RW, MAP_SHARED, fd, PAGE));
	expect_errno(EACCES, mmap(NULL, SIZE, RW | PROT_EXEC, MAP_SHARED, fd, 0));
	expect_equal(0, info_of(fd).size);
	p = map(fd, SIZE - 100);
	expect_equal(SIZE, info_of(fd).size);
	fill(p, SIZE, 1);
	expect_errno(EINVAL, set_size(fd, SIZE));
	expect_undisturbed();
	unmap(p, SIZE);
	expect_errno(EINVAL, try_map(fd, SIZE + PAGE));
	expect_filled(map(fd, SIZE), SIZE, 1);
}

TEST("R7 a size that no machine has is ENOMEM")
{
	static const uint64_t sizes[] = { UINT64_C(1) << 46, UINT64_C(1) << 62, INT64_MAX };
	long pages = counter("pages_in_use");

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		fd = make_memfd(0);
		expect_errno(ENOMEM, create_ioctl((struct exmem_create){ .size = sizes[i], .name = "huge" }));
		expect_errno(ENOMEM, set_size(fd, sizes[i]));
		expect_errno(ENOMEM, ftruncate(fd, sizes[i]));
		expect_equal(0, info_of(fd).size);
		expect_ok(ftruncate(fd, PAGE));
	}
	expect_errno(ENOMEM, create_ioctl((struct exmem_create){ .size = UINT64_MAX, .name = "huge" }));
	expect_errno(ENOMEM, set_size(make_memfd(0), UINT64_MAX));
	expect_counter(pages, "pages_in_use");
}

TEST("R8 read and write on the descriptor are EINVAL")
{
	char buffer[16] = "";
	struct iovec iov = { buffer, sizeof(buffer) };

	begin_mapped();
	expect_errno(EINVAL, read(fd, buffer, sizeof(buffer)));
	expect_errno(EINVAL, write(fd, buffer, sizeof(buffer)));
	expect_errno(EINVAL, readv(fd, &iov, 1));
	expect_errno(EINVAL, writev(fd, &iov, 1));
	expect_undisturbed();
}

TEST("R8 pread and pwrite on the descriptor fail")
{
	char buffer[16] = "";
	int answer;

	begin_mapped();
	/* By how the file is made: it cannot be read, or it has no position. */
	answer = errno_of(pread(fd, buffer, sizeof(buffer), 0));
	check(answer == EINVAL || answer == ESPIPE, "pread: %s", errno_name(answer));
	answer = errno_of(pwrite(fd, buffer, sizeof(buffer), 0));
	check(answer == EINVAL || answer == ESPIPE, "pwrite: %s", errno_name(answer));
	expect_undisturbed();
}

TEST("R8 splice, sendfile and tee to and from the descriptor are EINVAL")
{
	int pipes[2], plain = expect_ok(memfd_create("plain", MFD_CLOEXEC));

	begin_mapped();
	expect_ok(pipe2(pipes, O_CLOEXEC | O_NONBLOCK));
	expect_errno(EINVAL, splice(fd, NULL, pipes[1], NULL, PAGE, 0));
	expect_equal(4, write(pipes[1], "text", 4));
	expect_errno(EINVAL, splice(pipes[0], NULL, fd, NULL, 4, 0));
	expect_errno(EINVAL, sendfile(plain, fd, NULL, PAGE));
	expect_ok(ftruncate(plain, PAGE));
	expect_errno(EINVAL, sendfile(fd, plain, NULL, PAGE));
	expect_errno(EINVAL, tee(fd, pipes[1], PAGE, 0));
	expect_undisturbed();
}

TEST("R8 copy_file_range to and from the descriptor fails")
{
	int plain = expect_ok(memfd_create("plain", MFD_CLOEXEC)), other = make_memfd(SIZE);
	loff_t zero = 0, to = 0;
	int answer;

	begin_mapped();
	expect_ok(ftruncate(plain, PAGE));
	expect_errno(EXDEV, copy_file_range(fd, &zero, plain, &to, PAGE, 0));
	expect_errno(EXDEV, copy_file_range(plain, &zero, fd, &to, PAGE, 0));
	/* Of one file system, and yet not to be copied. */
	answer = errno_of(copy_file_range(fd, &zero, other, &to, PAGE, 0));
	check(answer == EINVAL || answer == EXDEV, "%s", errno_name(answer));
	expect_undisturbed();
}

TEST("R8 fallocate on the descriptor is EOPNOTSUPP")
{
	begin_mapped();
	expect_errno(EOPNOTSUPP, fallocate(fd, 0, 0, 2 * SIZE));
	expect_errno(EOPNOTSUPP, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE));
	expect_errno(EOPNOTSUPP, fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, PAGE));
	expect_undisturbed();
}

TEST("R8 a device file cannot be read, written or spliced either")
{
	char buffer[16] = "";
	int pipes[2];

	fd = open_device();
	p = map(fd, SIZE);
	fill(p, SIZE, 1);
	expect_ok(pipe2(pipes, O_CLOEXEC | O_NONBLOCK));
	expect_errno(EINVAL, read(fd, buffer, sizeof(buffer)));
	expect_errno(EINVAL, write(fd, buffer, sizeof(buffer)));
	expect_errno(EINVAL, splice(fd, NULL, pipes[1], NULL, PAGE, 0));
	expect_errno(EINVAL, sendfile(pipes[1], fd, NULL, PAGE));
	expect_errno(ENODEV, fallocate(fd, 0, 0, SIZE));
	expect_undisturbed();
}

TEST("R8 opening a restricted memfd again through /proc/PID/fd is ENXIO")
{
	static const int flags[] = { O_RDWR, O_RDONLY, O_WRONLY, O_RDWR | O_TRUNC };
	char path[32];

	begin_mapped();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		expect_errno(ENXIO, open(path, flags[i] | O_CLOEXEC));
	expect_undisturbed();
	unmap(p, SIZE);
	expect_errno(ENXIO, open(path, O_RDWR | O_CLOEXEC));
	expect_errno(EINVAL, truncate(path, 2 * SIZE));
	expect_filled(map(fd, SIZE), SIZE, 1);
}

TEST("R8 opening a mapping's /proc/PID/map_files entry does not give the object")
{
	char path[64];
	int again;

	begin_mapped();
	snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx", (long)p, (long)(p + SIZE));
	again = open(path, O_RDWR | O_CLOEXEC);
	if (again < 0 && errno == ENOENT)
		skip("this kernel has no map_files");
	check(again < 0, "it opened");
	check(errno == ENXIO, "%s", errno_name(errno));
}

TEST("R8 opening a device file again through /proc/PID/fd gives another object")
{
	char path[32];
	int again;

	fd = open_device();
	p = map(fd, SIZE);
	fill(p, SIZE, 1);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	again = expect_ok(open(path, O_RDWR | O_CLOEXEC));
	expect_equal(0, info_of(again).size);
	expect_zero(map(again, SIZE), SIZE);
	expect_undisturbed();
}

TEST("R8 a mapping outlives its descriptor")
{
	long objects = counter("objects"), pages = counter("pages_in_use");

	begin_mapped();
	close(fd);
	expect_filled(p, SIZE, 1);
	fill(p, SIZE, 2);
	expect_filled(p, SIZE, 2);
	expect_counter(objects + 1, "objects");
	expect_errno(EINVAL, munmap(p, PAGE));
	unmap(p, SIZE);
	expect_counter_soon(objects, "objects");
	expect_counter_soon(pages, "pages_in_use");
}

TEST("R8 a descriptor open for reading only cannot be mapped for writing")
{
	fd = expect_ok(open(DEVICE, O_RDONLY | O_CLOEXEC));
	expect_errno(EACCES, try_map(fd, SIZE));
	expect_equal(0, info_of(fd).size);
	p = expect_ok(mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0));
	expect_zero(p, SIZE);
	expect_errno(EACCES, mprotect(p, SIZE, RW));
}

TEST("R8 lseek finds a restricted memfd's size")
{
	fd = make_memfd(SIZE);
	expect_equal(SIZE, lseek(fd, 0, SEEK_END));
	expect_equal(0, lseek(fd, 0, SEEK_SET));
}

TEST("R9 memory is zero when an object is new, whatever was in it before")
{
	for (int i = 0; i < 20; i++) {
		fd = make_memfd(16 * PAGE);
		p = map(fd, 16 * PAGE);
		expect_zero(p, 16 * PAGE);
		fill(p, 16 * PAGE, i);
		unmap(p, 16 * PAGE);
		if (i % 2)
			expect_ok(destroy(fd));
		close(fd);
	}
}
