// SPDX-License-Identifier: GPL-2.0
/* V1, V2, V4, V6: what a control file and a view fd refuse. */
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include "process.h"
#include "system.h"
#include "view.h"

#define PAGES 64
#define SIZE (PAGES * PAGE)

/* A view with some ranges of a memfd, mapped, and that it is as it was. */
static int view, file;
static char *p;

static void begin_ranges(void)
{
	view = make_view(SIZE);
	file = make_filled_file(16 * PAGE, 1);
	expect_ok(view_map(view, file, 0, 4 * PAGE, 8 * PAGE, VIEW_RW));
	expect_ok(view_map(view, file, 8 * PAGE, 4 * PAGE, 16 * PAGE, VIEW_R));
	p = map_view(view, 0, 0, RW);
	/* Each in the page table as well. */
	expect_signal(0, signal_of_store(p + 8 * PAGE));
	expect_signal(0, signal_of_load(p + 16 * PAGE));
}

static void expect_unchanged(void)
{
	expect_ranges(view, { 8, 4, 0, VIEW_RW }, { 16, 4, 8, VIEW_R });
	for (size_t page = 7; page <= 20; page++) {
		bool there = (page >= 8 && page < 12) || (page >= 16 && page < 20);
		int store = !there ? SIGBUS : page < 12 ? 0 : SIGSEGV;

		expect_signal(there ? 0 : SIGBUS, signal_of_load(p + page * PAGE));
		expect_signal(store, signal_of_store(p + page * PAGE));
	}
}

TEST("V1 the size is set once, to a multiple of the page size that is not 0")
{
	static const uint64_t bad[] = { 0, 1, PAGE - 1, PAGE + 1, SIZE + 512, UINT64_MAX, -PAGE, UINT64_C(1) << 63 };
	struct stat stat;

	view = open_control();
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		expect_errno(EINVAL, view_set_size(view, bad[i]));
	expect_ok(view_set_size(view, SIZE));
	expect_errno(EINVAL, view_set_size(view, SIZE));
	expect_errno(EINVAL, view_set_size(view, 2 * SIZE));
	expect_errno(EINVAL, view_set_size(view, PAGE));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		expect_errno(EINVAL, view_set_size(view, bad[i]));
	expect_ok(fstat(expect_ok(view_fd(view, 0)), &stat));
	expect_equal(SIZE, stat.st_size);
	check(S_ISREG(stat.st_mode), "its mode is %o", stat.st_mode);
}

TEST("V1 a view of 16 TiB costs no memory and works to its end")
{
	uint64_t size = 16 * TIB;
	long long before, after;

	file = make_filled_file(4 * PAGE, 1);
	before = field("/proc/meminfo", "MemFree");
	view = make_view(size);
	p = map_view(view, 0, 0, RW);
	after = field("/proc/meminfo", "MemFree");
	check(before - after < 16 << 10, "it took %lld KiB", before - after);
	expect_ok(view_map(view, file, 0, PAGE, 0, VIEW_RW));
	expect_ok(view_map(view, file, 0, 2 * PAGE, size / 2 - PAGE, VIEW_RW));
	expect_ok(view_map(view, file, 0, 4 * PAGE, size - 4 * PAGE, VIEW_RW));
	expect_filled(p, PAGE, 1);
	expect_filled(p + size / 2 - PAGE, 2 * PAGE, 1);
	expect_filled(p + size - 4 * PAGE, 4 * PAGE, 1);
	expect_signal(SIGBUS, signal_of_load(p + PAGE));
	expect_signal(SIGBUS, signal_of_load(p + size - 5 * PAGE));
	expect_ok(view_unmap(view, 0, size));
	expect_signal(SIGBUS, signal_of_load(p + size - PAGE));
	expect_no_ranges(view);
}

TEST("V1 nothing can be mapped before there is a size")
{
	view = open_control();
	file = make_file(SIZE);
	expect_errno(EINVAL, view_map(view, file, 0, PAGE, 0, VIEW_R));
	expect_errno(EINVAL, view_map_memory(view, p, PAGE, 0, VIEW_R));
	expect_errno(EINVAL, view_unmap(view, 0, PAGE));
	expect_errno(EINVAL, view_protect(view, 0, PAGE, VIEW_R));
	expect_errno(EINVAL, view_fd(view, 0));
	expect_no_ranges(view);
	expect_ok(view_sync(view));
	expect_ok(view_set_size(view, SIZE));
	expect_ok(view_map(view, file, 0, PAGE, 0, VIEW_R));
	expect_ranges(view, { 0, 1, 0, VIEW_R });
}

