// SPDX-License-Identifier: GPL-2.0
#include <grp.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "process.h"

#define NOBODY 65534

pid_t start_child(void)
{
	return expect_ok(fork());
}

void end_with(int line, const char *file, pid_t pid, int exit_status, int signal)
{
	int status;

	expect_equal(pid, waitpid(pid, &status, 0));
	if (WIFSIGNALED(status) && WTERMSIG(status) != signal)
		fail_at(file, line, "a child was ended by signal %d, expected %s %d", WTERMSIG(status),
			signal ? "signal" : "status", signal ?: exit_status);
	if (WIFEXITED(status) && (signal || WEXITSTATUS(status) != exit_status))
		fail_at(file, line, "a child ended with status %d, expected %s %d", WEXITSTATUS(status),
			signal ? "signal" : "status", signal ?: exit_status);
}

int make_gate(void)
{
	return expect_ok(eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC));
}

void open_gate(int gate)
{
	uint64_t one = 1;

	expect_equal(8, write(gate, &one, 8));
}

void wait_at_gate(int gate)
{
	uint64_t one;

	expect_equal(8, read(gate, &one, 8));
}

void make_socket_pair(int sockets[2])
{
	expect_ok(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets));
}

union control {
	struct cmsghdr header;
	char space[CMSG_SPACE(sizeof(int))];
};

int send_fd(int socket, int fd)
{
	char byte = 'x';
	struct iovec iov = { &byte, 1 };
	union control control = { .header = {
		.cmsg_len = CMSG_LEN(sizeof(int)),
		.cmsg_level = SOL_SOCKET,
		.cmsg_type = SCM_RIGHTS,
	} };
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control.space),
	};

	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	return sendmsg(socket, &message, 0) == 1 ? 0 : -1;
}

int receive_fd(int socket)
{
	char byte;
	struct iovec iov = { &byte, 1 };
	union control control;
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	int fd;

	if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1)
		return -1;
	if (!CMSG_FIRSTHDR(&message)) {
		errno = EMFILE;	/* what recvmsg(2) does not say */
		return -1;
	}
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fd));
	return fd;
}

void drop_privileges(void)
{
	expect_ok(setgroups(0, NULL));
	expect_ok(setresgid(NOBODY, NOBODY, NOBODY));
	expect_ok(setresuid(NOBODY, NOBODY, NOBODY));
	/* So that /proc/self stays readable. */
	expect_ok(prctl(PR_SET_DUMPABLE, 1));
}
