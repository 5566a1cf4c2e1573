// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "system.h"
#include "test_module.h"

#define DIRECTORY "/sys/kernel/debug/exclusive_memory_test/"

void need_test_module(void)
{
	if (access(DIRECTORY "command", F_OK))
		skip("the module exclusive_memory_test is not loaded");
}

int command(const char *format, ...)
{
	char text[100];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	return write_text(DIRECTORY "command", text);
}

const char *told(void)
{
	static char list[8192];
	size_t n = 0;

	list[0] = '\0';
	for (const char *p = read_text(DIRECTORY "log"); *p && n < sizeof(list) - 3; p++) {
		if (*p != '\n') {
			list[n++] = *p;
		} else if (p[1]) {
			list[n++] = ',';
			list[n++] = ' ';
		}
	}
	list[n] = '\0';
	return list;
}

uint64_t unpinnable_pfn_of(const void *address)
{
	char text[32];

	need_test_module();
	snprintf(text, sizeof(text), "%p", address);
	if (write_text(DIRECTORY "pfn", text)) {
		expect_equal(EINVAL, errno);
		return 0;
	}
	return strtoull(read_text(DIRECTORY "pfn"), NULL, 10);
}

struct page_reads read_page(uint64_t pfn)
{
	struct page_reads reads = { 0 };
	char text[32];
	const char *answer;

	snprintf(text, sizeof(text), "%llu", (unsigned long long)pfn);
	expect_ok(write_text(DIRECTORY "page", text));
	answer = read_text(DIRECTORY "page");
	if (sscanf(answer, "direct_map %d image %d", &reads.direct_map, &reads.image) == 2)
		reads.has_image_address = true;
	else if (!strstr(answer, "image none"))
		fail("page: \"%s\"", answer);
	return reads;
}

/* One descriptor: that of a file which is read may be one that is written. */
static ssize_t ask(const char *path, uint64_t pfn, void *answer, size_t size)
{
	int fd = expect_ok(open(path, O_RDWR | O_CLOEXEC)), err = 0;
	char text[32];
	ssize_t n;

	snprintf(text, sizeof(text), "%llu", (unsigned long long)pfn);
	expect_ok(write(fd, text, strlen(text)));
	/* Not from where write(2) left off. */
	n = pread(fd, answer, size, 0);
	if (n < 0)
		err = errno;
	close(fd);
	errno = err;
	return n;
}

uint64_t direct_map_pfn(uint64_t pfn)
{
	char answer[32] = "";

	expect_ok(ask(DIRECTORY "entry", pfn, answer, sizeof(answer) - 1));
	return strtoull(answer, NULL, 10);
}

int read_mapped_page(uint64_t pfn, void *bytes)
{
	return ask(DIRECTORY "mapped", pfn, bytes, 4096) == 4096 ? 0 : -1;
}

int read_page_content(uint64_t pfn, void *bytes)
{
	return ask(DIRECTORY "content", pfn, bytes, 4096) == 4096 ? 0 : -1;
}

int count_pages_with_inverted(uint64_t inverted)
{
	int fd = expect_ok(open(DIRECTORY "search", O_RDWR | O_CLOEXEC)), found = 0;
	char answer[4096];
	ssize_t n;

	expect_equal(sizeof(inverted), write(fd, &inverted, sizeof(inverted)));
	n = expect_ok(pread(fd, answer, sizeof(answer) - 1, 0));
	close(fd);
	answer[n] = '\0';
	if (!strcmp(answer, "none\n"))
		return 0;
	for (char *line = strtok(answer, "\n"); line; line = strtok(NULL, "\n")) {
		if (found++ < 4)
			diag("found in page %s", line);
	}
	check(found, "search: \"%s\"", answer);
	return found;
}