TEST("V2 what is not aligned to a page is EINVAL")
{
	begin_ranges();
	for (uint64_t off = 1; off < PAGE; off = off * 8 - 1) {
		expect_errno(EINVAL, view_map(view, file, off, PAGE, 0, VIEW_R));
		expect_errno(EINVAL, view_map(view, file, 0, off, 0, VIEW_R));
		expect_errno(EINVAL, view_map(view, file, 0, PAGE + off, 0, VIEW_R));
		expect_errno(EINVAL, view_map(view, file, 0, PAGE, off, VIEW_R));
		expect_errno(EINVAL, view_map_memory(view, p + off, PAGE, 0, VIEW_R));
		expect_errno(EINVAL, view_map_memory(view, p, PAGE + off, 0, VIEW_R));
		expect_errno(EINVAL, view_map_memory(view, p, PAGE, off, VIEW_R));
		expect_errno(EINVAL, view_unmap(view, 8 * PAGE + off, PAGE));
		expect_errno(EINVAL, view_unmap(view, 8 * PAGE, off));
		expect_errno(EINVAL, view_protect(view, 8 * PAGE + off, PAGE, VIEW_R));
		expect_errno(EINVAL, view_protect(view, 8 * PAGE, PAGE + off, VIEW_R));
	}
	expect_unchanged();
}

/* Ranges that are empty, or not inside the view. */
static const struct { uint64_t offset, size; } outside[] = {
	{ 0, 0 }, { 8 * PAGE, 0 }, { SIZE, 0 },
	{ SIZE, PAGE }, { SIZE - PAGE, 2 * PAGE }, { 0, SIZE + PAGE }, { 2 * SIZE, PAGE },
	{ 1 * TIB, PAGE }, { INT64_MAX - 4095, PAGE }, { -PAGE, PAGE }, { -PAGE, 2 * PAGE },
	{ -8 * PAGE, 20 * PAGE }, { 8 * PAGE, -PAGE }, { 8 * PAGE, -8 * PAGE }, { 16 * PAGE, -4 * PAGE },
	{ PAGE, UINT64_C(1) << 63 }, { UINT64_C(1) << 63, UINT64_C(1) << 63 },
};

TEST("V2 a range that is empty, or not inside the view, or that overflows, is EINVAL")
{
	begin_ranges();
	for (size_t i = 0; i < ARRAY_SIZE(outside); i++) {
		uint64_t offset = outside[i].offset, size = outside[i].size;

		expect_errno(EINVAL, view_map(view, file, 0, size, offset, VIEW_R));
		expect_errno(EINVAL, view_map(view, file, 0, size, offset, VIEW_R | MEMVIEW_MAP_REPLACE));
		expect_errno(EINVAL, view_map_memory(view, p, size, offset, VIEW_R));
		expect_errno(EINVAL, view_unmap(view, offset, size));
		expect_errno(EINVAL, view_protect(view, offset, size, VIEW_R));
		expect_errno(EINVAL, view_protect(view, offset, size, 0));
	}
	expect_unchanged();
}

TEST("V2 an offset in the source that overflows is EINVAL")
{
	begin_ranges();
	expect_errno(EINVAL, view_map(view, file, -PAGE, PAGE, 0, VIEW_R));
	expect_errno(EINVAL, view_map(view, file, -PAGE, 2 * PAGE, 0, VIEW_R));
	expect_errno(EINVAL, view_map(view, file, UINT64_C(1) << 63, PAGE, 0, VIEW_R));
	expect_errno(EINVAL, view_map(view, file, INT64_MAX - 4095, 2 * PAGE, 0, VIEW_R));
	expect_errno(EINVAL, view_map_memory(view, (void *)-PAGE, PAGE, 0, VIEW_R));
	expect_errno(EINVAL, view_map_memory(view, (void *)-PAGE, 2 * PAGE, 0, VIEW_R));
	expect_errno(EINVAL, view_map_memory(view, (void *)(UINTPTR_MAX / 2 + 1), PAGE, 0, VIEW_R));
	expect_unchanged();
}

