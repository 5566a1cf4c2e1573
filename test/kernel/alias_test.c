// SPDX-License-Identifier: GPL-2.0
/* R9: memory for which the kernel has a second address is not used. */
#include <string.h>

#include "memory.h"
#include "system.h"
#include "test_module.h"

#define LIMIT "/sys/module/exclusive_memory/parameters/limit_bytes"
#define RESERVE "/proc/sys/vm/min_free_kbytes"
#define MAX_OBJECTS 512
#define SMALL ((size_t)256 << 10)

static struct {
	char *address;
	size_t size;
} objects[MAX_OBJECTS];
static int nr_objects;

static size_t free_memory(void)
{
	return field("/proc/meminfo", "MemFree") * 1024;
}

static void set(const char *path, const char *value, char *old, size_t size)
{
	strncpy(old, read_text(path), size - 1);
	expect_ok(write_text(path, value));
}

/* Memory of the kernel's image is found only when nearly all other is taken. */
static void take_memory_until_refused(long refused)
{
	while (counter("pages_refused") == refused && nr_objects < MAX_OBJECTS) {
		size_t size = free_memory() > 64 << 20 ? 16 << 20 : SMALL;
		int fd = make_memfd(size);
		char *address = try_map(fd, size);

		close(fd);
		if (address == MAP_FAILED)
			return;
		objects[nr_objects].address = address;
		objects[nr_objects++].size = size;
	}
}

static void expect_unreadable(const char *address)
{
	struct page_reads reads = read_page(pfn_of(address));

	expect_equal(-EFAULT, reads.direct_map);
	if (reads.has_image_address)
		expect_equal(-EFAULT, reads.image);
}

TEST("R9 freed memory of the kernel image is refused", .seconds = 300)
{
	long refused = counter("pages_refused");
	char limit[32] = "", reserve[32] = "";

	need_test_module();
	set(LIMIT, "0x7fffffffffffffff", limit, sizeof(limit));
	set(RESERVE, "2048", reserve, sizeof(reserve));
	take_memory_until_refused(refused);
	/* The machine needs it; the small objects came last, page by page. */
	for (int i = 0; i < nr_objects && objects[i].size > SMALL; i++)
		unmap(objects[i].address, objects[i].size);
	expect_ok(write_text(RESERVE, reserve));
	expect_ok(write_text(LIMIT, limit));
	check(counter("pages_refused") > refused, "no page of it was found");
	diag("%ld pages refused, %ld single", counter("pages_refused") - refused, counter("pages_single"));

	for (int i = nr_objects - 1; i >= 0 && i >= nr_objects - 4 && objects[i].size <= SMALL; i--) {
		for (size_t offset = 0; offset < SMALL; offset += PAGE)
			expect_unreadable(objects[i].address + offset);
	}
}
