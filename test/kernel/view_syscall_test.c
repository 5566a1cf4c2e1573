// SPDX-License-Identifier: GPL-2.0
/* V5, V7: system calls on a view's memory copy bytes, and keep no page. */
#include <linux/futex.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "disk.h"
#include "process.h"
#include "system.h"
#include "view.h"

#define SIZE (8 * PAGE)

static int view, file;
static char *p;

static void begin(uint32_t flags)
{
	file = make_filled_file(SIZE, 1);
	view = make_view(2 * SIZE);
	expect_ok(view_map(view, file, 0, SIZE, 0, flags));
	p = map_view(view, 0, 0, RW);
}

TEST("V5 the process's own system calls read and write there")
{
	int pipes[2], plain = make_file(SIZE);
	char *copy = map(plain, SIZE);

	begin(VIEW_RW);
	expect_ok(pipe(pipes));
	/* Pages that no access has brought yet. */
	expect_equal(PAGE, write(pipes[1], p + PAGE / 2, PAGE));
	expect_equal(PAGE, read(pipes[0], copy + PAGE / 2, PAGE));
	check(!memcmp(copy + PAGE / 2, p + PAGE / 2, PAGE), "other bytes");
	expect_equal(SIZE, pwrite(plain, p, SIZE, 0));
	expect_filled(copy, SIZE, 1);
	fill(copy, SIZE, 2);
	expect_equal(SIZE, pread(plain, p, SIZE, 0));
	expect_filled(p, SIZE, 2);
	check(file_is_filled(file, 0, SIZE, 2), "the source has other bytes");
}

TEST("V5 a system call where permission is missing, or nothing is, is EFAULT and does what was before")
{
	int plain = make_filled_file(2 * SIZE, 2);

	begin(VIEW_R);
	expect_errno(EFAULT, pread(plain, p, PAGE, 0));
	expect_errno(EFAULT, pwrite(plain, p + SIZE, PAGE, 0));
	expect_errno(EFAULT, pread(plain, p + SIZE, PAGE, 0));
	expect_filled(p, SIZE, 1);
	expect_ok(view_protect(view, 0, PAGE, VIEW_RW));
	expect_equal(PAGE, pread(plain, p, 2 * PAGE, 0));
	expect_filled(p, PAGE, 2);
	expect_equal(SIZE - PAGE, pwrite(plain, p + PAGE, SIZE, 0));
}

TEST("V3 a system call after revocation is EFAULT")
{
	int plain = make_filled_file(SIZE, 2);

	begin(VIEW_RW);
	expect_equal(SIZE, pwrite(plain, p, SIZE, 0));
	expect_equal(SIZE, pread(plain, p, SIZE, 0));
	expect_ok(view_protect(view, 0, SIZE, VIEW_R));
	expect_errno(EFAULT, pread(plain, p, PAGE, 0));
	expect_equal(SIZE, pwrite(plain, p, SIZE, 0));
	expect_ok(view_unmap(view, 0, SIZE));
	expect_errno(EFAULT, pwrite(plain, p, PAGE, 0));
	expect_errno(EFAULT, pread(plain, p, PAGE, 0));
}

TEST("V5 a private futex works there; a shared one does, or is EFAULT")
{
	int wait_answer, wake_answer;
	uint32_t now;

	begin(VIEW_RW);
	now = *(volatile uint32_t *)p;
	expect_errno(EAGAIN, syscall(SYS_futex, p, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, ~now, NULL, NULL, 0));
	expect_equal(0, syscall(SYS_futex, p, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1, NULL, NULL, 0));
	/* A shared one is known by its page, which must be taken for that. */
	wait_answer = errno_of(syscall(SYS_futex, p, FUTEX_WAIT, ~now, NULL, NULL, 0));
	wake_answer = errno_of(syscall(SYS_futex, p, FUTEX_WAKE, 1, NULL, NULL, 0));
	diag("a shared futex: FUTEX_WAIT %s, FUTEX_WAKE %s", errno_name(wait_answer), errno_name(wake_answer));
	check((wait_answer == EAGAIN && !wake_answer) || (wait_answer == EFAULT && wake_answer == EFAULT),
	      "FUTEX_WAIT %s, FUTEX_WAKE %s", errno_name(wait_answer), errno_name(wake_answer));
	expect_ok(view_unmap(view, 0, SIZE));
	expect_errno(EFAULT, syscall(SYS_futex, p, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, now, NULL, NULL, 0));
}

