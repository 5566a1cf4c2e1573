// SPDX-License-Identifier: GPL-2.0
/* G4: a guest object that belongs to one virtual machine, in one address space. Needs /dev/kvm. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/wait.h>

#include "guest.h"
#include "kvm.h"
#include "process.h"
#include "system.h"
#include "view.h"

#define PAGES 8
#define SIZE (PAGES * PAGE)

/* mov al, [0x2000]; hlt */
static const unsigned char load_2000[] = { 0xa0, 0x00, 0x20, 0xf4 };
/* mov al, 0x77; mov [0x2000], al; hlt */
static const unsigned char store_2000[] = { 0xb0, 0x77, 0xa2, 0x00, 0x20, 0xf4 };

static int fd;

static void begin(void)
{
	make_machine();
	fd = make_memfd_flags(SIZE, GUEST);
	populate_filled(fd, 0, SIZE, 1);
}

static void begin_bound(void)
{
	begin();
	expect_ok(bind_vm(fd, vm));
}

static int make_other_machine(void)
{
	int kvm = open_kvm(), other = expect_ok(ioctl(kvm, KVM_CREATE_VM, 0));

	close(kvm);
	return other;
}

static bool is_bound(void)
{
	return state_of(fd) & EXMEM_STATE_BOUND;
}

TEST("G4 an object is bound to a machine, and again to the same")
{
	begin();
	check(!is_bound(), "it was bound before");
	expect_ok(bind_vm(fd, vm));
	check(is_bound(), "it is not bound");
	expect_ok(bind_vm(fd, vm));
	expect_ok(bind_vm(dup(fd), dup(vm)));
	check(is_bound(), "it is not bound any more");
	check(object_holds(fd, SIZE, 1), "the bytes changed");
}

TEST("G4 a descriptor that is no machine is EINVAL, one that is none EBADF")
{
	int kvm = open_kvm();
	char name[] = "/proc/self/fd/0123456789";
	int none[] = { -1, INT32_MAX, INT32_MIN, 0 }, wrong[7];
	size_t n = 0;

	begin();
	wrong[n++] = kvm;
	wrong[n++] = vcpu;
	wrong[n++] = fd;
	wrong[n++] = open_device();
	wrong[n++] = expect_ok(eventfd(0, EFD_CLOEXEC));
	wrong[n++] = make_file(PAGE);
	wrong[n++] = expect_ok(ioctl(vm, KVM_GET_STATS_FD, 0));
	expect_equal(ARRAY_SIZE(wrong), n);
	for (size_t i = 0; i < n; i++)
		expect_errno(EINVAL, bind_vm(fd, wrong[i]));
	/* One that can be used for nothing counts as none. */
	snprintf(name, sizeof(name), "/proc/self/fd/%d", vm);
	none[ARRAY_SIZE(none) - 1] = expect_ok(open(name, O_PATH | O_CLOEXEC));
	for (size_t i = 0; i < ARRAY_SIZE(none); i++)
		expect_errno(EBADF, bind_vm(fd, none[i]));
	check(!is_bound(), "it is bound all the same");
	expect_ok(bind_vm(fd, vm));
}

TEST("G4 an argument that leads nowhere is EFAULT")
{
	begin();
	expect_errno(EFAULT, ioctl(fd, EXMEM_BIND_VM, NULL));
	expect_errno(EFAULT, ioctl(fd, EXMEM_BIND_VM, (void *)-1));
	expect_errno(EFAULT, ioctl(fd, EXMEM_BIND_VM, (void *)UINT64_C(0xffff888000000000)));
	check(!is_bound(), "it is bound all the same");
}

TEST("G4 a second machine is EBUSY, and the first stays the one")
{
	int other;

	begin_bound();
	other = make_other_machine();
	expect_errno(EBUSY, bind_vm(fd, other));
	expect_ok(bind_vm(fd, vm));
	expect_errno(EINVAL, bind_vm(fd, make_file(PAGE)));
	map_none(fd, SIZE);
}

