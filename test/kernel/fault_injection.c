// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fault_injection.h"
#include "system.h"

static int fail_nth = -1;

void set_fault(const char *directory, const char *name, const char *value)
{
	char path[100];

	snprintf(path, sizeof(path), DEBUGFS "%s/%s", directory, name);
	write_text(path, value);
}

/*
 * A thread that was moved to another CPU writes its rseq area on its way back from the kernel. After fork(2) that is
 * a copy, whose allocation may be the nth: the kernel then ends the thread by SIGSEGV.
 */
static void leave_rseq(void)
{
	char *area = (char *)__builtin_thread_pointer() + __rseq_offset;

	if (__rseq_size)
		expect_ok(syscall(SYS_rseq, area, sizeof(struct rseq), RSEQ_FLAG_UNREGISTER, RSEQ_SIG));
}

void need_fault_injection(void)
{
	static const char *const directories[] = { "failslab", "fail_page_alloc" };

	fail_nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (fail_nth < 0 || access(DEBUGFS "failslab", F_OK))
		skip("this kernel has no fault injection");
	leave_rseq();
	for (size_t i = 0; i < ARRAY_SIZE(directories); i++) {
		set_fault(directories[i], "probability", "0");
		set_fault(directories[i], "verbose", "0");
		set_fault(directories[i], "ignore-gfp-wait", "N");
		set_fault(directories[i], "ignore-gfp-highmem", "N");
		set_fault(directories[i], "cache-filter", "N");
		set_fault(directories[i], "min-order", "0");
	}
}

static void inject(int n)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", n);
	expect_ok(pwrite(fail_nth, text, strlen(text), 0));
}

static bool was_injected(void)
{
	char text[16] = "";

	expect_ok(pread(fail_nth, text, sizeof(text) - 1, 0));
	inject(0);
	return atoi(text) == 0;
}

struct attempt call_with_fault(long (*call)(void), int n)
{
	struct attempt attempt;

	inject(n);
	errno = 0;
	attempt.result = call();
	attempt.err = errno;
	attempt.injected = was_injected();
	return attempt;
}