/* ---- who would keep a page ---- */

TEST("V7 process_vm_readv and process_vm_writev, by the process and by others, are EFAULT")
{
	char buffer[64] = "";
	struct iovec local = { buffer, sizeof(buffer) }, remote;
	pid_t pid, parent = getpid();

	begin(VIEW_RW);
	expect_filled(p, SIZE, 1);
	remote = (struct iovec){ p, sizeof(buffer) };
	pid = start_child();
	expect_errno(EFAULT, process_vm_readv(parent, &local, 1, &remote, 1, 0));
	expect_errno(EFAULT, process_vm_writev(parent, &local, 1, &remote, 1, 0));
	if (!pid)
		succeed();
	expect_success(pid);
	expect_zero(buffer, sizeof(buffer));
	expect_filled(p, SIZE, 1);
}

TEST("V7 /proc/PID/mem and ptrace are EIO")
{
	int mem, status, mapped = make_gate();
	char buffer[64];
	pid_t pid;

	begin(VIEW_RW);
	pid = start_child();
	if (!pid) {
		expect_filled(p, SIZE, 1);
		open_gate(mapped);
		pause();
	}
	wait_at_gate(mapped);
	snprintf(buffer, sizeof(buffer), "/proc/%d/mem", pid);
	mem = expect_ok(open(buffer, O_RDWR | O_CLOEXEC));
	expect_errno(EIO, pread(mem, buffer, sizeof(buffer), (uintptr_t)p));
	expect_errno(EIO, pwrite(mem, buffer, sizeof(buffer), (uintptr_t)p));
	expect_ok(ptrace(PTRACE_ATTACH, pid, NULL, NULL));
	expect_equal(pid, waitpid(pid, &status, 0));
	expect_errno(EIO, ptrace(PTRACE_PEEKDATA, pid, p, NULL));
	expect_errno(EIO, ptrace(PTRACE_POKEDATA, pid, p, 1L));
	expect_ok(ptrace(PTRACE_KILL, pid, NULL, NULL));
	expect_killed(SIGKILL, pid);
	expect_filled(p, SIZE, 1);
}

TEST("V7 vmsplice is EFAULT")
{
	struct iovec iov;
	int pipes[2];

	begin(VIEW_RW);
	expect_filled(p, SIZE, 1);
	iov = (struct iovec){ p, PAGE };
	expect_ok(pipe2(pipes, O_NONBLOCK));
	expect_errno(EFAULT, vmsplice(pipes[1], &iov, 1, 0));
	expect_errno(EFAULT, vmsplice(pipes[1], &iov, 1, SPLICE_F_GIFT));
	expect_errno(EAGAIN, read(pipes[0], &iov, 1));
}