TEST("G4 so is any other when the first is gone, wherever its memory was")
{
	int first;

	make_machine();
	fd = make_memfd_flags(SIZE, GUEST);
	first = make_other_machine();
	expect_ok(bind_vm(fd, first));
	close(first);
	for (int i = 0; i < 30; i++) {
		int other = make_other_machine();

		expect_errno(EBUSY, bind_vm(fd, other));
		close(other);
	}
	check(is_bound(), "it is not bound any more");
	map_none(fd, SIZE);
}

TEST("G4 a machine of another process is EINVAL, sent or inherited")
{
	int sockets[2], own;
	pid_t pid;

	begin();
	make_socket_pair(sockets);
	pid = start_child();
	if (!pid) {
		expect_errno(EINVAL, bind_vm(fd, vm));
		own = make_other_machine();
		expect_ok(send_fd(sockets[1], own));
		pause();
	}
	own = expect_ok(receive_fd(sockets[0]));
	expect_errno(EINVAL, bind_vm(fd, own));
	kill(pid, SIGKILL);
	expect_killed(SIGKILL, pid);
	/* Its process is gone, and it is nobody's. */
	expect_errno(EINVAL, bind_vm(fd, own));
	check(!is_bound(), "it is bound all the same");
	expect_ok(bind_vm(fd, vm));
}

TEST("G4 a process that was sent the object binds it to a machine of its own, and then it is its alone")
{
	int sockets[2], bound = make_gate(), done = make_gate();
	pid_t pid;

	begin();
	make_socket_pair(sockets);
	pid = start_child();
	if (!pid) {
		int received = expect_ok(receive_fd(sockets[1]));

		expect_ok(bind_vm(received, make_other_machine()));
		open_gate(bound);
		wait_at_gate(done);
		map_none(received, SIZE);
		succeed();
	}
	expect_ok(send_fd(sockets[0], fd));
	wait_at_gate(bound);
	expect_errno(EACCES, try_map_none(fd, SIZE));
	expect_errno(EBUSY, bind_vm(fd, vm));
	open_gate(done);
	expect_success(pid);
	/* Nobody can map it any more. */
	expect_errno(EACCES, try_map_none(fd, SIZE));
}

TEST("G4 a bound object can be mapped here, before and after, and by nobody else: EACCES")
{
	int sockets[2];
	pid_t pid;
	char *p;

	begin();
	p = map_none(fd, SIZE);
	expect_ok(bind_vm(fd, vm));
	check(holds(p, SIZE, 1), "the bytes changed");
	unmap(p, SIZE);
	make_socket_pair(sockets);
	pid = start_child();
	if (!pid) {
		expect_errno(EACCES, try_map_none(fd, SIZE));
		expect_errno(EACCES, try_map_none(expect_ok(receive_fd(sockets[1])), SIZE));
		succeed();
	}
	expect_ok(send_fd(sockets[0], fd));
	expect_success(pid);
	p = map_none(fd, SIZE);
	check(holds(p, SIZE, 1), "the bytes changed");
}

TEST("G4 so it is with HOST_ACCESS, and with the device's objects")
{
	int fds[2];
	pid_t pid;

	begin();
	fds[0] = make_memfd_flags(SIZE, HOST_ACCESS);
	fds[1] = open_guest_device();
	expect_ok(set_size(fds[1], SIZE));
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		expect_ok(bind_vm(fds[i], vm));
		pid = start_child();
		if (!pid) {
			expect_errno(EACCES, try_map(fds[i], SIZE));
			expect_errno(EACCES, try_map_none(fds[i], SIZE));
			expect_errno(EACCES, mmap(NULL, SIZE, PROT_READ, MAP_SHARED, fds[i], 0));
			succeed();
		}
		expect_success(pid);
		fill(map(fds[i], SIZE), SIZE, 1);
	}
}

TEST("G4 while another process has it mapped, binding is EBUSY")
{
	int mapped = make_gate();
	pid_t pid;

	begin();
	pid = start_child();
	if (!pid) {
		map_none(fd, SIZE);
		open_gate(mapped);
		pause();
	}
	wait_at_gate(mapped);
	expect_errno(EBUSY, bind_vm(fd, vm));
	check(!is_bound(), "it is bound all the same");
	kill(pid, SIGKILL);
	expect_killed(SIGKILL, pid);
	check(eventually(!bind_vm(fd, vm)), "%s", errno_name(errno));
	map_none(fd, SIZE);
}

