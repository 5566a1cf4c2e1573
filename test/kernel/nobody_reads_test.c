// SPDX-License-Identifier: GPL-2.0
/* R9, R10: who else might read or write the memory, and does not. */
#include <elf.h>
#include <limits.h>
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <linux/if_xdp.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "disk.h"
#include "guest.h"
#include "memory.h"
#include "process.h"
#include "system.h"
#include "test_module.h"

#define SIZE (8 * PAGE)
#define RW (PROT_READ | PROT_WRITE)

static int fd;
static char *p;

static void begin_mapped(void)
{
	fd = make_memfd(SIZE);
	p = map(fd, SIZE);
	fill(p, SIZE, 1);
}

#define expect_undisturbed() expect_filled(p, SIZE, 1)

/* Some calls can move a part of what was asked for; here they move nothing. */
static void expect_nothing_moved(const char *buffer, size_t size)
{
	check(!contains_piece(buffer, size, p, SIZE), "bytes of it were read");
}

/* ---- the process itself ---- */

TEST("R10 the process's own read and write work")
{
	char buffer[64] = "";
	int pipes[2];

	begin_mapped();
	expect_ok(pipe(pipes));
	expect_equal(64, write(pipes[1], p + 2 * PAGE - 32, 64));
	expect_equal(64, read(pipes[0], buffer, 64));
	check(!memcmp(buffer, p + 2 * PAGE - 32, 64), "other bytes");
	memset(buffer, 'b', sizeof(buffer));
	expect_equal(64, write(pipes[1], buffer, 64));
	expect_equal(64, read(pipes[0], p + PAGE - 32, 64));
	check(!memcmp(buffer, p + PAGE - 32, 64), "other bytes");
	expect_equal(16, getrandom(p, 16, 0));
	fill(p, SIZE, 1);
}

TEST("R10 the process's own futex works, a shared one is EFAULT")
{
	begin_mapped();
	expect_errno(EAGAIN, syscall(SYS_futex, p, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, ~*(uint32_t *)p, NULL, NULL, 0));
	expect_equal(0, syscall(SYS_futex, p, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0));
	expect_errno(EFAULT, syscall(SYS_futex, p, FUTEX_WAIT, ~*(uint32_t *)p, NULL, NULL, 0));
	expect_errno(EFAULT, syscall(SYS_futex, p, FUTEX_WAKE, 1, NULL, NULL, 0));
	expect_undisturbed();
}

/* ---- other processes, and this one by their means ---- */

static void expect_no_process_vm(pid_t pid)
{
	char buffer[64] = "";
	struct iovec local = { buffer, sizeof(buffer) };
	struct iovec remote = { p, sizeof(buffer) };
	struct iovec last = { p + SIZE - sizeof(buffer), sizeof(buffer) };

	expect_errno(EFAULT, process_vm_readv(pid, &local, 1, &remote, 1, 0));
	expect_errno(EFAULT, process_vm_writev(pid, &local, 1, &remote, 1, 0));
	expect_errno(EFAULT, process_vm_readv(pid, &local, 1, &last, 1, 0));
	expect_errno(EFAULT, process_vm_writev(pid, &local, 1, &last, 1, 0));
	check(is_zero(buffer, sizeof(buffer)), "bytes were read");
}

TEST("R10 process_vm_readv and process_vm_writev are EFAULT")
{
	pid_t pid, parent = getpid();

	begin_mapped();
	expect_no_process_vm(parent);
	pid = start_child();
	if (!pid) {
		expect_no_process_vm(parent);
		succeed();
	}
	expect_success(pid);
	expect_undisturbed();
}

