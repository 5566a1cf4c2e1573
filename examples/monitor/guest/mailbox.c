// SPDX-License-Identifier: MIT
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mailbox.h"

/* Tells the monitor to look; ../machine.ts listens there. */
#define DOORBELL 0x510

static struct mailbox *outgoing, *incoming;
static size_t capacity;

static void check(int ok, const char *what)
{
	if (!ok) {
		perror(what);
		abort();
	}
}

void open_window(void)
{
	/* What the kernel does not know on its command line, init finds in its environment. */
	const char *where = getenv("EXMEM_WINDOW");
	unsigned long address, size;
	char *window;
	int fd;

	check(where && sscanf(where, "%lx,%lu", &address, &size) == 2, "EXMEM_WINDOW");
	fd = open("/dev/mem", O_RDWR | O_CLOEXEC);
	check(fd >= 0, "/dev/mem");
	window = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, address);
	check(window != MAP_FAILED, "mmap of the window");
	close(fd);
	check(!ioperm(DOORBELL, 1, 1), "ioperm");

	outgoing = (struct mailbox *)window;
	incoming = (struct mailbox *)(window + size / 2);
	capacity = size / 2 - sizeof(struct mailbox);
}

char *begin_message(size_t *room)
{
	while (atomic_load(&outgoing->taken) != atomic_load(&outgoing->sent))
		usleep(1000);
	*room = capacity;
	return outgoing->text;
}

void send_message(size_t length)
{
	outgoing->length = length;
	atomic_fetch_add(&outgoing->sent, 1);
	outb(1, DOORBELL);
}

void say(const char *format, ...)
{
	size_t room;
	char *text = begin_message(&room);
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(text, room, format, args);
	va_end(args);
	check(length >= 0, "vsnprintf");
	send_message((size_t)length < room ? (size_t)length : room - 1);
}

int take_message(char *text, size_t size)
{
	size_t length;

	if (atomic_load(&incoming->sent) == atomic_load(&incoming->taken))
		return 0;
	length = incoming->length;
	if (length >= size)
		length = size - 1;
	memcpy(text, incoming->text, length);
	text[length] = '\0';
	atomic_store(&incoming->taken, atomic_load(&incoming->sent));
	return 1;
}
