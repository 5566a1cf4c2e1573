// SPDX-License-Identifier: GPL-2.0
/* R10: no hibernation while an object holds pages. */
#include <string.h>

#include "memory.h"
#include "system.h"

static void need_hibernation(void)
{
	if (access("/sys/power/disk", F_OK))
		skip("this kernel cannot hibernate");
	if (!strstr(read_text("/sys/power/state"), "disk"))
		skip("hibernation is not to be had here: \"%.*s\"", (int)strcspn(read_text("/sys/power/disk"), "\n"),
		     read_text("/sys/power/disk"));
}

/* All of it but the end: devices are not even suspended. */
static void choose_test_mode(void)
{
	write_text("/sys/power/disk", "test_resume");
	write_text("/sys/power/pm_test", "freezer");
}

static void expect_refused(void)
{
	int log = log_begin();

	expect_errno(EBUSY, write_text("/sys/power/state", "disk"));
	check(log_contains(log, "exclusive_memory: "), "the kernel's log does not say so");
}

TEST("R10 hibernation is EBUSY while a mapped object holds pages, and the log says so")
{
	char *p;

	need_hibernation();
	choose_test_mode();
	p = map(make_memfd(8 * PAGE), 8 * PAGE);
	fill(p, 8 * PAGE, 1);
	expect_refused();
	expect_refused();
	expect_filled(p, 8 * PAGE, 1);
}

TEST("R10 hibernation is EBUSY while an object holds pages that nobody has mapped")
{
	int fd;
	char *p;

	need_hibernation();
	choose_test_mode();
	fd = make_memfd(8 * PAGE);
	p = map(fd, 8 * PAGE);
	fill(p, 8 * PAGE, 1);
	unmap(p, 8 * PAGE);
	expect_refused();
	expect_filled(map(fd, 8 * PAGE), 8 * PAGE, 1);
}

TEST("R10 an object without pages is no obstacle, nor one that was destroyed or closed")
{
	int destroyed, closed;

	need_hibernation();
	if (access("/sys/power/pm_test", F_OK))
		skip("this kernel cannot stop half-way (CONFIG_PM_DEBUG)");
	choose_test_mode();
	make_memfd(8 * PAGE);
	destroyed = make_memfd(8 * PAGE);
	map(destroyed, 8 * PAGE);
	expect_ok(destroy(destroyed));
	closed = make_memfd(8 * PAGE);
	unmap(map(closed, 8 * PAGE), 8 * PAGE);
	close(closed);
	expect_ok(write_text("/sys/power/state", "disk"));
	/* And afterwards all is as before. */
	fill(map(make_memfd(BLOCK), BLOCK), BLOCK, 1);
}

TEST("R10 suspension to memory is not refused")
{
	char *p;

	if (!strstr(read_text("/sys/power/state"), "freeze") || access("/sys/power/pm_test", F_OK))
		skip("this kernel has no suspension that stops half-way");
	expect_ok(write_text("/sys/power/pm_test", "freezer"));
	p = map(make_memfd(8 * PAGE), 8 * PAGE);
	fill(p, 8 * PAGE, 1);
	expect_ok(write_text("/sys/power/state", "freeze"));
	expect_filled(p, 8 * PAGE, 1);
	expect_ok(write_text("/sys/power/pm_test", "none"));
}
