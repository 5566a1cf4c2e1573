// SPDX-License-Identifier: MIT
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "channel.h"
#include "system.h"

/* The only port of the only virtio serial device; port 0 would be a console. */
#define PORT "/dev/vport0p1"

#define LARGEST_FRAME (16 * 1024 * 1024)

struct header {
	uint32_t type, length;
};

static int port = -1;
static bool connected;
static struct buffer incoming, outgoing;

void buffer_append(struct buffer *b, const void *data, size_t length)
{
	if (b->end + length > b->size) {
		memmove(b->data, b->data + b->start, buffer_length(b));
		b->end -= b->start;
		b->start = 0;
		if (b->end + length > b->size) {
			b->size = 2 * (b->end + length);
			b->data = realloc(b->data, b->size);
			if (!b->data)
				fatal("out of memory");
		}
	}
	memcpy(b->data + b->end, data, length);
	b->end += length;
}

void channel_open(void)
{
	/* The port appears some time after its driver. */
	for (int tries = 0; port < 0; tries++) {
		port = open(PORT, O_RDWR | O_NONBLOCK | O_CLOEXEC);
		if (port < 0 && tries == 10000)
			fatal("cannot open %s: %s", PORT, strerror(errno));
		if (port < 0)
			usleep(1000);
	}
}

int channel_fd(void)
{
	return port;
}

short channel_events(void)
{
	return POLLIN | (buffer_length(&outgoing) ? POLLOUT : 0);
}

void channel_send(enum frame_type type, const void *data, size_t length)
{
	struct header header = { type, length };

	buffer_append(&outgoing, &header, sizeof(header));
	buffer_append(&outgoing, data, length);
}

void channel_send_pair(enum frame_type type, uint32_t first, uint32_t second)
{
	uint32_t pair[2] = { first, second };

	channel_send(type, pair, sizeof(pair));
}

size_t channel_backlog(void)
{
	return buffer_length(&outgoing);
}

void channel_work(void)
{
	char data[32 * 1024];
	ssize_t n;

	while (buffer_length(&outgoing)) {
		n = write(port, outgoing.data + outgoing.start, buffer_length(&outgoing));
		if (n <= 0)
			break;
		outgoing.start += n;
	}

	while ((n = read(port, data, sizeof(data))) > 0) {
		buffer_append(&incoming, data, n);
		connected = true;
	}
	/* The end: before the first byte it means "not connected yet", then "gone". */
	if (n == 0 && connected)
		power_off();
}

bool channel_next(enum frame_type *type, const char **data, size_t *length)
{
	struct header header;

	if (buffer_length(&incoming) < sizeof(header))
		return false;
	memcpy(&header, incoming.data + incoming.start, sizeof(header));
	if (header.length > LARGEST_FRAME)
		fatal("a frame of %u bytes from the host", header.length);
	if (buffer_length(&incoming) < sizeof(header) + header.length)
		return false;
	*type = header.type;
	*data = incoming.data + incoming.start + sizeof(header);
	*length = header.length;
	incoming.start += sizeof(header) + header.length;
	return true;
}
