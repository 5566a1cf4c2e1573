// SPDX-License-Identifier: GPL-2.0
/*
 * R5: no mremap at all. A move of the whole is EBUSY: it would be a second
 * mapping, if only for a moment. The kernel itself refuses the others.
 */
#include <signal.h>
#include <string.h>

#include "memory.h"
#include "system.h"

#define SIZE (8 * PAGE)
#define RW (PROT_READ | PROT_WRITE)

static int fd;
static char *p;
static long locked;

static long locked_kib(void)
{
	return field("/proc/self/status", "VmLck");
}

static void begin_mapped(void)
{
	fd = make_memfd(SIZE);
	p = map(fd, SIZE);
	fill(p, SIZE, 1);
	locked = locked_kib();
}

static void expect_undisturbed(void)
{
	expect_filled(p, SIZE, 1);
	expect_signal(0, signal_of_store(p));
	expect_signal(0, signal_of_store(p + SIZE - 1));
	expect_errno(EBUSY, try_map(fd, SIZE));
	expect_equal(EXMEM_STATE_MAPPED, state_of(fd) & EXMEM_STATE_MAPPED);
	expect_errno(EINVAL, munmap(p, PAGE));
	expect_equal(locked, locked_kib());
	unmap(p, SIZE);
	expect_filled(map(fd, SIZE), SIZE, 1);
}