TEST("R10 process_vm_readv stops where the memory begins")
{
	char *area = plain_memory(SIZE + PAGE), buffer[2 * PAGE];
	struct iovec local = { buffer, sizeof(buffer) }, remote = { area, sizeof(buffer) };

	begin_mapped();
	unmap(p, SIZE);
	p = expect_ok(mmap(area + PAGE, SIZE, RW, MAP_SHARED | MAP_FIXED, fd, 0));
	memset(buffer, 0, sizeof(buffer));
	memset(area, 'a', PAGE);
	expect_equal(PAGE, process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
	expect_zero(buffer + PAGE, PAGE);
	expect_undisturbed();
}

TEST("R10 process_vm_readv into the memory of the calling process works")
{
	char source[64];
	struct iovec local, remote = { source, sizeof(source) };

	begin_mapped();
	memset(source, 's', sizeof(source));
	local = (struct iovec){ p, sizeof(source) };
	expect_equal(sizeof(source), process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
	check(!memcmp(source, p, sizeof(source)), "other bytes");
}

/* A child that has it mapped, stopped under this process as its debugger. */
static pid_t start_traced(void)
{
	int status;
	pid_t pid = start_child();

	if (!pid) {
		begin_mapped();
		expect_ok(ptrace(PTRACE_TRACEME));
		raise(SIGSTOP);
		expect_undisturbed();
		succeed();
	}
	expect_equal(pid, waitpid(pid, &status, 0));
	check(WIFSTOPPED(status), "the child did not stop: status 0x%x", status);
	return pid;
}

/* Where a child that did the same as this process has it. */
static char *address_in(pid_t pid)
{
	char path[64], line[512];
	unsigned long begin = 0;
	FILE *maps;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	maps = fopen(path, "re");
	while (maps && fgets(line, sizeof(line), maps))
		if (strstr(line, "restricted_memfd"))
			sscanf(line, "%lx-", &begin);
	if (maps)
		fclose(maps);
	check(begin, "the child has no restricted memfd in %s", path);
	return (char *)begin;
}

TEST("R10 ptrace peeks and pokes are EIO")
{
	pid_t pid = start_traced();

	p = address_in(pid);
	for (size_t offset = 0; offset < SIZE; offset += SIZE - 8) {
		expect_errno(EIO, ptrace(PTRACE_PEEKDATA, pid, p + offset, NULL));
		expect_errno(EIO, ptrace(PTRACE_PEEKTEXT, pid, p + offset, NULL));
		expect_errno(EIO, ptrace(PTRACE_POKEDATA, pid, p + offset, (void *)1));
		expect_errno(EIO, ptrace(PTRACE_POKETEXT, pid, p + offset, (void *)1));
	}
	expect_ok(ptrace(PTRACE_CONT, pid, NULL, NULL));
	expect_success(pid);
}

static void expect_no_proc_mem(pid_t pid)
{
	char path[64], buffer[64] = "";
	int mem;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	mem = expect_ok(open(path, O_RDWR | O_CLOEXEC));
	expect_errno(EIO, pread(mem, buffer, sizeof(buffer), (uintptr_t)p));
	expect_errno(EIO, pwrite(mem, buffer, sizeof(buffer), (uintptr_t)p));
	expect_errno(EIO, pread(mem, buffer, sizeof(buffer), (uintptr_t)p + SIZE - sizeof(buffer)));
	check(is_zero(buffer, sizeof(buffer)), "bytes were read");
	close(mem);
}

TEST("R10 /proc/PID/mem is EIO, for a debugger and for the process itself")
{
	pid_t pid = start_traced();

	p = address_in(pid);
	expect_no_proc_mem(pid);
	expect_ok(ptrace(PTRACE_CONT, pid, NULL, NULL));
	expect_success(pid);
	begin_mapped();
	expect_no_proc_mem(getpid());
	expect_undisturbed();
}

/* ---- what takes pages ---- */

TEST("R10 vmsplice is EFAULT, as a gift and without")
{
	struct iovec iov;
	int pipes[2];

	begin_mapped();
	iov = (struct iovec){ p, 2 * PAGE };
	expect_ok(pipe2(pipes, O_NONBLOCK));
	expect_errno(EFAULT, vmsplice(pipes[1], &iov, 1, 0));
	expect_errno(EFAULT, vmsplice(pipes[1], &iov, 1, SPLICE_F_GIFT));
	expect_errno(EAGAIN, read(pipes[0], &iov, 1));
	expect_undisturbed();
}

static void expect_no_direct_io(int file)
{
	char *buffer = plain_memory(SIZE);

	/* The control: with other memory it works. */
	memset(buffer, 'd', SIZE);
	expect_equal(SIZE, pwrite(file, buffer, SIZE, 0));
	expect_equal(SIZE, pread(file, buffer, SIZE, 0));

	expect_errno(EFAULT, pwrite(file, p, PAGE, 0));
	expect_errno(EFAULT, pwrite(file, p, SIZE, 0));
	expect_errno(EFAULT, pread(file, p, PAGE, 0));
	expect_errno(EFAULT, pread(file, p, SIZE, 0));
	expect_undisturbed();
	expect_equal(SIZE, pread(file, buffer, SIZE, 0));
	expect_nothing_moved(buffer, SIZE);
	check(buffer[0] == 'd' && buffer[SIZE - 1] == 'd', "the file changed");
}

TEST("R10 O_DIRECT on a block device is EFAULT")
{
	char name[32];

	make_loop_device(1 << 20, name, NULL);
	begin_mapped();
	expect_no_direct_io(expect_ok(open(name, O_RDWR | O_DIRECT | O_CLOEXEC)));
}

TEST("R10 O_DIRECT on a file of ext4 is EFAULT")
{
	char name[32], directory[] = "/dev/shm/ext4-XXXXXX", path[64];
	int file;

	make_loop_device(16 << 20, name, NULL);
	if (run_program("mkfs.ext4", "-q", "-F", name))
		skip("mkfs.ext4 does not work");
	run_program("modprobe", "-q", "ext4");
	check(mkdtemp(directory), "mkdtemp: %s", errno_name(errno));
	if (errno_of(mount(name, directory, "ext4", 0, NULL)))
		skip("cannot mount ext4: %s", errno_name(errno));
	snprintf(path, sizeof(path), "%s/file", directory);
	file = expect_ok(open(path, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600));
	umount2(directory, MNT_DETACH);
	rmdir(directory);
	begin_mapped();
	expect_no_direct_io(file);
}

/* The result of one request, whichever way it comes. */
static long aio_result(int file, int opcode, void *buffer, size_t size)
{
	aio_context_t context = 0;
	struct iocb request = {
		.aio_lio_opcode = opcode, .aio_fildes = file,
		.aio_buf = (uintptr_t)buffer, .aio_nbytes = size,
	};
	struct iocb *requests[] = { &request };
	struct io_event event;
	long result;

	expect_ok(syscall(SYS_io_setup, 4, &context));
	if (syscall(SYS_io_submit, context, 1, requests) != 1) {
		result = -errno;
	} else {
		expect_equal(1, syscall(SYS_io_getevents, context, 1, 1, &event, NULL));
		result = event.res;
	}
	expect_ok(syscall(SYS_io_destroy, context));
	return result;
}

TEST("R10 asynchronous O_DIRECT is EFAULT")
{
	char name[32], *plain = plain_memory(PAGE);
	int file;

	make_loop_device(1 << 20, name, NULL);
	file = expect_ok(open(name, O_RDWR | O_DIRECT | O_CLOEXEC));
	begin_mapped();
	expect_equal(PAGE, aio_result(file, IOCB_CMD_PWRITE, plain, PAGE));
	expect_equal(-EFAULT, aio_result(file, IOCB_CMD_PWRITE, p, PAGE));
	expect_equal(-EFAULT, aio_result(file, IOCB_CMD_PREAD, p, PAGE));
	expect_equal(-EFAULT, aio_result(file, IOCB_CMD_PWRITE, p, SIZE));
	expect_undisturbed();
}

static int make_ring(void)
{
	struct io_uring_params parameters = { 0 };
	int ring = syscall(SYS_io_uring_setup, 4, &parameters);

	if (ring < 0)
		skip("no io_uring: %s", errno_name(errno));
	return ring;
}

TEST("R10 io_uring registered buffers are EFAULT")
{
	char *plain = plain_memory(SIZE);
	struct iovec good = { plain, SIZE }, bad, both[2];
	int ring = make_ring();

	begin_mapped();
	bad = (struct iovec){ p, SIZE };
	both[0] = good;
	both[1] = bad;
	expect_errno(EFAULT, syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &bad, 1));
	expect_errno(EFAULT, syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, both, 2));
	bad.iov_len = 1;
	expect_errno(EFAULT, syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &bad, 1));
	expect_ok(syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &good, 1));
	expect_undisturbed();
}