TEST("V2 unknown flags, and flags that make no sense there, are EINVAL")
{
	begin_ranges();
	for (int bit = 0; bit < 32; bit++) {
		uint32_t flag = 1U << bit;

		if (bit >= 5) {
			expect_errno(EINVAL, view_map(view, file, 0, PAGE, 0, VIEW_R | flag));
			expect_errno(EINVAL, view_map_memory(view, p, PAGE, 0, VIEW_R | flag));
		}
		if (bit >= 3) {
			expect_errno(EINVAL, view_protect(view, 8 * PAGE, PAGE, VIEW_R | flag));
			expect_errno(EINVAL, view_fd(view, VIEW_R | (unsigned long)flag));
		}
		expect_errno(EINVAL, view_fd(view, VIEW_R | (unsigned long)flag << 32));
	}
	for (uint32_t flags = MEMVIEW_MAP_WRITE; flags < 8; flags += 2) {
		/* WRITE, EXEC and both, without READ */
		expect_errno(EINVAL, view_map(view, file, 0, PAGE, 0, flags));
		expect_errno(EINVAL, view_map_memory(view, p, PAGE, 0, flags));
		expect_errno(EINVAL, view_protect(view, 8 * PAGE, PAGE, flags));
		expect_errno(EINVAL, view_fd(view, flags));
	}
	expect_errno(EINVAL, view_map(view, file, 0, PAGE, 0, VIEW_R | MEMVIEW_MAP_YIELD));
	expect_errno(EINVAL, view_map_memory(view, p, PAGE, 0, VIEW_R | MEMVIEW_MAP_YIELD));
	expect_unchanged();
}

TEST("V2 reserved fields that are not zero are EINVAL")
{
	struct memview_protect protect = { .mem_offset = 8 * PAGE, .size = PAGE, .flags = VIEW_R, .reserved = 1 };
	struct memview_map_mem memory = { .size = PAGE, .flags = VIEW_R, .reserved = 1U << 31 };

	begin_ranges();
	memory.addr = (uintptr_t)p;
	expect_errno(EINVAL, ioctl(view, MEMVIEW_PROTECT, &protect));
	expect_errno(EINVAL, ioctl(view, MEMVIEW_MAP_MEM, &memory));
	expect_unchanged();
}

TEST("V2 a descriptor that is none is EBADF")
{
	int closed, path = expect_ok(open("/dev/shm", O_PATH | O_CLOEXEC));

	begin_ranges();
	closed = dup(file);
	close(closed);
	expect_errno(EBADF, view_map(view, -1, 0, PAGE, 0, VIEW_R));
	expect_errno(EBADF, view_map(view, closed, 0, PAGE, 0, VIEW_R));
	expect_errno(EBADF, view_map(view, INT32_MAX, 0, PAGE, 0, VIEW_R));
	expect_errno(EBADF, view_map(view, INT32_MIN, 0, PAGE, 0, VIEW_R));
	expect_errno(EBADF, view_map(view, path, 0, PAGE, 0, VIEW_R));
	expect_unchanged();
}

TEST("V2 what is not a regular file, or has no memory, is ENODEV")
{
	int pipes[2], sockets[2];

	begin_ranges();
	expect_ok(pipe(pipes));
	make_socket_pair(sockets);
	expect_errno(ENODEV, view_map(view, pipes[0], 0, PAGE, 0, VIEW_R));
	expect_errno(ENODEV, view_map(view, sockets[0], 0, PAGE, 0, VIEW_R));
	expect_errno(ENODEV, view_map(view, eventfd(0, 0), 0, PAGE, 0, VIEW_R));
	expect_errno(ENODEV, view_map(view, open("/dev/shm", O_RDONLY), 0, PAGE, 0, VIEW_R));
	expect_errno(ENODEV, view_map(view, open("/dev/null", O_RDWR), 0, PAGE, 0, VIEW_R));
	expect_errno(ENODEV, view_map(view, open("/dev/zero", O_RDWR), 0, PAGE, 0, VIEW_R));
	if (!access("/dev/mem", R_OK))
		expect_errno(ENODEV, view_map(view, open("/dev/mem", O_RDONLY), 0, PAGE, 0, VIEW_R));
	expect_errno(ENODEV, view_map(view, open("/proc/self/status", O_RDONLY), 0, PAGE, 0, VIEW_R));
	expect_errno(ENODEV, view_map(view, open("/sys/kernel/exclusive_memory/views", O_RDONLY), 0, PAGE, 0, VIEW_R));
	expect_unchanged();
}

