// SPDX-License-Identifier: GPL-2.0
/* G1, R9, R10: no system call, device or file of the monitor's reaches guest memory. */
#include <linux/aio_abi.h>
#include <linux/futex.h>
#include <linux/if_xdp.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "disk.h"
#include "guest.h"
#include "process.h"
#include "system.h"
#include "test_module.h"

#define SIZE (8 * PAGE)

static int fd;
static char *p;
static char *copy;	/* of its bytes, in ordinary memory */

static void begin_mapped(void)
{
	copy = plain_memory(SIZE);
	fill(copy, SIZE, 1);
	fd = make_memfd_flags(SIZE, GUEST);
	expect_equal(0, populate(fd, 0, SIZE, copy));
	p = map_none(fd, SIZE);
}

static void expect_undisturbed(void)
{
	check(holds(p, SIZE, 1), "the bytes changed");
	expect_signal(SIGSEGV, signal_of_load(p));
}

static void expect_nothing_of_it(const char *buffer, size_t size)
{
	check(!contains_piece(buffer, size, copy, SIZE), "bytes of it were read");
}

/* ---- the monitor's own system calls ---- */

TEST("G1 read and write are EFAULT, by a pipe, a socket, a file and /dev/zero")
{
	int pipes[2], sockets[2], file = expect_ok(memfd_create("plain", MFD_CLOEXEC));
	int zero = expect_ok(open("/dev/zero", O_RDWR | O_CLOEXEC));
	char buffer[64] = "";
	struct iovec iov;

	begin_mapped();
	iov = (struct iovec){ p + PAGE - 32, 64 };
	expect_ok(pipe2(pipes, O_NONBLOCK | O_CLOEXEC));
	make_socket_pair(sockets);
	expect_errno(EFAULT, write(pipes[1], p, 64));
	expect_errno(EFAULT, write(pipes[1], p + SIZE - 1, 1));
	expect_errno(EFAULT, writev(pipes[1], &iov, 1));
	expect_errno(EFAULT, send(sockets[0], p, 64, 0));
	expect_errno(EFAULT, write(file, p, PAGE));
	expect_errno(EAGAIN, read(pipes[0], buffer, 1));
	expect_errno(EAGAIN, recv(sockets[1], buffer, 1, MSG_DONTWAIT));
	expect_equal(0, lseek(file, 0, SEEK_END));

	expect_equal(64, write(pipes[1], buffer, 64));
	expect_errno(EFAULT, read(pipes[0], p, 64));
	expect_equal(64, send(sockets[0], buffer, 64, 0));
	expect_errno(EFAULT, recv(sockets[1], p, 64, 0));
	expect_errno(EFAULT, read(zero, p, PAGE));
	expect_errno(EFAULT, getrandom(p, 16, 0));
	expect_undisturbed();
}

TEST("G1 a write that begins before it stops there")
{
	char *area = plain_memory(SIZE + PAGE), buffer[2 * PAGE];
	int pipes[2];

	begin_mapped();
	unmap(p, SIZE);
	p = expect_ok(mmap(area + PAGE, SIZE, PROT_NONE, MAP_SHARED | MAP_FIXED, fd, 0));
	memset(area, 'a', PAGE);
	expect_ok(pipe2(pipes, O_NONBLOCK | O_CLOEXEC));
	check(write(pipes[1], area + PAGE - 64, 128) <= 64, "more than what is before it");
	memset(buffer, 0, sizeof(buffer));
	(void)!read(pipes[0], buffer, sizeof(buffer));
	expect_nothing_of_it(buffer, sizeof(buffer));
	expect_undisturbed();
}

TEST("G1 structures, paths and strings there are EFAULT")
{
	begin_mapped();
	expect_errno(EFAULT, open(p, O_RDONLY));
	expect_errno(EFAULT, syscall(SYS_newfstatat, AT_FDCWD, "/", p, 0));
	expect_errno(EFAULT, ioctl(fd, EXMEM_GET_INFO, p));
	expect_errno(EFAULT, syscall(SYS_rt_sigaction, SIGUSR1, p, NULL, 8));
	expect_errno(EFAULT, syscall(SYS_clock_gettime, CLOCK_MONOTONIC, p));
	expect_errno(EFAULT, syscall(SYS_getcwd, p, PAGE));
	expect_undisturbed();
}