/* What this program is after exec(2). */
__attribute__((constructor)) static void map_after_exec(void)
{
	const char *text = getenv("EXMEM_BOUND");
	char *p;

	if (!text)
		return;
	p = try_map_none(atoi(text), SIZE);
	_exit(p == MAP_FAILED ? errno : 0);
}

TEST("G4 exec(2) makes another address space, to which it does not belong")
{
	char text[16];
	int status;
	pid_t pid;

	open_kvm();
	pid = start_child();
	if (!pid) {
		int inherited;

		begin_bound();
		map_none(fd, SIZE);
		inherited = dup(fd);
		snprintf(text, sizeof(text), "%d", inherited);
		expect_ok(setenv("EXMEM_BOUND", text, 1));
		execl("/proc/self/exe", "after-exec", (char *)NULL);
		fail("exec: %s", errno_name(errno));
	}
	expect_equal(pid, waitpid(pid, &status, 0));
	check(WIFEXITED(status), "wait status 0x%x", status);
	expect_equal(EACCES, WEXITSTATUS(status));
}

static int child_of_one_space(void *size)
{
	char *p = map_none(fd, *(size_t *)size);

	unmap(p, *(size_t *)size);
	return 0;
}

TEST("G4 a child that shares the address space may map it")
{
	static char stack[64 << 10] __attribute__((aligned(16)));
	size_t size = SIZE;

	begin_bound();
	expect_success(expect_ok(clone(child_of_one_space, stack + sizeof(stack), CLONE_VM | SIGCHLD, &size)));
	map_none(fd, SIZE);
}

TEST("G4 an object without a size can be bound, and is mapped later")
{
	pid_t pid;

	begin();
	fd = make_memfd_flags(0, GUEST);
	if (errno_of(bind_vm(fd, vm))) {
		expect_equal(EINVAL, errno);
		expect_ok(set_size(fd, SIZE));
		expect_ok(bind_vm(fd, vm));
	} else {
		expect_ok(set_size(fd, SIZE));
	}
	pid = start_child();
	if (!pid) {
		expect_errno(EACCES, try_map_none(fd, SIZE));
		succeed();
	}
	expect_success(pid);
	map_none(fd, SIZE);
}

TEST("G4 what is no guest object is EOPNOTSUPP, what is destroyed is ENXIO")
{
	begin();
	expect_errno(EOPNOTSUPP, bind_vm(make_memfd(SIZE), vm));
	expect_errno(EOPNOTSUPP, bind_vm(open_device(), vm));
	expect_ok(destroy(fd));
	expect_errno(ENXIO, bind_vm(fd, vm));
}

