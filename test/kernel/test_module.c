// SPDX-License-Identifier: GPL-2.0
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
