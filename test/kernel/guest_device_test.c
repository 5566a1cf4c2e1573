// SPDX-License-Identifier: GPL-2.0
/* G1a: /dev/exclusive_guest, for programs that can only open and map a file. */
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#include "guest.h"
#include "process.h"
#include "system.h"
#include "view.h"

#define PAGES 8
#define SIZE (PAGES * PAGE)

static int fd;
static char *p;

TEST("G1a an open file is a guest object with host access, without a size")
{
	struct exmem_info info;

	fd = open_guest_device();
	info = info_of(fd);
	expect_equal(HOST_ACCESS, info.flags);
	expect_equal(0, info.size);
	expect_equal(0, info.resident);
	expect_equal(0, info.state & ~EXMEM_STATE_DIRECT_MAP_REMOVED);
}

TEST("G1a what Python's mmap does: fstat, and mmap with a length")
{
	struct stat stat;

	fd = open_guest_device();
	expect_ok(fstat(fd, &stat));
	check(S_ISCHR(stat.st_mode), "it is no character device");
	p = map(fd, SIZE);
	expect_equal(SIZE, info_of(fd).size);
	expect_zero(p, SIZE);
	fill(p, SIZE, 1);
	close(fd);
	expect_filled(p, SIZE, 1);
	check(holds(p, SIZE, 1), "the pages have other bytes");
	for (size_t offset = 0; offset < SIZE; offset += PAGE)
		check(is_out_of_direct_map(p + offset), "page %zu", offset / PAGE);
}

TEST("G1a what QEMU does: its end, a reserved place, a mapping there, advice, and a guard behind")
{
	static const size_t size = 8 * BLOCK;
	char *area;
	pid_t pid;

	fd = open_guest_device();
	expect_equal(0, lseek(fd, 0, SEEK_END));
	area = expect_ok(mmap(NULL, size + BLOCK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
	p = (char *)(((uintptr_t)area + BLOCK - 1) & -BLOCK);
	expect_equal((long)p, (long)mmap(p, size, RW, MAP_SHARED | MAP_FIXED, fd, 0));
	expect_equal(size, lseek(fd, 0, SEEK_END));
	if (p > area)
		unmap(area, p - area);
	/* Some of it may be refused, none may harm. */
	errno_of(madvise(p, size, MADV_MERGEABLE));
	errno_of(madvise(p, size, MADV_HUGEPAGE));
	errno_of(madvise(p, size, MADV_DODUMP));
	expect_ok(madvise(p, size, MADV_DONTFORK));
	close(fd);
	for (size_t offset = 0; offset < size; offset += PAGE)
		*(volatile uint64_t *)(p + offset) = offset;
	/* As it starts its helpers. */
	pid = start_child();
	if (!pid) {
		expect_signal(SIGSEGV, signal_of_load(p));
		succeed();
	}
	expect_success(pid);
	for (size_t offset = 0; offset < size; offset += PAGE)
		expect_equal(offset, *(volatile uint64_t *)(p + offset));
	unmap(p, size);
}

TEST("R7 G1a the size is that of the first mmap that worked")
{
	fd = open_guest_device();
	expect_errno(EINVAL, mmap(NULL, SIZE, RW, MAP_PRIVATE, fd, 0));
	expect_errno(EINVAL, mmap(NULL, SIZE, RW, MAP_SHARED, fd, PAGE));
	expect_errno(EACCES, mmap(NULL, SIZE, RWX, MAP_SHARED, fd, 0));
	expect_equal(0, info_of(fd).size);
	p = map(fd, SIZE - 100);
	expect_equal(SIZE, info_of(fd).size);
	expect_errno(EBUSY, try_map(fd, SIZE));
	unmap(p, SIZE);
	expect_errno(EINVAL, try_map(fd, 2 * SIZE));
	expect_errno(EINVAL, set_size(fd, SIZE));
	map(fd, SIZE);
}

TEST("R7 G1a EXMEM_SET_SIZE sets it before, once")
{
	fd = open_guest_device();
	expect_errno(EINVAL, set_size(fd, 0));
	expect_ok(set_size(fd, SIZE));
	expect_errno(EINVAL, set_size(fd, SIZE));
	expect_equal(SIZE, lseek(fd, 0, SEEK_END));
	expect_errno(EINVAL, try_map(fd, 2 * SIZE));
	populate_filled(fd, 0, SIZE, 2);
	expect_filled(map(fd, SIZE), SIZE, 2);
}

TEST("R7 G1a a size that no machine has is ENOMEM")
{
	fd = open_guest_device();
	expect_errno(ENOMEM, set_size(fd, UINT64_C(1) << 62));
	expect_errno(ENOMEM, try_map(fd, UINT64_C(1) << 46));
	expect_equal(0, info_of(fd).size);
	map(fd, PAGE);
}

TEST("G1a a first mmap with PROT_NONE sets the size too, and can become readable")
{
	fd = open_guest_device();
	p = map_none(fd, SIZE);
	expect_signal(SIGSEGV, signal_of_load(p));
	expect_ok(mprotect(p, SIZE, RW));
	fill(p, SIZE, 1);
	expect_filled(p, SIZE, 1);
}

TEST("G1a a descriptor open for reading only cannot be mapped for writing")
{
	fd = expect_ok(open(GUEST_DEVICE, O_RDONLY | O_CLOEXEC));
	expect_errno(EACCES, try_map(fd, SIZE));
	expect_equal(0, info_of(fd).size);
	p = expect_ok(mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0));
	expect_zero(p, SIZE);
	expect_errno(EACCES, mprotect(p, SIZE, RW));
}

TEST("ABI nor does it change the object: EACCES")
{
	char byte = 1;

	fd = expect_ok(open(GUEST_DEVICE, O_RDONLY | O_CLOEXEC));
	p = expect_ok(mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fd, 0));
	expect_errno(EACCES, populate(fd, 0, 1, &byte));
	expect_errno(EACCES, make_shared(fd, 0, PAGE));
	expect_errno(EACCES, seal(fd, EXMEM_STATE_CONTENT_SEALED));
	expect_errno(EACCES, bind_vm(fd, fd));
	expect_zero(p, SIZE);
	expect_equal(0, info_of(fd).shared);
}