TEST("V7 O_DIRECT is EFAULT")
{
	char name[32], *plain = expect_ok(mmap(NULL, SIZE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	int device;

	make_loop_device(1 << 20, name, NULL);
	device = expect_ok(open(name, O_RDWR | O_DIRECT | O_CLOEXEC));
	begin(VIEW_RW);
	expect_filled(p, SIZE, 1);
	expect_equal(SIZE, pread(device, plain, SIZE, 0));
	expect_errno(EFAULT, pread(device, p, PAGE, 0));
	expect_errno(EFAULT, pwrite(device, p, PAGE, 0));
	expect_filled(p, SIZE, 1);
	expect_equal(SIZE, pread(device, plain, SIZE, 0));
	expect_zero(plain, SIZE);
}

TEST("V7 io_uring's registered buffers are EFAULT")
{
	struct io_uring_params parameters = { 0 };
	int ring = syscall(SYS_io_uring_setup, 4, &parameters);
	struct iovec iov;

	if (ring < 0)
		skip("no io_uring: %s", errno_name(errno));
	begin(VIEW_RW);
	expect_filled(p, SIZE, 1);
	iov = (struct iovec){ p, SIZE };
	expect_errno(EFAULT, syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &iov, 1));
}

TEST("V7 mlock, madvise and msync of it do no harm")
{
	static const int advices[] = {
		MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_DONTNEED, MADV_FREE, MADV_REMOVE,
		MADV_DONTFORK, MADV_DOFORK, MADV_MERGEABLE, MADV_UNMERGEABLE, MADV_HUGEPAGE, MADV_NOHUGEPAGE,
		MADV_DODUMP, MADV_DONTDUMP, MADV_WIPEONFORK, MADV_KEEPONFORK, MADV_COLD, MADV_PAGEOUT,
		MADV_POPULATE_READ, MADV_POPULATE_WRITE, 25 /* MADV_COLLAPSE */,
	};

	begin(VIEW_R);
	for (size_t i = 0; i < ARRAY_SIZE(advices); i++)
		for (int whole = 0; whole < 2; whole++) {
			madvise(whole ? p : p + PAGE, whole ? SIZE : PAGE, advices[i]);
			check(is_filled(p, SIZE, 1), "advice %d: other bytes", advices[i]);
			expect_signal(SIGSEGV, signal_of_zero(p));
			expect_signal(SIGBUS, signal_of_load(p + SIZE));
		}
	/* What would have to take its pages to lock them does not, or says so. */
	errno_of(mlock(p, SIZE));
	errno_of(mlockall(MCL_CURRENT));
	expect_ok(munlockall());
	expect_ok(msync(p, SIZE, MS_ASYNC));
	diag("msync with MS_SYNC: %s", errno_name(errno_of(msync(p, SIZE, MS_SYNC))));
	check(file_is_filled(file, 0, SIZE, 1), "the source has other bytes");
	expect_ok(view_unmap(view, 0, SIZE));
	for (size_t page = 0; page < SIZE / PAGE; page++)
		expect_signal(SIGBUS, signal_of_load(p + page * PAGE));
}

/* ---- in the middle of a system call ---- */

static volatile bool stopped;

static void *flip(void *unused)
{
	(void)unused;
	while (!stopped) {
		expect_ok(view_unmap(view, 4 * PAGE, PAGE));
		expect_ok(view_map(view, file, 4 * PAGE, PAGE, 4 * PAGE, VIEW_RW));
	}
	return NULL;
}

TEST("V3 system calls while pages come and go move the right bytes, or stop where nothing is", .seconds = 120)
{
	int plain = make_filled_file(SIZE, 1), whole = 0, part = 0;
	pthread_t thread;

	begin(VIEW_RW);
	expect_equal(0, pthread_create(&thread, NULL, flip, NULL));
	for (int i = 0; i < 20000 && (i < 2000 || !whole || !part); i++) {
		ssize_t n = i % 2 ? pwrite(plain, p, SIZE, 0) : pread(plain, p, SIZE, 0);

		/* The page may go while it is copied. */
		check(n == SIZE || (n >= (ssize_t)(4 * PAGE) && n < (ssize_t)(5 * PAGE)),
		      "%zd bytes were moved: %s", n, errno_name(errno));
		whole += n == SIZE;
		part += n < (ssize_t)SIZE;
	}
	stopped = true;
	pthread_join(thread, NULL);
	diag("%d times whole, %d times in part", whole, part);
	check(whole && part, "one of both never happened");
	check(file_is_filled(plain, 0, SIZE, 1), "other bytes were written");
	expect_filled(p, SIZE, 1);
}