TEST("G1 a futex there is EFAULT, private and shared")
{
	begin_mapped();
	expect_errno(EFAULT, syscall(SYS_futex, p, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, NULL, NULL, 0));
	expect_errno(EFAULT, syscall(SYS_futex, p, FUTEX_WAIT, 0, NULL, NULL, 0));
	expect_errno(EFAULT, syscall(SYS_futex, p, FUTEX_WAKE, 1, NULL, NULL, 0));
	expect_errno(EFAULT, syscall(SYS_futex, p, FUTEX_LOCK_PI, 0, NULL, NULL, 0));
	expect_undisturbed();
}

TEST("G1 R10 process_vm_readv and process_vm_writev are EFAULT, on either side")
{
	char buffer[64] = "";
	struct iovec plain = { buffer, sizeof(buffer) }, there;
	pid_t pid, parent = getpid();

	begin_mapped();
	there = (struct iovec){ p, sizeof(buffer) };
	expect_errno(EFAULT, process_vm_readv(parent, &plain, 1, &there, 1, 0));
	expect_errno(EFAULT, process_vm_writev(parent, &plain, 1, &there, 1, 0));
	expect_errno(EFAULT, process_vm_readv(parent, &there, 1, &plain, 1, 0));
	expect_errno(EFAULT, process_vm_writev(parent, &there, 1, &plain, 1, 0));
	pid = start_child();
	if (!pid) {
		expect_errno(EFAULT, process_vm_readv(parent, &plain, 1, &there, 1, 0));
		expect_errno(EFAULT, process_vm_writev(parent, &plain, 1, &there, 1, 0));
		succeed();
	}
	expect_success(pid);
	expect_zero(buffer, sizeof(buffer));
	expect_undisturbed();
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
	expect_zero(buffer, sizeof(buffer));
	close(mem);
}

TEST("G1 R10 ptrace and /proc/PID/mem are EIO, for a debugger and for the process itself")
{
	char **shared = expect_ok(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	int status;
	pid_t pid = start_child();

	if (!pid) {
		begin_mapped();
		*shared = p;
		expect_no_proc_mem(getpid());
		expect_ok(ptrace(PTRACE_TRACEME));
		raise(SIGSTOP);
		expect_undisturbed();
		succeed();
	}
	expect_equal(pid, waitpid(pid, &status, 0));
	check(WIFSTOPPED(status), "the child did not stop: status 0x%x", status);
	p = *shared;
	for (size_t offset = 0; offset < SIZE; offset += SIZE - 8) {
		expect_errno(EIO, ptrace(PTRACE_PEEKDATA, pid, p + offset, NULL));
		expect_errno(EIO, ptrace(PTRACE_PEEKTEXT, pid, p + offset, NULL));
		expect_errno(EIO, ptrace(PTRACE_POKEDATA, pid, p + offset, (void *)1));
		expect_errno(EIO, ptrace(PTRACE_POKETEXT, pid, p + offset, (void *)1));
	}
	expect_no_proc_mem(pid);
	expect_ok(ptrace(PTRACE_CONT, pid, NULL, NULL));
	expect_success(pid);
}

/* ---- what takes pages ---- */

TEST("G1 R10 vmsplice is EFAULT")
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

TEST("G1 R10 O_DIRECT is EFAULT, at once and asynchronously")
{
	char name[32], *buffer = plain_memory(SIZE);
	int file;

	make_loop_device(1 << 20, name, NULL);
	file = expect_ok(open(name, O_RDWR | O_DIRECT | O_CLOEXEC));
	begin_mapped();
	memset(buffer, 'd', SIZE);
	expect_equal(SIZE, pwrite(file, buffer, SIZE, 0));
	expect_errno(EFAULT, pwrite(file, p, SIZE, 0));
	expect_errno(EFAULT, pwrite(file, p + PAGE, PAGE, 0));
	expect_errno(EFAULT, pread(file, p, SIZE, 0));
	expect_equal(PAGE, aio_result(file, IOCB_CMD_PWRITE, buffer, PAGE));
	expect_equal(-EFAULT, aio_result(file, IOCB_CMD_PWRITE, p, PAGE));
	expect_equal(-EFAULT, aio_result(file, IOCB_CMD_PREAD, p, SIZE));
	expect_equal(SIZE, pread(file, buffer, SIZE, 0));
	expect_nothing_of_it(buffer, SIZE);
	check(buffer[0] == 'd' && buffer[SIZE - 1] == 'd', "the file changed");
	expect_undisturbed();
}

TEST("G1 R10 io_uring registered buffers are EFAULT")
{
	struct io_uring_params parameters = { 0 };
	int ring = syscall(SYS_io_uring_setup, 4, &parameters);
	struct iovec good, bad;

	if (ring < 0)
		skip("no io_uring: %s", errno_name(errno));
	begin_mapped();
	good = (struct iovec){ copy, SIZE };
	bad = (struct iovec){ p, SIZE };
	expect_errno(EFAULT, syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &bad, 1));
	bad.iov_len = 1;
	expect_errno(EFAULT, syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &bad, 1));
	expect_ok(syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &good, 1));
	expect_undisturbed();
}