TEST("G1a each open file is an object of its own")
{
	char *q;

	p = map(open_guest_device(), SIZE);
	fill(p, SIZE, 1);
	q = map(open_guest_device(), SIZE);
	expect_zero(q, SIZE);
	fill(q, SIZE, 2);
	expect_filled(p, SIZE, 1);
}

TEST("R8 G1a there is no ftruncate, fallocate, read or write")
{
	char buffer[16] = "";

	fd = open_guest_device();
	expect_errno(EINVAL, ftruncate(fd, SIZE));
	expect_errno(ENODEV, fallocate(fd, 0, 0, SIZE));
	expect_errno(EINVAL, read(fd, buffer, sizeof(buffer)));
	expect_errno(EINVAL, write(fd, buffer, sizeof(buffer)));
	expect_equal(0, info_of(fd).size);
}

TEST("ABI the calls of a guest object work on it, and need a size")
{
	char byte = 1;

	fd = open_guest_device();
	expect_errno(EINVAL, populate(fd, 0, 1, &byte));
	expect_errno(EINVAL, make_shared(fd, 0, PAGE));
	expect_ok(set_size(fd, SIZE));
	expect_equal(0, populate(fd, 0, 1, &byte));
	expect_ok(make_shared(fd, 0, PAGE));
	expect_equal(PAGE, info_of(fd).shared);
	expect_ok(seal(fd, EXMEM_STATE_CONTENT_SEALED | EXMEM_STATE_LAYOUT_SEALED));
	expect_errno(EPERM, populate(fd, 0, 1, &byte));
	expect_errno(EPERM, make_private(fd, 0, PAGE));
	expect_ok(destroy(fd));
	expect_errno(ENXIO, try_map(fd, SIZE));
}

TEST("ABI it says its version")
{
	expect_equal(EXMEM_API_VERSION, ioctl(open_guest_device(), EXMEM_GET_VERSION));
}

TEST("ABI the node is root's alone, as that of exclusive memory")
{
	struct stat guest, exclusive;
	pid_t pid;

	expect_ok(stat(GUEST_DEVICE, &guest));
	expect_ok(stat(DEVICE, &exclusive));
	expect_equal(exclusive.st_mode, guest.st_mode);
	expect_equal(S_IFCHR | 0600, guest.st_mode);
	expect_equal(0, guest.st_uid);
	check(guest.st_rdev != exclusive.st_rdev, "it is the same device");
	pid = start_child();
	if (!pid) {
		drop_privileges();
		expect_errno(EACCES, open(GUEST_DEVICE, O_RDWR | O_CLOEXEC));
		succeed();
	}
	expect_success(pid);
}

TEST("R3 G1a it can be handed over")
{
	int sockets[2];
	pid_t pid;

	make_socket_pair(sockets);
	pid = start_child();
	if (!pid) {
		fd = expect_ok(receive_fd(sockets[1]));
		expect_errno(EBUSY, try_map(fd, SIZE));
		expect_ok(wait_idle(fd, -1));
		expect_filled(map(fd, SIZE), SIZE, 3);
		succeed();
	}
	fd = open_guest_device();
	p = map(fd, SIZE);
	fill(p, SIZE, 3);
	expect_ok(send_fd(sockets[0], fd));
	sleep_ms(50);
	unmap(p, SIZE);
	expect_success(pid);
}

TEST("R16 G1a EXMEM_DESTROY takes the pages away")
{
	fd = open_guest_device();
	p = map(fd, SIZE);
	fill(p, SIZE, 1);
	expect_ok(destroy(fd));
	expect_signal(SIGBUS, signal_of_load(p));
	expect_signal(SIGBUS, signal_of_store(p + SIZE - 1));
	expect_equal(0, info_of(fd).resident);
}
