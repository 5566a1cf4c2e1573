// SPDX-License-Identifier: MIT
/*
 * The other end of a HandleChannel in C.
 *
 * channel_peer FRAMING: answers each message on descriptor 3 with the payload
 * reversed, and with the descriptors it came with, after it wrote "C" into each
 * of them.
 *
 * FRAMING is "seqpacket", "length-prefixed", or "vhost-user": a plain stream
 * with messages of that protocol, a header of 12 bytes that the descriptors
 * come with, and as many bytes as its last field says.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_FDS 253
#define MAX_PAYLOAD (1 << 20)

struct fds {
	int count;
	int fd[MAX_FDS];
};

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* One recvmsg(2); adds what comes with the bytes to `fds`. */
static ssize_t receive_some(int s, void *data, size_t size, struct fds *fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * MAX_FDS)];
	} control;
	struct iovec iov = { data, size };
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1,
		.msg_control = &control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *c;
	ssize_t got = recvmsg(s, &msg, MSG_CMSG_CLOEXEC);

	if (got < 0)
		die("recvmsg");
	if (msg.msg_flags & (MSG_CTRUNC | MSG_TRUNC))
		die("truncated");
	for (c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		int count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		if (fds->count + count > MAX_FDS)
			die("too many descriptors");
		memcpy(fds->fd + fds->count, CMSG_DATA(c), count * sizeof(int));
		fds->count += count;
	}
	return got;
}

/* Exactly `size` bytes of a stream; 0 if it has ended before the first. */
static int receive_all(int s, void *data, size_t size, struct fds *fds)
{
	size_t done = 0;

	while (done < size) {
		ssize_t got = receive_some(s, (char *)data + done, size - done, fds);

		if (got == 0 && done == 0)
			return 0;
		if (got == 0)
			die("the end within a message");
		done += got;
	}
	return 1;
}

static void send_all(int s, const void *data, size_t size, const struct fds *fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * MAX_FDS)];
	} control;
	size_t done = 0;

	while (done < size) {
		struct iovec iov = { (char *)data + done, size - done };
		struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
		ssize_t sent;

		if (done == 0 && fds->count > 0) {
			struct cmsghdr *c = &control.align;

			msg.msg_control = &control;
			msg.msg_controllen = CMSG_SPACE(sizeof(int) * fds->count);
			c->cmsg_level = SOL_SOCKET;
			c->cmsg_type = SCM_RIGHTS;
			c->cmsg_len = CMSG_LEN(sizeof(int) * fds->count);
			memcpy(CMSG_DATA(c), fds->fd, sizeof(int) * fds->count);
		}
		sent = sendmsg(s, &msg, MSG_NOSIGNAL);
		if (sent < 0)
			die("sendmsg");
		done += sent;
	}
}

static void reverse(char *data, size_t size)
{
	for (size_t i = 0; i < size / 2; i++) {
		char c = data[i];

		data[i] = data[size - 1 - i];
		data[size - 1 - i] = c;
	}
}

static void use(const struct fds *fds)
{
	for (int i = 0; i < fds->count; i++)
		if (write(fds->fd[i], "C", 1) != 1)
			die("write");
}

static void close_all(const struct fds *fds)
{
	for (int i = 0; i < fds->count; i++)
		close(fds->fd[i]);
}

int main(int argc, char **argv)
{
	static char message[12 + MAX_PAYLOAD];
	const int s = 3;
	const char *framing = argc > 1 ? argv[1] : "";
	int packets = !strcmp(framing, "seqpacket");
	int vhost_user = !strcmp(framing, "vhost-user");

	for (;;) {
		size_t header = packets ? 0 : vhost_user ? 12 : 8;
		struct fds fds = { 0 };
		uint32_t words[3];
		size_t size;

		if (packets) {
			size = receive_some(s, message, sizeof(message), &fds);
			if (size == 0)
				return 0;
		} else {
			if (!receive_all(s, message, header, &fds))
				return 0;
			memcpy(words, message, header);
			size = vhost_user ? words[2] : words[0];
			if (size > MAX_PAYLOAD)
				die("too long");
			if (!receive_all(s, message + header, size, &fds) && size)
				die("the end within a message");
			if (!vhost_user && fds.count != (int)words[1])
				die("not as many descriptors as announced");
		}
		use(&fds);
		reverse(message + header, size);
		if (vhost_user)
			message[4] |= 4; /* VHOST_USER_REPLY_MASK */
		send_all(s, message, header + size, &fds);
		close_all(&fds);
	}
}