TEST("G1 R10 a send with MSG_ZEROCOPY is EFAULT")
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = expect_ok(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	int sender = expect_ok(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), receiver, one = 1;
	socklen_t length = sizeof(address);
	char buffer[64];

	expect_ok(bind(listener, (struct sockaddr *)&address, sizeof(address)));
	expect_ok(listen(listener, 1));
	expect_ok(getsockname(listener, (struct sockaddr *)&address, &length));
	expect_ok(connect(sender, (struct sockaddr *)&address, sizeof(address)));
	receiver = expect_ok(accept(listener, NULL, NULL));
	if (errno_of(setsockopt(sender, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one))))
		skip("no SO_ZEROCOPY: %s", errno_name(errno));
	begin_mapped();
	expect_equal(64, send(sender, copy, 64, MSG_ZEROCOPY));
	expect_equal(64, recv(receiver, buffer, 64, MSG_WAITALL));
	expect_errno(EFAULT, send(sender, p, SIZE, MSG_ZEROCOPY));
	expect_errno(EAGAIN, recv(receiver, buffer, 64, MSG_DONTWAIT));
	expect_undisturbed();
}

TEST("G1 R10 AF_XDP memory is EFAULT")
{
	struct xdp_umem_reg region = { .len = SIZE, .chunk_size = PAGE };
	int xdp = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (xdp < 0)
		skip("no AF_XDP: %s", errno_name(errno));
	begin_mapped();
	region.addr = (uintptr_t)p;
	expect_errno(EFAULT, setsockopt(xdp, SOL_XDP, XDP_UMEM_REG, &region, sizeof(region)));
	expect_undisturbed();
}

TEST("G1 R10 userfaultfd does not take it")
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

TEST("G1 R10 nothing moves, merges or poisons its pages")
{
	void *pages[] = { NULL };
	int nodes[] = { 0 }, status[] = { 99 }, answer;
	uint64_t pfn;

	begin_mapped();
	pfn = pfn_of(p);
	pages[0] = p;
	if (errno_of(syscall(SYS_move_pages, 0, 1, pages, nodes, status, 2)) != ENOSYS)
		check(status[0] < 0, "status %d", status[0]);
	answer = errno_of(madvise(p, PAGE, MADV_HWPOISON));
	check(answer == EFAULT || answer == EINVAL, "MADV_HWPOISON: %s", errno_name(answer));
	write_text("/proc/sys/vm/compact_memory", "1");
	write_text("/proc/sys/vm/drop_caches", "3");
	expect_equal(pfn, pfn_of(p));
	expect_undisturbed();
}

/* ---- files that show memory ---- */

#define CORE "/dev/shm/exmem-guest-core"