/* Sends over the loopback interface. */
static void make_connection(int sockets[2])
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	int listener = expect_ok(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));

	expect_ok(bind(listener, (struct sockaddr *)&address, sizeof(address)));
	expect_ok(listen(listener, 1));
	expect_ok(getsockname(listener, (struct sockaddr *)&address, &length));
	sockets[0] = expect_ok(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	expect_ok(connect(sockets[0], (struct sockaddr *)&address, sizeof(address)));
	sockets[1] = expect_ok(accept(listener, NULL, NULL));
	close(listener);
}

TEST("R10 a send with MSG_ZEROCOPY is EFAULT")
{
	char *plain = plain_memory(SIZE);
	int sockets[2], one = 1;

	make_connection(sockets);
	if (errno_of(setsockopt(sockets[0], SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one))))
		skip("no SO_ZEROCOPY: %s", errno_name(errno));
	begin_mapped();
	expect_equal(SIZE, send(sockets[0], plain, SIZE, MSG_ZEROCOPY));
	expect_equal(SIZE, recv(sockets[1], plain, SIZE, MSG_WAITALL));
	expect_errno(EFAULT, send(sockets[0], p, SIZE, MSG_ZEROCOPY));
	expect_errno(EAGAIN, recv(sockets[1], plain, SIZE, MSG_DONTWAIT));
	expect_undisturbed();
}