TEST("V2 the descriptor must allow what the range allows, else EACCES")
{
	char path[32];
	int reader, writer;

	begin_ranges();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	reader = expect_ok(open(path, O_RDONLY | O_CLOEXEC));
	writer = expect_ok(open(path, O_WRONLY | O_CLOEXEC));
	expect_errno(EACCES, view_map(view, reader, 0, PAGE, 0, VIEW_RW));
	expect_errno(EACCES, view_map(view, reader, 0, PAGE, 0, VIEW_RWX));
	expect_errno(EACCES, view_map(view, writer, 0, PAGE, 0, VIEW_R));
	expect_errno(EACCES, view_map(view, writer, 0, PAGE, 0, VIEW_RW));
	/* Over what is there, too: it stays. */
	expect_errno(EACCES, view_map(view, reader, 0, PAGE, 8 * PAGE, VIEW_RW | MEMVIEW_MAP_REPLACE));
	expect_unchanged();
	expect_ok(view_map(view, reader, 0, PAGE, 0, VIEW_RX));
	expect_ok(view_unmap(view, 0, PAGE));
	expect_unchanged();
}

TEST("V3 PROTECT that would allow what the source's descriptor does not is EACCES, and changes nothing")
{
	char path[32];

	begin_ranges();
	snprintf(path, sizeof(path), "/proc/self/fd/%d", file);
	expect_ok(view_map(view, expect_ok(open(path, O_RDONLY | O_CLOEXEC)), 0, PAGE, 24 * PAGE, VIEW_R));
	/* The ranges before it would do. */
	expect_errno(EACCES, view_protect(view, 0, SIZE, VIEW_RW));
	expect_errno(EACCES, view_protect(view, 24 * PAGE, PAGE, VIEW_RW));
	expect_ranges(view, { 8, 4, 0, VIEW_RW }, { 16, 4, 8, VIEW_R }, { 24, 1, 0, VIEW_R });
	expect_ok(view_protect(view, 24 * PAGE, PAGE, VIEW_RX));
	expect_ok(view_protect(view, 24 * PAGE, PAGE, VIEW_R));
	expect_ok(view_unmap(view, 24 * PAGE, PAGE));
	expect_unchanged();
}

TEST("V6 a view fd or a control file, of this view or another, is ELOOP")
{
	int other = make_view(SIZE);

	begin_ranges();
	expect_errno(ELOOP, view_map(view, view, 0, PAGE, 0, VIEW_R));
	expect_errno(ELOOP, view_map(view, expect_ok(view_fd(view, 0)), 0, PAGE, 0, VIEW_R));
	expect_errno(ELOOP, view_map(view, expect_ok(view_fd(view, VIEW_R)), 0, PAGE, 0, VIEW_R));
	expect_errno(ELOOP, view_map(view, other, 0, PAGE, 0, VIEW_R));
	expect_errno(ELOOP, view_map(view, expect_ok(view_fd(other, 0)), 0, PAGE, 0, VIEW_RW));
	expect_errno(ELOOP, view_map(view, open_control(), 0, PAGE, 0, VIEW_R));
	expect_unchanged();
}

TEST("V4 GET_VIEWFD takes a cap or none, and gives each time another descriptor of the same inode")
{
	static const unsigned long caps[] = { 0, VIEW_R, VIEW_RW, VIEW_RX, VIEW_RWX };
	struct stat first, stat;

	begin_ranges();
	expect_ok(fstat(expect_ok(view_fd(view, 0)), &first));
	for (size_t i = 0; i < ARRAY_SIZE(caps); i++) {
		expect_ok(fstat(expect_ok(view_fd(view, caps[i])), &stat));
		expect_equal(SIZE, stat.st_size);
	}
	expect_unchanged();
}

TEST("V4 each ioctl on a view fd is ENOTTY")
{
	static char argument[16384];
	int fd;

	begin_ranges();
	fd = expect_ok(view_fd(view, 0));
	for (unsigned int nr = 0; nr < 256; nr++)
		for (unsigned int direction = 0; direction < 4; direction++) {
			expect_errno(ENOTTY, ioctl(fd, _IOC(direction, EXMEM_IOC_MAGIC, nr, 0), argument));
			expect_errno(ENOTTY, ioctl(fd, _IOC(direction, EXMEM_IOC_MAGIC, nr, 8), argument));
			expect_errno(ENOTTY, ioctl(fd, _IOC(direction, EXMEM_IOC_MAGIC, nr, 16), argument));
			expect_errno(ENOTTY, ioctl(fd, _IOC(direction, EXMEM_IOC_MAGIC, nr, 32), argument));
		}
	expect_errno(ENOTTY, ioctl(fd, 0x5401 /* TCGETS */, argument));
	expect_unchanged();
}