TEST("G1 R10 a core dump has no page of it", .seconds = 120)
{
	char pattern[256], *core, *control = plain_memory(SIZE);
	struct stat stat;
	int file;
	pid_t pid;

	snprintf(pattern, sizeof(pattern), "%s", read_text("/proc/sys/kernel/core_pattern"));
	if (!*pattern)
		skip("this kernel dumps no core");
	unlink(CORE);
	expect_ok(write_text("/proc/sys/kernel/core_pattern", CORE));
	fill(control, SIZE, 5);
	pid = start_child();
	if (!pid) {
		begin_mapped();
		unmap(copy, SIZE);
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
	check(contains_piece(core, stat.st_size, control, PAGE), "the control is not in the dump of %ld bytes",
	      (long)stat.st_size);
	fill(control, SIZE, 1);
	check(!contains_piece(core, stat.st_size, control, SIZE), "it is in the dump");
}

TEST("G1 R10 /dev/mem has no byte of it")
{
	int mem = open("/dev/mem", O_RDWR | O_CLOEXEC), answer;
	char *buffer = plain_memory(PAGE);

	if (mem < 0)
		skip("no /dev/mem: %s", errno_name(errno));
	begin_mapped();
	answer = errno_of(pread(mem, buffer, PAGE, pfn_of(p) * PAGE));
	expect_nothing_of_it(buffer, PAGE);
	check(!answer || answer == EPERM || answer == EFAULT, "pread: %s", errno_name(answer));
	answer = errno_of(pwrite(mem, buffer, PAGE, pfn_of(p) * PAGE));
	check(!answer || answer == EPERM || answer == EFAULT, "pwrite: %s", errno_name(answer));
	expect_undisturbed();
}

/* ---- R9 ---- */

TEST("R9 G1 at its address in the direct map is a page of zeros, before and after bytes come")
{
	char *bytes = plain_memory(PAGE);

	begin_mapped();
	for (size_t offset = 0; offset < SIZE; offset += PAGE) {
		uint64_t pfn = pfn_of(p + offset);

		check(pfn_is_out_of_direct_map(pfn), "page %zu is there", offset / PAGE);
		memset(bytes, 0x55, PAGE);
		if (read_mapped_page(pfn, bytes))
			expect_equal(EFAULT, errno);
		else
			expect_zero(bytes, PAGE);
	}
	expect_undisturbed();
}

TEST("R9 G1 the page of zeros is the object's own, and present, so that a stray access harms nobody")
{
	uint64_t decoy, other;

	need_test_module();
	begin_mapped();
	decoy = direct_map_pfn(pfn_of(p));
	check(decoy, "the direct map has no page there");
	for (size_t offset = 0; offset < SIZE; offset += PAGE) {
		expect_equal(decoy, direct_map_pfn(pfn_of(p + offset)));
		check(pfn_of(p + offset) != decoy, "a page of the object itself");
	}
	unmap(p, SIZE);
	begin_mapped();
	other = direct_map_pfn(pfn_of(p));
	check(other && other != decoy, "two objects have one");
}

TEST("R9 G1 it stays out while nobody has it mapped")
{
	uint64_t pfn;

	begin_mapped();
	pfn = pfn_of(p + PAGE);
	unmap(p, SIZE);
	check(pfn_is_out_of_direct_map(pfn), "it is back");
	p = map_none(fd, SIZE);
	expect_equal(pfn, pfn_of(p + PAGE));
	expect_undisturbed();
}

TEST("R9 G1 what comes back to the direct map is zero, whatever ended the object", .seconds = 120)
{
	enum { WAYS = 4, SAMPLES = 16 };
	char *page = plain_memory(PAGE);

	need_test_module();
	write_text("/sys/module/exclusive_memory/parameters/keep_blocks", "0");
	for (int way = 0; way < WAYS; way++) {
		uint64_t pfns[SAMPLES];
		pid_t pid;

		begin_mapped();
		unmap(p, SIZE);
		close(fd);
		fd = make_memfd_flags(BLOCK, GUEST);
		for (size_t offset = 0; offset < BLOCK; offset += SIZE)
			expect_equal(0, populate(fd, offset, SIZE, copy));
		p = map_none(fd, BLOCK);
		for (size_t i = 0; i < SAMPLES; i++)
			pfns[i] = pfn_of(p + i * (BLOCK / SAMPLES));
		unmap(p, BLOCK);
		switch (way) {
		case 0:
			expect_ok(destroy(fd));
			break;
		case 1:
			/* Half of it in the direct map already. */
			expect_ok(make_shared(fd, 0, BLOCK / 2));
			expect_ok(destroy(fd));
			break;
		case 2:
			break;
		default:
			/* Its last user is killed. */
			pid = start_child();
			if (!pid) {
				map_none(fd, BLOCK);
				pause();
			}
			check(eventually(state_of(fd) & EXMEM_STATE_MAPPED), "the child does not map it");
			close(fd);
			kill(pid, SIGKILL);
			expect_killed(SIGKILL, pid);
		}
		if (way != 3)
			close(fd);
		for (size_t i = 0; i < SAMPLES; i++) {
			check(eventually(direct_map_pfn(pfns[i]) == pfns[i]), "page %zu is not back, way %d", i, way);
			expect_ok(read_page_content(pfns[i], page));
			expect_nothing_of_it(page, PAGE);
		}
	}
}
