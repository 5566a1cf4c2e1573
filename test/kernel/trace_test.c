// SPDX-License-Identifier: GPL-2.0
/* The tracepoints exclusive_memory:*. */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "memory.h"
#include "process.h"
#include "system.h"
#include "test_module.h"

#define TRACING "/sys/kernel/tracing/"

static void need_tracing(void)
{
	if (access(TRACING "events", F_OK))
		skip("no tracefs");
}

TEST("trace the events exist")
{
	static const char *const names[] = { "create", "map", "unmap", "destroy", "get", "put" };
	char path[128];

	need_tracing();
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), TRACING "events/exclusive_memory/exmem_%s/format", names[i]);
		check(!access(path, R_OK), "%s: %s", path, errno_name(errno));
	}
}

static void enable(const char *value)
{
	expect_ok(write_text(TRACING "events/exclusive_memory/enable", value));
}

/* What is traced of a child's deeds; static. */
static const char *trace_of(void (*run)(void))
{
	int status;
	pid_t pid;

	need_tracing();
	expect_ok(write_text(TRACING "trace", "\n"));
	enable("1");
	pid = start_child();
	if (!pid) {
		run();
		succeed();
	}
	waitpid(pid, &status, 0);
	enable("0");
	check(status == 0, "a child ended with wait status 0x%x", status);
	return read_text(TRACING "trace");
}

static void expect_events(const char *trace, const char *const names[], size_t n)
{
	for (size_t i = 0; i < n; i++) {
		char event[64];
		const char *found;

		snprintf(event, sizeof(event), ": exmem_%s: ", names[i]);
		found = strstr(trace, event);
		check(found, "no %s (or too early) in:\n%s", names[i], trace);
		trace = found + 1;
	}
}

static void live(void)
{
	int fd = make_memfd(2 * PAGE);
	char *p = map(fd, 2 * PAGE);

	unmap(p, 2 * PAGE);
	expect_ok(destroy(fd));
}

TEST("trace an object's life")
{
	static const char *const events[] = { "create", "map", "unmap", "destroy" };

	expect_events(trace_of(live), events, ARRAY_SIZE(events));
}

static void live_as_device(void)
{
	int fd = open_device();

	unmap(map(fd, 2 * PAGE), 2 * PAGE);
}

TEST("trace a device file's life")
{
	static const char *const events[] = { "create", "map", "unmap" };

	expect_events(trace_of(live_as_device), events, ARRAY_SIZE(events));
}

static void take_references(void)
{
	int fd = make_memfd(2 * PAGE);

	expect_ok(command("bind t %d", fd));
	expect_ok(command("get t 1"));
	expect_ok(command("put t"));
	expect_ok(command("unbind t"));
}

TEST("trace references")
{
	static const char *const events[] = { "create", "get", "put" };

	need_test_module();
	expect_ok(command("reset"));
	expect_events(trace_of(take_references), events, ARRAY_SIZE(events));
	expect_ok(command("reset"));
}

TEST("trace nothing shows a byte of the content, or a kernel address")
{
	const char *trace = trace_of(live);

	check(!strstr(trace, "ffff8") && !strstr(trace, "ffffa"), "an address in:\n%s", trace);
}
