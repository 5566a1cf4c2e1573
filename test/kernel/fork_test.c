// SPDX-License-Identifier: GPL-2.0
/* R6: a child does not inherit the mapping, and does not disturb its parent's. */
#include <sched.h>
#include <string.h>
#include <sys/wait.h>

#include "memory.h"
#include "process.h"
#include "system.h"

#define SIZE (8 * PAGE)

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
	expect_signal(0, signal_of_store(p + SIZE - 1));
	expect_errno(EBUSY, try_map(fd, SIZE));
}

TEST("R6 a child's load and store are SIGSEGV")
{
	pid_t pid;

	begin_mapped();
	pid = start_child();
	if (!pid) {
		expect_signal(SIGSEGV, signal_of_load(p));
		expect_equal(SEGV_MAPERR, signal_code());
		expect_signal(SIGSEGV, signal_of_store(p + SIZE - 1));
		succeed();
	}
	expect_success(pid);
	expect_undisturbed();
}

TEST("R6 a child that does not expect it is ended by SIGSEGV")
{
	pid_t pid;

	begin_mapped();
	pid = start_child();
	if (!pid) {
		*(volatile char *)p = 1;
		succeed();
	}
	expect_killed(SIGSEGV, pid);
	expect_undisturbed();
}

TEST("R6 a child's system calls find nothing there")
{
	pid_t pid;

	begin_mapped();
	pid = start_child();
	if (!pid) {
		int pipes[2];

		expect_ok(pipe(pipes));
		expect_errno(EFAULT, write(pipes[1], p, PAGE));
		succeed();
	}
	expect_success(pid);
	expect_undisturbed();
}

TEST("R3 a child's mmap is EBUSY while its parent's mapping exists")
{
	pid_t pid;

	begin_mapped();
	pid = start_child();
	if (!pid) {
		expect_errno(EBUSY, try_map(fd, SIZE));
		expect_ok(munmap(p, SIZE));	/* nothing is there */
		expect_errno(EBUSY, try_map(fd, SIZE));
		succeed();
	}
	expect_success(pid);
	expect_undisturbed();
}

TEST("R6 a child maps it after its parent has unmapped it")
{
	int unmapped = make_gate(), mapped = make_gate();
	pid_t pid;

	begin_mapped();
	pid = start_child();
	if (!pid) {
		wait_at_gate(unmapped);
		p = map(fd, SIZE);
		expect_filled(p, SIZE, 1);
		fill(p, SIZE, 2);
		open_gate(mapped);
		wait_at_gate(unmapped);
		succeed();
	}
	unmap(p, SIZE);
	open_gate(unmapped);
	wait_at_gate(mapped);
	expect_errno(EBUSY, try_map(fd, SIZE));
	open_gate(unmapped);
	expect_success(pid);
	expect_filled(map(fd, SIZE), SIZE, 2);
}

TEST("R6 with MADV_DOFORK a child's load and store are SIGBUS")
{
	pid_t pid;

	begin_mapped();
	expect_ok(madvise(p, SIZE, MADV_DOFORK));
	expect_undisturbed();
	pid = start_child();
	if (!pid) {
		expect_signal(SIGBUS, signal_of_load(p));
		expect_signal(SIGBUS, signal_of_store(p + SIZE - 1));
		expect_errno(EBUSY, try_map(fd, SIZE));
		succeed();
	}
	expect_success(pid);
	expect_undisturbed();
}

TEST("R6 with MADV_DOFORK a child's system calls get EFAULT")
{
	pid_t pid;

	begin_mapped();
	expect_ok(madvise(p, SIZE, MADV_DOFORK));
	pid = start_child();
	if (!pid) {
		int pipes[2];

		expect_ok(pipe(pipes));
		expect_errno(EFAULT, write(pipes[1], p, PAGE));
		expect_equal(1, write(pipes[1], "x", 1));
		expect_errno(EFAULT, read(pipes[0], p, 1));
		succeed();
	}
	expect_success(pid);
	expect_undisturbed();
}

TEST("R6 with MADV_DOFORK a child's munmap, mprotect and mremap do not reach its parent")
{
	pid_t pid;

	begin_mapped();
	expect_ok(madvise(p, SIZE, MADV_DOFORK));
	pid = start_child();
	if (!pid) {
		expect_ok(mprotect(p, SIZE, PROT_NONE));
		expect_ok(mprotect(p, SIZE, PROT_READ | PROT_WRITE));
		expect_signal(SIGBUS, signal_of_load(p));
		expect_errno(EACCES, mprotect(p, SIZE, PROT_EXEC));
		expect_errno(EINVAL, munmap(p, PAGE));
		check((long)mremap(p, 0, SIZE, MREMAP_MAYMOVE) == -1, "duplicated");
		expect_equal(0, field("/proc/self/status", "VmLck"));
		expect_ok(munmap(p, SIZE));
		expect_equal(0, field("/proc/self/status", "VmLck"));
		expect_errno(EBUSY, try_map(fd, SIZE));
		succeed();
	}
	expect_success(pid);
	expect_undisturbed();
	unmap(p, SIZE);
	p = map(fd, SIZE);
	expect_undisturbed();
}

