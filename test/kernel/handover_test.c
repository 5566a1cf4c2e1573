// SPDX-License-Identifier: GPL-2.0
/* R3: one mapping at a time on the machine, and how bytes are handed over. */
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>

#include "guest.h"
#include "memory.h"
#include "process.h"
#include "system.h"

#define SIZE (8 * PAGE)

static const int64_t SECOND = 1000000000;

/* A process that gets a descriptor from this one by a socket, and by nothing else. */
static int connect_child(pid_t *pid)
{
	int sockets[2];

	make_socket_pair(sockets);
	*pid = start_child();
	if (!*pid) {
		close(sockets[0]);
		return sockets[1];
	}
	close(sockets[1]);
	return sockets[0];
}

TEST("R3 the receiver of a descriptor gets EBUSY until its sender unmaps, then the bytes")
{
	int refused = make_gate(), unmapped = make_gate(), fd, socket;
	pid_t pid;
	char *p;

	socket = connect_child(&pid);
	if (!pid) {
		fd = expect_ok(receive_fd(socket));
		expect_errno(EBUSY, try_map(fd, SIZE));
		open_gate(refused);
		wait_at_gate(unmapped);
		p = map(fd, SIZE);
		expect_filled(p, SIZE, 1);
		fill(p, SIZE, 2);
		unmap(p, SIZE);
		succeed();
	}
	fd = make_memfd(SIZE);
	p = map(fd, SIZE);
	fill(p, SIZE, 1);
	expect_ok(send_fd(socket, fd));
	wait_at_gate(refused);
	expect_filled(p, SIZE, 1);
	unmap(p, SIZE);
	open_gate(unmapped);
	expect_success(pid);
	expect_filled(map(fd, SIZE), SIZE, 2);
}

TEST("R3 a device file can be handed over as well")
{
	int fd, socket;
	pid_t pid;
	char *p;

	socket = connect_child(&pid);
	if (!pid) {
		fd = expect_ok(receive_fd(socket));
		expect_equal(SIZE, info_of(fd).size);
		expect_filled(map(fd, SIZE), SIZE, 1);
		succeed();
	}
	fd = open_device();
	p = map(fd, SIZE);
	fill(p, SIZE, 1);
	unmap(p, SIZE);
	expect_ok(send_fd(socket, fd));
	expect_success(pid);
}

TEST("R3 the receiver learns what it got from fstat and EXMEM_GET_INFO")
{
	struct stat stat;
	int fd, socket;
	pid_t pid;

	socket = connect_child(&pid);
	if (!pid) {
		fd = expect_ok(receive_fd(socket));
		expect_ok(fstat(fd, &stat));
		expect_equal(3 * PAGE + 7, stat.st_size);
		expect_equal(3 * PAGE + 7, info_of(fd).size);
		expect_equal(is_host_access() ? HOST_ACCESS : 0, info_of(fd).flags);
		succeed();
	}
	expect_ok(send_fd(socket, make_memfd(3 * PAGE + 7)));
	expect_success(pid);
}

TEST("R3 bytes survive in a socket's queue while nobody has the descriptor")
{
	int sockets[2], fd = make_memfd(SIZE);
	char *p = map(fd, SIZE);

	fill(p, SIZE, 1);
	unmap(p, SIZE);
	make_socket_pair(sockets);
	expect_ok(send_fd(sockets[0], fd));
	close(fd);
	fd = expect_ok(receive_fd(sockets[1]));
	expect_filled(map(fd, SIZE), SIZE, 1);
}

TEST("R3 a descriptor that nobody receives is freed with its socket")
{
	int sockets[2], fd = make_memfd(SIZE);
	long objects = counter("objects"), pages = counter("pages_in_use");
	char *p = map(fd, SIZE);

	fill(p, SIZE, 1);
	unmap(p, SIZE);
	make_socket_pair(sockets);
	expect_ok(send_fd(sockets[0], fd));
	close(fd);
	expect_counter(objects, "objects");
	close(sockets[0]);
	close(sockets[1]);
	expect_counter_soon(objects - 1, "objects");
	expect_counter_soon(pages, "pages_in_use");
}

TEST("R3 the next mmap succeeds after the mapper was killed, with its bytes")
{
	int mapped = make_gate(), fd = make_memfd(SIZE);
	char *p;
	pid_t pid = start_child();

	if (!pid) {
		p = map(fd, SIZE);
		fill(p, SIZE, 7);
		open_gate(mapped);
		pause();
	}
	wait_at_gate(mapped);
	expect_errno(EBUSY, try_map(fd, SIZE));
	expect_ok(kill(pid, SIGKILL));
	/* A zombie's memory is gone before it can be waited for. */
	expect_killed(SIGKILL, pid);
	p = map(fd, SIZE);
	expect_filled(p, SIZE, 7);
}

