/* SPDX-License-Identifier: MIT */
/*
 * The one connection between the virtual machine and the runner on the host:
 * frames of a type and a payload, over a virtio serial port. ../channel.mjs is
 * the other end.
 *
 * Each of the three streams has a window: so many bytes may be under way before
 * the receiver has asked for more. A stream that nobody reads thus never stands
 * in the way of another one.
 */
#ifndef EXMEM_VM_CHANNEL_H
#define EXMEM_VM_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum frame_type {
	FRAME_REQUEST = 1,	/* to the guest: what to run, see request.h */
	FRAME_STDIN = 2,	/* to the guest: data; none means the end */
	FRAME_STDOUT = 3,	/* to the host: likewise */
	FRAME_STDERR = 4,
	FRAME_CREDIT = 5,	/* u32 stream, u32 bytes that it may send in addition */
	FRAME_CLOSED = 6,	/* u32 stream that nobody reads any more */
	FRAME_WINDOW_SIZE = 7,	/* to the guest: u32 rows, u32 columns */
	FRAME_EXIT = 8,		/* to the host: u32 status, u32 signal */
	FRAME_BYE = 9,		/* to the guest: everything has arrived */
};

#define STREAM_WINDOW (256 * 1024)

struct buffer {
	char *data;
	size_t start, end, size;
};

static inline size_t buffer_length(const struct buffer *b)
{
	return b->end - b->start;
}

void buffer_append(struct buffer *b, const void *data, size_t length);

/* Connect to the host. */
void channel_open(void);

/* To be given to poll(2). */
int channel_fd(void);
short channel_events(void);

/* Queue a frame. */
void channel_send(enum frame_type type, const void *data, size_t length);
void channel_send_pair(enum frame_type type, uint32_t first, uint32_t second);

/* Bytes that are queued and have not left yet. */
size_t channel_backlog(void);

/* Send and receive what is possible now. */
void channel_work(void);

/* The next frame that has arrived, if any; valid until the next call of channel_*(). */
bool channel_next(enum frame_type *type, const char **data, size_t *length);

#endif
