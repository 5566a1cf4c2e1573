// SPDX-License-Identifier: MIT
/*
 * Process B: whoever was given a view. Plain C, and no library of ours.
 *
 * usage: viewer SOCKET; see viewer.py
 */
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static sigjmp_buf jump;

static void on_signal(int number)
{
	siglongjmp(jump, number);
}

static int receive_fd(int socket)
{
	char byte, control[CMSG_SPACE(sizeof(int))];
	struct iovec iov = { &byte, 1 };
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *header;
	int fd;

	if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1)
		return -1;
	header = CMSG_FIRSTHDR(&message);
	if (!header || header->cmsg_type != SCM_RIGHTS)
		return -1;
	memcpy(&fd, CMSG_DATA(header), sizeof(fd));
	return fd;
}

int main(int argc, char **argv)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_NODEFER };
	int fd = argc == 2 ? receive_fd(atoi(argv[1])) : -1, value, number;
	volatile unsigned char *window;
	struct stat stat;
	char line[100];
	size_t offset;

	if (fd < 0 || fstat(fd, &stat))
		return 1;
	window = mmap(NULL, stat.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (window == MAP_FAILED)
		return 1;
	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGSEGV, &action, NULL);
	setvbuf(stdout, NULL, _IOLBF, 0);

	while (fgets(line, sizeof(line), stdin)) {
		number = sigsetjmp(jump, 0);
		if (number) {
			printf("SIG%s\n", sigabbrev_np(number));
		} else if (sscanf(line, "load %zu", &offset) == 1) {
			printf("%d\n", window[offset]);
		} else if (sscanf(line, "store %zu %d", &offset, &value) == 2) {
			window[offset] = value;
			puts("stored");
		} else if (!strcmp(line, "size\n")) {
			printf("%lld\n", (long long)stat.st_size);
		} else {
			puts("what?");
		}
	}
	return 0;
}