TEST("R10 AF_XDP memory is EFAULT")
{
	struct xdp_umem_reg region;
	int xdp = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (xdp < 0)
		skip("no AF_XDP: %s", errno_name(errno));
	begin_mapped();
	region = (struct xdp_umem_reg){ .addr = (uintptr_t)plain_memory(SIZE), .len = SIZE, .chunk_size = PAGE };
	expect_ok(setsockopt(xdp, SOL_XDP, XDP_UMEM_REG, &region, sizeof(region)));
	xdp = expect_ok(socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0));
	region.addr = (uintptr_t)p;
	expect_errno(EFAULT, setsockopt(xdp, SOL_XDP, XDP_UMEM_REG, &region, sizeof(region)));
	expect_undisturbed();
}

TEST("R10 userfaultfd does not take it")
{
	struct { uint64_t api, features, ioctls; } api = { .api = 0xAA };
	struct { uint64_t start, len, mode, ioctls; } range;
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC);

	if (uffd < 0)
		skip("no userfaultfd: %s", errno_name(errno));
	begin_mapped();
	expect_ok(ioctl(uffd, _IOWR(0xAA, 0x3F, api), &api));
	for (int mode = 1; mode <= 4; mode *= 2) {
		range.start = (uintptr_t)p;
		range.len = SIZE;
		range.mode = mode;
		expect_errno(EINVAL, ioctl(uffd, _IOWR(0xAA, 0x00, range), &range));
	}
	expect_undisturbed();
}

/* ---- never moved, merged or poisoned on demand ---- */

TEST("R10 move_pages does not move it")
{
	void *pages[2];
	int nodes[2] = { 0, 0 }, status[2] = { 99, 99 };
	uint64_t pfns[2];

	begin_mapped();
	for (int i = 0; i < 2; i++) {
		pages[i] = p + i * PAGE;
		pfns[i] = pfn_of(pages[i]);
	}
	if (errno_of(syscall(SYS_move_pages, 0, 2, pages, nodes, status, 2)) == ENOSYS)
		skip("this kernel does not move pages");
	for (int i = 0; i < 2; i++) {
		check(status[i] < 0, "page %d: status %d", i, status[i]);
		expect_equal(pfns[i], pfn_of(pages[i]));
	}
	expect_undisturbed();
}

TEST("R10 compaction and reclaim leave each page where it is")
{
	uint64_t pfns[SIZE / PAGE];

	begin_mapped();
	for (size_t i = 0; i < SIZE / PAGE; i++)
		pfns[i] = pfn_of(p + i * PAGE);
	write_text("/proc/sys/vm/compact_memory", "1");
	write_text("/proc/sys/vm/drop_caches", "3");
	write_text("/sys/fs/cgroup/memory.reclaim", "64M");
	for (size_t i = 0; i < SIZE / PAGE; i++)
		expect_equal(pfns[i], pfn_of(p + i * PAGE));
	expect_undisturbed();
}

TEST("R10 MADV_HWPOISON and MADV_SOFT_OFFLINE do not reach it")
{
	begin_mapped();
	for (int advice = MADV_HWPOISON; advice <= MADV_HWPOISON + 1; advice++) {
		int answer = errno_of(madvise(p, PAGE, advice));

		if (answer == EINVAL)
			skip("this kernel has no memory failures");
		expect_equal(EFAULT, answer);
	}
	expect_undisturbed();
}

/* ---- files that show memory ---- */