TEST("R3 a mapping keeps others away though no descriptor of its process is open")
{
	int mapped = make_gate(), fd = make_memfd(SIZE);
	pid_t pid = start_child();

	if (!pid) {
		map(fd, SIZE);
		close(fd);
		open_gate(mapped);
		pause();
	}
	wait_at_gate(mapped);
	expect_errno(EBUSY, try_map(fd, SIZE));
	expect_ok(kill(pid, SIGKILL));
	expect_killed(SIGKILL, pid);
	map(fd, SIZE);
}

TEST("R15 a receiver can wait for its turn with EXMEM_WAIT_IDLE")
{
	int mapped = make_gate(), fd = make_memfd(SIZE);
	uint64_t begin;
	char *p;
	pid_t pid = start_child();

	if (!pid) {
		p = map(fd, SIZE);
		fill(p, SIZE, 1);
		open_gate(mapped);
		sleep_ms(300);
		unmap(p, SIZE);
		succeed();
	}
	wait_at_gate(mapped);
	begin = now_ns();
	expect_ok(wait_idle(fd, -1));
	check(now_ns() - begin > 100 * 1000 * 1000, "it did not wait");
	expect_filled(map(fd, SIZE), SIZE, 1);
	expect_success(pid);
}

TEST("R15 a receiver can wait for the mapper's death with EXMEM_WAIT_IDLE")
{
	int mapped = make_gate(), fd = make_memfd(SIZE);
	pid_t pid = start_child();

	if (!pid) {
		fill(map(fd, SIZE), SIZE, 1);
		open_gate(mapped);
		sleep_ms(300);
		kill(getpid(), SIGKILL);
	}
	wait_at_gate(mapped);
	expect_ok(wait_idle(fd, 60 * SECOND));
	expect_filled(map(fd, SIZE), SIZE, 1);
	expect_killed(SIGKILL, pid);
}

TEST("R15 a receiver can wait for its turn with poll")
{
	int mapped = make_gate(), fd = make_memfd(SIZE);
	struct pollfd poll_fd = { fd, POLLOUT, 0 };
	pid_t pid = start_child();

	if (!pid) {
		char *p = map(fd, SIZE);

		fill(p, SIZE, 1);
		open_gate(mapped);
		sleep_ms(300);
		unmap(p, SIZE);
		pause();
	}
	wait_at_gate(mapped);
	expect_equal(0, poll(&poll_fd, 1, 0));
	expect_equal(1, poll(&poll_fd, 1, 30000));
	expect_equal(POLLOUT, poll_fd.revents);
	expect_filled(map(fd, SIZE), SIZE, 1);
	kill(pid, SIGKILL);
	expect_killed(SIGKILL, pid);
}

TEST("R3 of many processes that try at once, one wins each time", .seconds = 120)
{
	enum { PROCESSES = 4, ROUNDS = 200 };
	int fd = make_memfd(SIZE);
	char *p = map(fd, SIZE);
	pid_t pids[PROCESSES];
	uint64_t total = 0;

	unmap(p, SIZE);
	for (int i = 0; i < PROCESSES; i++) {
		pids[i] = start_child();
		if (pids[i])
			continue;
		for (int round = 0; round < ROUNDS;) {
			uint64_t *q = try_map(fd, SIZE);
			uint64_t old;

			if (q == MAP_FAILED) {
				expect_equal(EBUSY, errno);
				expect_ok(wait_idle(fd, -1));
				continue;
			}
			/* Not atomic: nobody else may be there. */
			old = *(volatile uint64_t *)q;
			if (round % 16 == 0)
				sleep_ms(1);
			*(volatile uint64_t *)q = old + 1;
			unmap(q, SIZE);
			round++;
		}
		succeed();
	}
	for (int i = 0; i < PROCESSES; i++)
		expect_success(pids[i]);
	total = *(volatile uint64_t *)map(fd, SIZE);
	expect_equal(PROCESSES * ROUNDS, total);
}

TEST("R11 a process without capabilities can use a descriptor that it was sent")
{
	int fd, socket;
	pid_t pid;
	char *p;

	socket = connect_child(&pid);
	if (!pid) {
		drop_privileges();
		expect_errno(EACCES, open(DEVICE, O_RDWR));
		fd = expect_ok(receive_fd(socket));
		expect_filled(map(fd, SIZE), SIZE, 1);
		succeed();
	}
	fd = make_memfd(SIZE);
	p = map(fd, SIZE);
	fill(p, SIZE, 1);
	unmap(p, SIZE);
	expect_ok(send_fd(socket, fd));
	expect_success(pid);
}