TEST("G4 of several processes that bind at once, one wins", .seconds = 180)
{
	/* While there is a machine, the kernel does not change its own code for the next: emulators are not good at that. */
	make_other_machine();
	for (int round = 0; round < 10; round++) {
		int go = make_gate();
		_Atomic int *winners = expect_ok(mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
		pid_t pids[3];

		fd = make_memfd_flags(SIZE, GUEST);
		for (size_t i = 0; i < ARRAY_SIZE(pids); i++) {
			pids[i] = start_child();
			if (!pids[i]) {
				int machine = make_other_machine(), answer;

				wait_at_gate(go);
				answer = errno_of(bind_vm(fd, machine));
				if (answer)
					expect_equal(EBUSY, answer);
				else
					++*winners;
				answer = errno_of(try_map_none(fd, SIZE));
				check(!answer || answer == EACCES, "%s", errno_name(answer));
				succeed();
			}
		}
		for (size_t i = 0; i < ARRAY_SIZE(pids); i++)
			open_gate(go);
		for (size_t i = 0; i < ARRAY_SIZE(pids); i++)
			expect_success(pids[i]);
		expect_equal(1, *winners);
		close(fd);
		close(go);
	}
}

TEST("G4 when BIND_VM has returned nobody else has it mapped, whoever was mapping it", .seconds = 180)
{
	make_machine();
	for (int round = 0; round < 20; round++) {
		_Atomic long *maps = expect_ok(mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
		int answer;
		pid_t pid;

		fd = make_memfd_flags(SIZE, GUEST);
		pid = start_child();
		if (!pid) {
			char *p;

			while ((p = try_map_none(fd, SIZE)) != MAP_FAILED) {
				++*maps;
				unmap(p, SIZE);
			}
			expect_equal(EACCES, errno);
			succeed();
		}
		check(eventually(*maps > round), "nobody maps it");
		while ((answer = errno_of(bind_vm(fd, vm))))
			expect_equal(EBUSY, answer);
		unmap(map_none(fd, SIZE), SIZE);
		expect_success(pid);
		close(fd);
	}
}

#define LARGE (16 * BLOCK)

static _Atomic bool stop;

static void *convert_for_ever(void *unused)
{
	(void)unused;
	while (!stop) {
		expect_ok(make_shared(fd, 0, LARGE));
		expect_ok(make_private(fd, 0, LARGE));
	}
	return NULL;
}

TEST("G4 an mmap that has to wait while BIND_VM happens is EACCES", .seconds = 180)
{
	uint64_t began = now_ns();

	make_machine();
	for (int round = 0; round < 5 || (round < 50 && now_ns() - began < UINT64_C(10000000000)); round++) {
		_Atomic long *maps = expect_ok(mmap(NULL, PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
		pthread_t thread;
		int answer;
		pid_t pid;

		fd = make_memfd_flags(LARGE, GUEST);
		pid = start_child();
		if (!pid) {
			char *p;

			while ((p = try_map_none(fd, LARGE)) != MAP_FAILED) {
				/* As long as it is here, binding is EBUSY. */
				check(!is_bound(), "it is mapped here, and bound elsewhere");
				++*maps;
				unmap(p, LARGE);
			}
			expect_equal(EACCES, errno);
			succeed();
		}
		stop = false;
		/* Each conversion lets nobody map or bind it meanwhile. */
		expect_equal(0, pthread_create(&thread, NULL, convert_for_ever, NULL));
		check(eventually(*maps), "nobody maps it");
		while ((answer = errno_of(bind_vm(fd, vm))))
			expect_equal(EBUSY, answer);
		expect_success(pid);
		stop = true;
		pthread_join(thread, NULL);
		close(fd);
	}
}

TEST("G4 a guest runs on a bound object as on any other")
{
	char *p, *plain;

	begin_bound();
	p = map_none(fd, SIZE);
	plain = load_code(store_2000, sizeof(store_2000));
	expect_ok(set_slot(1, 0x2000, p, SIZE));
	expect_ok(ioctl(vcpu, KVM_RUN, 0));
	expect_equal(KVM_EXIT_HLT, run_state->exit_reason);
	memcpy(plain, load_2000, sizeof(load_2000));
	rewind_code();
	expect_ok(ioctl(vcpu, KVM_RUN, 0));
	expect_equal(KVM_EXIT_HLT, run_state->exit_reason);
	expect_equal(0x77, register_al());
	expect_signal(SIGSEGV, signal_of_load(p));
}

TEST("G3 G4 shared pages of a bound object can be seen by others, private ones cannot")
{
	struct peer b;
	int view;

	begin_bound();
	b = start_peer();
	view = make_view(SIZE);
	expect_ok(view_map(view, fd, 0, SIZE, 0, VIEW_RW));
	give_view(&b, view, SIZE);
	expect_ok(make_shared(fd, 0, PAGE));
	expect_access(0, peer_load(&b, 0));
	expect_access(SIGBUS, peer_load(&b, PAGE));
	expect_ok(make_private(fd, 0, PAGE));
	expect_access(SIGBUS, peer_load(&b, 0));
	end_peer(&b);
}

TEST("L1 G4 the machine's end, the object's and the process's, in any order")
{
	long objects = counter("objects"), pages = counter("pages_in_use");

	make_other_machine();
	for (int order = 0; order < 4; order++) {
		pid_t pid = start_child();

		if (!pid) {
			begin_bound();
			if (order & 1)
				map_none(fd, SIZE);
			if (order & 2)
				close(fd);
			close(vcpu);
			close(vm);
			if (!(order & 2))
				expect_ok(destroy(fd));
			succeed();
		}
		expect_success(pid);
		expect_counter_soon(objects, "objects");
		expect_counter_soon(pages, "pages_in_use");
	}
}