TEST("R6 with MADV_DOFORK a grandchild finds nothing either")
{
	pid_t pid;

	begin_mapped();
	expect_ok(madvise(p, SIZE, MADV_DOFORK));
	pid = start_child();
	if (!pid) {
		pid_t grandchild = start_child();

		if (!grandchild) {
			expect_signal(SIGBUS, signal_of_load(p));
			succeed();
		}
		expect_success(grandchild);
		expect_signal(SIGBUS, signal_of_load(p));
		succeed();
	}
	expect_success(pid);
	expect_undisturbed();
}

TEST("R6 with MADV_DOFORK a child does not even see the bytes")
{
	char seen[SIZE];
	int pipes[2];
	ssize_t n;
	pid_t pid;

	begin_mapped();
	expect_ok(madvise(p, SIZE, MADV_DOFORK));
	expect_ok(pipe(pipes));
	pid = start_child();
	if (!pid) {
		if (write(pipes[1], p, SIZE) < 0 && write(pipes[1], "x", 1) == 1)
			succeed();
		succeed();
	}
	expect_success(pid);
	n = read(pipes[0], seen, sizeof(seen));
	check(!contains_piece(seen, n, p, SIZE), "it wrote %zd bytes of them to a pipe", n);
}

TEST("R6 with MADV_DOFORK a child whose parent is gone finds nothing")
{
	int *signals = expect_ok(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	int parent_gone = make_gate(), done = make_gate();
	pid_t middle;

	fd = make_memfd(SIZE);
	middle = start_child();
	if (!middle) {
		p = map(fd, SIZE);
		fill(p, SIZE, 1);
		expect_ok(madvise(p, SIZE, MADV_DOFORK));
		if (!start_child()) {
			wait_at_gate(parent_gone);
			signals[0] = signal_of_load(p);
			signals[1] = signal_of_store(p);
			open_gate(done);
			succeed();
		}
		succeed();
	}
	expect_success(middle);
	open_gate(parent_gone);
	wait_at_gate(done);
	expect_equal(SIGBUS, signals[0]);
	expect_equal(SIGBUS, signals[1]);
	check(eventually((p = try_map(fd, SIZE)) != MAP_FAILED), "mmap after all are dead: %s", errno_name(errno));
	expect_filled(p, SIZE, 1);
}

TEST("R6 MADV_DONTFORK takes MADV_DOFORK back")
{
	pid_t pid;

	begin_mapped();
	expect_ok(madvise(p, SIZE, MADV_DOFORK));
	expect_ok(madvise(p, SIZE, MADV_DONTFORK));
	pid = start_child();
	if (!pid) {
		expect_signal(SIGSEGV, signal_of_load(p));
		succeed();
	}
	expect_success(pid);
	expect_undisturbed();
}

TEST("R6 fork while MCL_FUTURE is set")
{
	pid_t pid;

	begin_mapped();
	expect_ok(mlockall(MCL_CURRENT | MCL_FUTURE));
	pid = start_child();
	if (!pid) {
		expect_signal(SIGSEGV, signal_of_load(p));
		succeed();
	}
	expect_success(pid);
	expect_undisturbed();
}

TEST("R6 vfork's child shares its parent's memory, this too")
{
	pid_t pid;
	volatile bool held = false;

	begin_mapped();
	pid = vfork();
	if (!pid) {
		held = *(volatile char *)(p + SIZE - 1) == p[SIZE - 1];
		*(volatile char *)p = 'v';
		_exit(0);
	}
	expect_success(pid);
	check(held, "the child read something else");
	expect_equal('v', p[0]);
	fill(p, SIZE, 1);
	expect_undisturbed();
}

static int shared_child(void *result)
{
	*(bool *)result = is_filled(p, SIZE, 1);
	p[0] = 'c';
	return 0;
}

TEST("R6 so does clone's child with CLONE_VM")
{
	static char stack[64 << 10] __attribute__((aligned(16)));
	bool held = false;
	pid_t pid;

	begin_mapped();
	pid = expect_ok(clone(shared_child, stack + sizeof(stack), CLONE_VM | SIGCHLD, &held));
	expect_success(pid);
	check(held, "the child read something else");
	expect_equal('c', p[0]);
	fill(p, SIZE, 1);
	expect_undisturbed();
}

TEST("R6 the mapping ends with exec, in whose new program the descriptor still counts")
{
	pid_t pid;

	fd = make_memfd(SIZE);
	pid = start_child();
	if (!pid) {
		p = map(fd, SIZE);
		fill(p, SIZE, 1);
		execl("/bin/true", "true", (char *)NULL);
		fail("exec: %s", errno_name(errno));
	}
	expect_success(pid);
	check(eventually((p = try_map(fd, SIZE)) != MAP_FAILED), "mmap: %s", errno_name(errno));
	expect_filled(p, SIZE, 1);
}

TEST("R6 many children at once")
{
	pid_t pids[32];

	begin_mapped();
	for (size_t i = 0; i < ARRAY_SIZE(pids); i++) {
		if (i % 4 == 0)
			expect_ok(madvise(p, SIZE, i % 8 ? MADV_DOFORK : MADV_DONTFORK));
		pids[i] = start_child();
		if (!pids[i]) {
			int signal = signal_of_load(p);

			check(signal == SIGSEGV || signal == SIGBUS, "signal %d", signal);
			munmap(p, SIZE);
			succeed();
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(pids); i++)
		expect_success(pids[i]);
	expect_undisturbed();
}
