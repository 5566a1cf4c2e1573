// SPDX-License-Identifier: GPL-2.0
/* A kernel that takes a view of process memory for corruption: page_table_check=on. */
#include <string.h>

#include "memory.h"
#include "system.h"
#include "view.h"

TEST("V8 process memory is no source under page_table_check: EOPNOTSUPP")
{
	int view = make_view(16 * PAGE);
	char *own = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct memview_map_mem mem = { .addr = (uintptr_t)own, .size = PAGE, .flags = MEMVIEW_MAP_READ };
	int log = log_begin();

	if (!strstr(read_text("/proc/cmdline"), "page_table_check=on"))
		skip("page_table_check=on is not on the kernel's command line");
	expect_errno(EOPNOTSUPP, ioctl(view, MEMVIEW_MAP_MEM, &mem));
	check(log_contains(log, "page_table_check=on"), "the log does not say why");
	/* Nothing is mapped, and the view works. */
	expect_ok(view_map(view, make_filled_file(PAGE, 1), 0, PAGE, 0, VIEW_RW));
}