#define CORE "/dev/shm/exmem-core"

TEST("R10 a core dump has no page of it", .seconds = 120)
{
	char pattern[256];
	struct stat stat;
	char *core;
	char *copy = plain_memory(SIZE);
	pid_t pid;
	int file;

	snprintf(pattern, sizeof(pattern), "%s", read_text("/proc/sys/kernel/core_pattern"));
	if (!*pattern)
		skip("this kernel dumps no core");
	unlink(CORE);
	expect_ok(write_text("/proc/sys/kernel/core_pattern", CORE));
	fill(copy, SIZE, 5);	/* ordinary memory, which is in the dump */
	pid = start_child();
	if (!pid) {
		begin_mapped();
		madvise(p, SIZE, MADV_DODUMP);
		expect_ok(write_text("/proc/self/coredump_filter", "0xff"));
		expect_ok(setrlimit(RLIMIT_CORE, &(struct rlimit){ RLIM_INFINITY, RLIM_INFINITY }));
		raise(SIGSEGV);
	}
	expect_killed(SIGSEGV, pid);
	expect_ok(write_text("/proc/sys/kernel/core_pattern", pattern));

	file = expect_ok(open(CORE, O_RDONLY | O_CLOEXEC));
	expect_ok(fstat(file, &stat));
	core = expect_ok(mmap(NULL, stat.st_size, PROT_READ, MAP_PRIVATE, file, 0));
	unlink(CORE);
	check(contains_piece(core, stat.st_size, copy, PAGE), "the control is not in the dump of %ld bytes",
	      (long)stat.st_size);
	fill(copy, SIZE, 1);
	check(!contains_piece(core, stat.st_size, copy, SIZE), "it is in the dump");
}

/* Read a page by its place in the direct map; 0 if that is not to be had. */
static ssize_t read_kcore(uint64_t pfn, char *buffer)
{
	int file = open("/proc/kcore", O_RDONLY | O_CLOEXEC);
	Elf64_Ehdr header;
	ssize_t n = 0;

	if (file < 0)
		skip("no /proc/kcore: %s", errno_name(errno));
	expect_equal(sizeof(header), pread(file, &header, sizeof(header), 0));
	for (int i = 0; i < header.e_phnum; i++) {
		Elf64_Phdr segment;

		expect_equal(sizeof(segment), pread(file, &segment, sizeof(segment),
						    header.e_phoff + i * sizeof(segment)));
		if (segment.p_type != PT_LOAD || segment.p_paddr == (Elf64_Addr)-1 ||
		    pfn * PAGE < segment.p_paddr || pfn * PAGE + PAGE > segment.p_paddr + segment.p_memsz)
			continue;
		n = pread(file, buffer, PAGE, segment.p_offset + (pfn * PAGE - segment.p_paddr));
		break;
	}
	close(file);
	return n;
}

TEST("R10 /proc/kcore has no byte of it")
{
	char *control = plain_memory(PAGE), *buffer = plain_memory(PAGE);

	fill(control, PAGE, 5);
	if (read_kcore(pfn_of(control), buffer) <= 0)
		skip("/proc/kcore does not show physical memory");
	check(!memcmp(buffer, control, PAGE), "/proc/kcore shows other bytes than ordinary memory has");
	begin_mapped();
	for (size_t i = 0; i < SIZE / PAGE; i++) {
		memset(buffer, 0, PAGE);
		read_kcore(pfn_of(p + i * PAGE), buffer);
		expect_nothing_moved(buffer, PAGE);
	}
}

TEST("R10 /dev/mem has no byte of it")
{
	char *buffer = plain_memory(PAGE);
	int mem = open("/dev/mem", O_RDWR | O_CLOEXEC), answer;
	uint64_t pfn;
	void *q;

	if (mem < 0)
		skip("no /dev/mem: %s", errno_name(errno));
	begin_mapped();
	pfn = pfn_of(p);
	answer = errno_of(pread(mem, buffer, PAGE, pfn * PAGE));
	expect_nothing_moved(buffer, PAGE);
	check(answer == EPERM || answer == EFAULT, "pread: %s", errno_name(answer));
	answer = errno_of(pwrite(mem, buffer, PAGE, pfn * PAGE));
	check(answer == EPERM || answer == EFAULT, "pwrite: %s", errno_name(answer));
	q = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, mem, pfn * PAGE);
	if (q != MAP_FAILED)
		skip("this kernel maps all memory for root (no CONFIG_STRICT_DEVMEM)");
	expect_equal(EPERM, errno);
	expect_undisturbed();
}

