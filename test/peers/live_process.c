// SPDX-License-Identifier: MIT
/*
 * A live process that lets a debugger look at a range of its own memory:
 * process A of a remote mapping. It counts, and does not stop for anybody.
 *
 * usage: live_process SOCKET. Sends a view fd there, then obeys its standard
 * input, and says what it did:
 *
 *	address		where the range is, and how long
 *	drop		unmap the second page, as free(3) might
 *	close		revoke everything
 */
#include <err.h>
#include <fcntl.h>
#include <linux/exclusive_memory.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAGE 4096

static unsigned char *range;

static void *count(void *unused)
{
	while (!usleep(1000))
		atomic_fetch_add((atomic_uchar *)range, 1);
	return unused;
}

static void send_fd(int socket, int fd)
{
	char byte = 0, control[CMSG_SPACE(sizeof(int))] = {};
	struct iovec iov = { &byte, 1 };
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &fd, sizeof(fd));
	if (sendmsg(socket, &message, 0) != 1)
		err(1, "sendmsg");
}

int main(int argc, char **argv)
{
	__u64 size = 2 * PAGE;
	struct memview_map_mem mem = { .size = size, .flags = MEMVIEW_MAP_READ };
	pthread_t thread;
	char line[100];
	int view, fd;

	if (argc != 2)
		errx(2, "usage: live_process SOCKET");
	range = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (range == MAP_FAILED)
		err(1, "mmap");
	range[PAGE] = 42;
	pthread_create(&thread, NULL, count, NULL);

	view = open("/dev/memory-view", O_RDWR | O_CLOEXEC);
	if (view < 0)
		err(1, "/dev/memory-view");
	mem.addr = (uintptr_t)range;
	if (ioctl(view, MEMVIEW_SET_SIZE, &size) || ioctl(view, MEMVIEW_MAP_MEM, &mem))
		err(1, "ioctl");
	fd = ioctl(view, MEMVIEW_GET_VIEWFD, 0);
	if (fd < 0)
		err(1, "MEMVIEW_GET_VIEWFD");
	send_fd(atoi(argv[1]), fd);
	close(fd);

	setvbuf(stdout, NULL, _IOLBF, 0);
	while (fgets(line, sizeof(line), stdin)) {
		if (!strcmp(line, "address\n")) {
			printf("%p %llu\n", range, size);
		} else if (!strcmp(line, "drop\n")) {
			munmap(range + PAGE, PAGE);
			puts("dropped");
		} else if (!strcmp(line, "close\n")) {
			close(view);
			puts("closed");
		}
	}
	return 0;
}