TEST("V4 a view fd cannot be read, written, truncated or opened again")
{
	char byte = 0, path[32];
	int fd, pipes[2], answer;

	begin_ranges();
	fd = expect_ok(view_fd(view, 0));
	expect_ok(pipe2(pipes, O_NONBLOCK));
	expect_equal(1, write(pipes[1], "x", 1));
	expect_errno(EINVAL, read(fd, &byte, 1));
	expect_errno(EINVAL, write(fd, &byte, 1));
	/* As for a restricted memfd, either may come first. */
	answer = errno_of(pread(fd, &byte, 1, 0));
	check(answer == EINVAL || answer == ESPIPE, "pread: %s", errno_name(answer));
	answer = errno_of(pwrite(fd, &byte, 1, 0));
	check(answer == EINVAL || answer == ESPIPE, "pwrite: %s", errno_name(answer));
	expect_errno(EINVAL, splice(fd, NULL, pipes[1], NULL, PAGE, 0));
	expect_errno(EINVAL, splice(pipes[0], NULL, fd, NULL, 1, 0));
	expect_errno(EINVAL, sendfile(file, fd, NULL, PAGE));
	expect_errno(EOPNOTSUPP, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE));
	expect_errno(EOPNOTSUPP, fallocate(fd, 0, 0, 2 * SIZE));
	expect_errno(EINVAL, ftruncate(fd, 0));
	expect_errno(EINVAL, ftruncate(fd, SIZE));
	expect_errno(EINVAL, ftruncate(fd, 2 * SIZE));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	expect_errno(EINVAL, truncate(path, 2 * SIZE));
	expect_errno(ENXIO, open(path, O_RDWR));
	expect_errno(ENXIO, open(path, O_RDONLY));
	expect_unchanged();
}

TEST("V4 an mmap of a view fd that is private, or not inside the view, is EINVAL")
{
	int fd;

	begin_ranges();
	fd = expect_ok(view_fd(view, 0));
	expect_errno(EINVAL, mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, fd, 0));
	expect_errno(EINVAL, mmap(NULL, SIZE, RW, MAP_PRIVATE, fd, 0));
	expect_errno(EINVAL, mmap(NULL, SIZE + PAGE, RW, MAP_SHARED, fd, 0));
	expect_errno(EINVAL, mmap(NULL, SIZE, RW, MAP_SHARED, fd, PAGE));
	expect_errno(EINVAL, mmap(NULL, PAGE, RW, MAP_SHARED, fd, SIZE));
	expect_errno(EINVAL, mmap(NULL, PAGE, RW, MAP_SHARED, fd, 1 * TIB));
	expect_errno(EINVAL, mmap(NULL, 2 * PAGE, RW, MAP_SHARED, fd, SIZE - PAGE));
	expect_unchanged();
}

TEST("V4 a control file cannot be mapped, read or written, and is no object")
{
	struct exmem_info info;
	char byte = 0;

	begin_ranges();
	expect_errno(ENODEV, mmap(NULL, SIZE, PROT_READ, MAP_SHARED, view, 0));
	expect_errno(EINVAL, read(view, &byte, 1));
	expect_errno(EINVAL, write(view, &byte, 1));
	expect_errno(EINVAL, ftruncate(view, SIZE));
	expect_errno(ENOTTY, ioctl(view, EXMEM_GET_VERSION));
	expect_errno(ENOTTY, ioctl(view, EXMEM_GET_INFO, &info));
	expect_errno(ENOTTY, ioctl(view, EXMEM_DESTROY));
	expect_errno(ENOTTY, ioctl(view, _IO(EXMEM_IOC_MAGIC, 0x28)));
	expect_errno(ENOTTY, ioctl(view, _IO(EXMEM_IOC_MAGIC, 0xff)));
	expect_errno(ENOTTY, ioctl(view, 0x5401 /* TCGETS */));
	expect_unchanged();
}

