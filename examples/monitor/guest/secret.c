// SPDX-License-Identifier: MIT
/*
 * What is told of the secret is inverted, so that telling it makes no copy; it
 * goes byte by byte, so that no register that the kernel saves ever holds more
 * than one of them.
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

#include "mailbox.h"
#include "secret.h"

#define SIZE 4096

static volatile unsigned char *secret;

/* Of the page that a pointer leads to. */
static uint64_t physical_address(const volatile void *pointer)
{
	const uint64_t frame_mask = (1ULL << 55) - 1, present = 1ULL << 63;
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;

	if (fd < 0 || pread(fd, &entry, sizeof(entry), (uintptr_t)pointer / SIZE * sizeof(entry)) != sizeof(entry) ||
	    !(entry & present)) {
		perror("/proc/self/pagemap");
		abort();
	}
	close(fd);
	return (entry & frame_mask) * SIZE;
}

static char hex_digit(unsigned int value)
{
	return value < 10 ? '0' + value : 'a' + value - 10;
}

void make_secret(void)
{
	size_t room, length;
	char *text;
	int i;

	if (!secret) {
		void *page = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (page == MAP_FAILED || madvise(page, SIZE, MADV_DONTFORK) || mlock(page, SIZE) ||
		    getrandom(page, SIZE, 0) != SIZE) {
			perror("make_secret");
			abort();
		}
		secret = page;
	}
	text = begin_message(&room);
	length = snprintf(text, room, "secret %llx ", (unsigned long long)physical_address(secret));
	for (i = 0; i < SIZE; i++) {
		unsigned char inverted = ~secret[i];

		text[length++] = hex_digit(inverted >> 4);
		text[length++] = hex_digit(inverted & 15);
	}
	send_message(length);
}