/* ---- the kernel's own addresses ---- */

/* A page of a guest object has a page of zeros in its place. */
static void expect_removed(uint64_t pfn)
{
	if (!is_host_access())
		expect_equal(-EFAULT, read_page(pfn).direct_map);
	check(pfn_is_out_of_direct_map(pfn), "page 0x%llx is in the direct map", (unsigned long long)pfn);
}

TEST("R9 the direct map has no page of it, nor the kernel image")
{
	char *control = plain_memory(PAGE);
	struct page_reads reads;

	need_test_module();
	fill(control, PAGE, 5);
	reads = read_page(pfn_of(control));
	expect_equal(0, reads.direct_map);
	begin_mapped();
	for (size_t i = 0; i < SIZE / PAGE; i++) {
		uint64_t pfn = pfn_of(p + i * PAGE);

		check(pfn, "page %zu has no place in /proc/self/pagemap", i);
		expect_removed(pfn);
	}
	expect_equal(EXMEM_STATE_DIRECT_MAP_REMOVED, state_of(fd) & EXMEM_STATE_DIRECT_MAP_REMOVED);
}

TEST("R9 it stays out while nobody has it mapped, and the bytes stay")
{
	uint64_t pfn;

	need_test_module();
	begin_mapped();
	pfn = pfn_of(p + PAGE);
	unmap(p, SIZE);
	expect_removed(pfn);
	p = map(fd, SIZE);
	expect_equal(pfn, pfn_of(p + PAGE));
	expect_removed(pfn);
	expect_undisturbed();
}

TEST("R9 it is out before the first store, in a mapping that nobody has touched yet")
{
	need_test_module();
	fd = make_memfd(SIZE);
	p = map(fd, SIZE);
	for (size_t i = 0; i < SIZE / PAGE; i++) {
		uint64_t pfn = pfn_of(p + i * PAGE);

		if (pfn)
			expect_removed(pfn);
	}
	expect_signal(0, signal_of_store(p));
	expect_removed(pfn_of(p));
}

TEST("R9 what comes back to the direct map is zero")
{
	enum { TRIES = 8 };
	char *buffer = plain_memory(PAGE);
	uint64_t pfns[TRIES * 16];
	char *maps[TRIES];
	int fds[TRIES], back = 0;
	size_t n = 0;

	need_test_module();
	/* All of them, if the module may not keep blocks for the next object. */
	write_text("/sys/module/exclusive_memory/parameters/keep_blocks", "0");
	for (int i = 0; i < TRIES; i++) {
		fds[i] = make_memfd(BLOCK);
		maps[i] = map(fds[i], BLOCK);
		for (size_t offset = 0; offset < BLOCK; offset += SIZE)
			fill(maps[i] + offset, SIZE, 6);
		for (size_t page = 0; page < 16; page++)
			pfns[n++] = pfn_of(maps[i] + page * (BLOCK / 16));
	}
	for (int i = 0; i < TRIES; i++) {
		unmap(maps[i], BLOCK);
		expect_ok(destroy(fds[i]));
	}
	/* All had the same bytes, which are to be looked for. */
	fd = make_memfd(SIZE);
	p = map(fd, SIZE);
	fill(p, SIZE, 6);
	for (size_t i = 0; i < n; i++) {
		if (direct_map_pfn(pfns[i]) != pfns[i])
			continue;
		back++;
		if (read_kcore(pfns[i], buffer) > 0)
			check(!contains_piece(buffer, PAGE, p, SIZE),
			      "page 0x%llx has bytes of a former object", (unsigned long long)pfns[i]);
	}
	check(back, "none of %zu pages came back", n);
	diag("%d of %zu pages were back in the direct map", back, n);
}

TEST("R9 whole blocks and single pages alike")
{
	char *q;

	need_test_module();
	q = map(make_memfd(3 * BLOCK + 5 * PAGE), 3 * BLOCK + 5 * PAGE);
	for (size_t offset = 0; offset < 3 * BLOCK + 5 * PAGE; offset += 37 * PAGE) {
		expect_signal(0, signal_of_store(q + offset));
		expect_removed(pfn_of(q + offset));
	}
}