/* Another mapping of this process, which may be in the way. */
static char *other_mapping(size_t size)
{
	char *other = expect_ok(mmap(NULL, size, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

	fill(other, size, 2);
	return other;
}

TEST("R5 growing is EFAULT, with and without MREMAP_MAYMOVE")
{
	begin_mapped();
	expect_errno(EFAULT, mremap(p, SIZE, SIZE + PAGE, 0));
	expect_errno(EFAULT, mremap(p, SIZE, 2 * SIZE, MREMAP_MAYMOVE));
	expect_errno(EFAULT, mremap(p, SIZE, 512 * SIZE, MREMAP_MAYMOVE));
	expect_undisturbed();
}

TEST("R5 shrinking is EINVAL")
{
	begin_mapped();
	expect_errno(EINVAL, mremap(p, SIZE, SIZE - PAGE, 0));
	expect_errno(EINVAL, mremap(p, SIZE, PAGE, MREMAP_MAYMOVE));
	expect_undisturbed();
}

TEST("R5 mremap to the same size in the same place is a no-op")
{
	begin_mapped();
	expect_equal((uintptr_t)p, (uintptr_t)expect_ok(mremap(p, SIZE, SIZE, 0)));
	expect_equal((uintptr_t)p, (uintptr_t)expect_ok(mremap(p, SIZE, SIZE, MREMAP_MAYMOVE)));
	expect_undisturbed();
}

TEST("R5 MREMAP_FIXED to a free place is EBUSY")
{
	char *place = other_mapping(SIZE);

	unmap(place, SIZE);
	begin_mapped();
	if (p == place)
		place -= 16 * SIZE;
	expect_errno(EBUSY, mremap(p, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, place));
	expect_undisturbed();
}

TEST("R5 MREMAP_FIXED onto another mapping is EBUSY")
{
	char *other = other_mapping(3 * SIZE);

	begin_mapped();
	expect_errno(EBUSY, mremap(p, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, other + SIZE));
	/* The kernel unmaps what is there before it asks; what is around it stays. */
	expect_signal(0, signal_of_load(other + SIZE - 1));
	expect_signal(0, signal_of_load(other + 2 * SIZE));
	expect_undisturbed();
}

TEST("R5 MREMAP_FIXED onto another object's mapping fails")
{
	int other_fd = make_memfd(SIZE);
	char *other = map(other_fd, SIZE);

	fill(other, SIZE, 3);
	begin_mapped();
	expect_errno(EBUSY, mremap(p, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, other));
	/* The kernel unmaps what is there before it asks. */
	if (state_of(other_fd) & EXMEM_STATE_MAPPED) {
		expect_filled(other, SIZE, 3);
	} else {
		expect_signal(SIGSEGV, signal_of_load(other));
		expect_filled(map(other_fd, SIZE), SIZE, 3);
	}
	expect_undisturbed();
}

TEST("R5 MREMAP_FIXED onto itself is EINVAL")
{
	begin_mapped();
	expect_errno(EINVAL, mremap(p, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, p));
	expect_errno(EINVAL, mremap(p, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, p + PAGE));
	expect_undisturbed();
}

TEST("R5 another mapping moved onto a part of it fails")
{
	char *other = other_mapping(PAGE);

	begin_mapped();
	expect_errno(EINVAL, mremap(other, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p + PAGE));
	expect_filled(other, PAGE, 2);
	expect_undisturbed();
}

TEST("R5 moving a part is EINVAL")
{
	char *place = other_mapping(SIZE);

	begin_mapped();
	expect_errno(EINVAL, mremap(p, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place));
	expect_errno(EINVAL, mremap(p + PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place + 2 * PAGE));
	expect_errno(EINVAL, mremap(p + SIZE - PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place + 4 * PAGE));
	expect_undisturbed();
}

TEST("R5 growing a part is EFAULT")
{
	begin_mapped();
	expect_errno(EFAULT, mremap(p, PAGE, 2 * PAGE, MREMAP_MAYMOVE));
	expect_errno(EFAULT, mremap(p + SIZE - PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE));
	expect_undisturbed();
}

TEST("R5 moving and growing with MREMAP_FIXED fails")
{
	char *place = other_mapping(2 * SIZE);

	begin_mapped();
	expect_errno(EFAULT, mremap(p, SIZE, 2 * SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, place));
	expect_undisturbed();
}

TEST("R5 MREMAP_DONTUNMAP is EINVAL")
{
	char *place = other_mapping(SIZE);

	begin_mapped();
	expect_errno(EINVAL, mremap(p, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP));
	expect_errno(EINVAL, mremap(p, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP | MREMAP_FIXED, place));
	expect_errno(EINVAL, mremap(p, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP));
	expect_undisturbed();
}

TEST("R5 duplication by an old size of 0 is EFAULT")
{
	char *place = other_mapping(SIZE);

	begin_mapped();
	expect_errno(EFAULT, mremap(p, 0, SIZE, MREMAP_MAYMOVE));
	expect_errno(EFAULT, mremap(p, 0, PAGE, MREMAP_MAYMOVE));
	expect_errno(EFAULT, mremap(p, 0, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, place));
	expect_errno(EFAULT, mremap(p + PAGE, 0, PAGE, MREMAP_MAYMOVE));
	expect_undisturbed();
}

TEST("R5 nor can a PROT_NONE mapping be moved, or one whose descriptor is closed")
{
	char *place = other_mapping(SIZE);

	begin_mapped();
	close(fd);
	expect_errno(EBUSY, mremap(p, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, place));
	expect_errno(EFAULT, mremap(p, 0, SIZE, MREMAP_MAYMOVE));
	expect_filled(p, SIZE, 1);
	expect_ok(mprotect(p, SIZE, PROT_NONE));
	expect_errno(EBUSY, mremap(p, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, place));
	expect_ok(mprotect(p, SIZE, PROT_READ));
	expect_filled(p, SIZE, 1);
}

TEST("R5 moving the mapping of whole blocks fails as well")
{
	size_t size = 2 * BLOCK;
	int blocks = make_memfd(size);
	char *q = map(blocks, size), *area = other_mapping(3 * BLOCK);
	char *place = (char *)(((uintptr_t)area + BLOCK - 1) & ~(BLOCK - 1));

	fill(q, size, 4);
	expect_errno(EBUSY, mremap(q, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, place));
	expect_filled(q, size, 4);
	expect_errno(EINVAL, mremap(q, size, BLOCK, 0));
	expect_filled(q, size, 4);
	expect_errno(EBUSY, try_map(blocks, size));
}