TEST("V4 an exclusive memory object is no view")
{
	struct memview_get_ranges get = { 0 };
	int fds[] = { open_device(), make_memfd(SIZE) };

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		expect_errno(ENOTTY, view_set_size(fds[i], SIZE));
		expect_errno(ENOTTY, view_map(fds[i], fds[0], 0, PAGE, 0, VIEW_R));
		expect_errno(ENOTTY, view_unmap(fds[i], 0, PAGE));
		expect_errno(ENOTTY, view_fd(fds[i], 0));
		expect_errno(ENOTTY, ioctl(fds[i], MEMVIEW_GET_RANGES, &get));
		expect_errno(ENOTTY, view_sync(fds[i]));
	}
}

/* ---- arguments ---- */

/* Each ioctl that takes a structure, with one that works. */
static struct memview_map_fd_info map_fd_info = { .size = PAGE, .mem_offset = 40 * PAGE, .flags = VIEW_R };
static struct memview_map_mem map_mem = { .size = PAGE, .mem_offset = 41 * PAGE, .flags = VIEW_R };
static struct memview_protect protect = { .mem_offset = 40 * PAGE, .size = PAGE };
static struct memview_unmap unmap_both = { .mem_offset = 40 * PAGE, .size = 2 * PAGE };
static struct memview_get_ranges get_ranges;

static const struct {
	const char *name;
	unsigned long command;
	const void *argument;
	size_t size;
} methods[] = {
	{ "MAP_FD", MEMVIEW_MAP_FD, &map_fd_info, sizeof(map_fd_info) },
	{ "MAP_MEM", MEMVIEW_MAP_MEM, &map_mem, sizeof(map_mem) },
	{ "PROTECT", MEMVIEW_PROTECT, &protect, sizeof(protect) },
	{ "UNMAP_FD", MEMVIEW_UNMAP_FD, &unmap_both, sizeof(unmap_both) },
	{ "GET_RANGES", MEMVIEW_GET_RANGES, &get_ranges, sizeof(get_ranges) },
};

static void begin_methods(void)
{
	begin_ranges();
	map_fd_info.fd = file;
	map_mem.addr = (uintptr_t)expect_ok(mmap(NULL, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

TEST("V2 a pointer to nowhere is EFAULT")
{
	char *end = expect_ok(mmap(NULL, 2 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) + PAGE;
	int unsized = open_control();

	begin_methods();
	expect_ok(munmap(end, PAGE));
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		memcpy(end - 8, methods[i].argument, 8);
		expect_errno(EFAULT, ioctl(view, methods[i].command, NULL));
		expect_errno(EFAULT, ioctl(view, methods[i].command, end));
		expect_errno(EFAULT, ioctl(view, methods[i].command, end - 8));
		expect_errno(EFAULT, ioctl(view, methods[i].command, -8L));
		expect_errno(EFAULT, ioctl(unsized, methods[i].command, NULL));
	}
	expect_errno(EFAULT, ioctl(unsized, MEMVIEW_SET_SIZE, NULL));
	expect_errno(EFAULT, ioctl(unsized, MEMVIEW_SET_SIZE, end - 4));
	expect_ok(view_set_size(unsized, PAGE));
	expect_unchanged();
}

/* The command with the size of another structure. */
static unsigned long resized(unsigned long command, size_t size)
{
	return (command & ~((unsigned long)_IOC_SIZEMASK << _IOC_SIZESHIFT)) | size << _IOC_SIZESHIFT;
}

TEST("V2 a longer structure works if the rest is zero, and is E2BIG otherwise")
{
	unsigned char longer[256];

	begin_methods();
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		size_t size = methods[i].size;

		for (size_t more = 1; size + more <= sizeof(longer); more = more * 3 + 1)
			for (size_t at = 0; at < more; at += more - 1 ?: 1) {
				memset(longer, 0, sizeof(longer));
				memcpy(longer, methods[i].argument, size);
				longer[size + at] = 1;
				expect_errno(E2BIG, ioctl(view, resized(methods[i].command, size + more), longer));
			}
		memset(longer, 0, sizeof(longer));
		memcpy(longer, methods[i].argument, size);
		if (ioctl(view, resized(methods[i].command, sizeof(longer)), longer))
			fail("%s, longer: %s", methods[i].name, errno_name(errno));
		check(is_zero(longer + size, 8), "%s wrote behind its structure", methods[i].name);
	}
	expect_unchanged();
}

TEST("V2 a shorter structure is EINVAL")
{
	begin_methods();
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
		for (size_t size = 0; size < methods[i].size; size += 4)
			expect_errno(EINVAL, ioctl(view, resized(methods[i].command, size), methods[i].argument));
	expect_unchanged();
}
