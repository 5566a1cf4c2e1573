// SPDX-License-Identifier: GPL-2.0
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cgroup.h"
#include "process.h"
#include "system.h"

static void need_memory_cgroup(void)
{
	if (!strstr(read_text("/sys/fs/cgroup/cgroup.controllers"), "memory"))
		skip("no memory cgroups");
	append_text("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	rmdir(CGROUP);
	expect_ok(mkdir(CGROUP, 0755));
}

/* A cgroup can go when its last process is gone, though its memory is not. */
static void remove_cgroup(void)
{
	check(eventually(!rmdir(CGROUP) || errno == ENOENT), "rmdir %s: %s", CGROUP, errno_name(errno));
}

long long charged(void)
{
	long long value = -1;

	sscanf(read_text(CGROUP "/memory.current"), "%lld", &value);
	return value;
}

/* In a child, so that a failure leaves no process in there. */
void in_cgroup(const char *max, void (*run)(void))
{
	pid_t pid;

	need_memory_cgroup();
	expect_ok(write_text(CGROUP "/memory.max", max));
	pid = start_child();
	if (!pid) {
		expect_ok(write_text(CGROUP "/cgroup.procs", "0"));
		run();
		succeed();
	}
	expect_success(pid);
	remove_cgroup();
}
