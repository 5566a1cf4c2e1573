// SPDX-License-Identifier: GPL-2.0
/* A page whose memory fails. It is out of use until the machine starts again. */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "memory.h"
#include "process.h"
#include "system.h"

#define OFFLINE "/sys/devices/system/memory/hard_offline_page"
#define SIZE (64 * PAGE)
#define BAD 5

static int fd;
static char *p;
static int answer;

static void need_memory_failure(void)
{
	if (access(OFFLINE, W_OK))
		skip("this kernel has no memory failures");
}

/* The kernel's reaction may be an error: it knows nothing about such a page. */
static void offline(uint64_t pfn)
{
	char text[32];

	check(pfn, "no page");
	snprintf(text, sizeof(text), "0x%llx", (unsigned long long)pfn * PAGE);
	answer = errno_of(write_text(OFFLINE, text));
	diag("hard_offline_page: %s", errno_name(answer));
}

static void begin_with_bad_page(void)
{
	need_memory_failure();
	fd = make_memfd(SIZE);
	p = map(fd, SIZE);
	fill(p, SIZE, 1);
	offline(pfn_of(p + BAD * PAGE));
}

static void expect_good_pages(void)
{
	char *good = expect_ok(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

	fill(good, SIZE, 1);
	check(!memcmp(p, good, BAD * PAGE), "pages before the bad one changed");
	check(!memcmp(p + (BAD + 1) * PAGE, good + (BAD + 1) * PAGE, SIZE - (BAD + 1) * PAGE),
	      "pages behind the bad one changed");
}

TEST("R9 the machine survives, and the bad page works or is SIGBUS")
{
	pid_t pid = start_child();

	if (!pid) {
		int signal;

		begin_with_bad_page();
		signal = signal_of_load(p + BAD * PAGE);
		check(signal == 0 || signal == SIGBUS, "signal %d", signal);
		expect_good_pages();
		succeed();
	}
	{
		int status;

		waitpid(pid, &status, 0);
		/* The kernel may end who has a bad page mapped. */
		if (WIFSIGNALED(status))
			expect_equal(SIGBUS, WTERMSIG(status));
		else if (WEXITSTATUS(status) == 77)
			_exit(77);
		else
			expect_equal(0, WEXITSTATUS(status));
	}
}

TEST("R9 destroy keeps the bad page out of use, and frees the others")
{
	long quarantined, pages = counter("pages_in_use");

	need_memory_failure();
	signal(SIGBUS, SIG_IGN);
	quarantined = counter("pages_quarantined");
	begin_with_bad_page();
	expect_ok(destroy(fd));
	unmap(p, SIZE);
	close(fd);
	expect_counter_soon(pages, "pages_in_use");
	expect_counter_soon(quarantined + 1, "pages_quarantined");
}

TEST("R9 nobody gets the bad page again, and the others of its block work")
{
	uint64_t bad;
	long quarantined;

	need_memory_failure();
	signal(SIGBUS, SIG_IGN);
	quarantined = counter("pages_quarantined");
	fd = make_memfd(SIZE);
	p = map(fd, SIZE);
	bad = pfn_of(p + BAD * PAGE);
	offline(bad);
	unmap(p, SIZE);
	close(fd);
	expect_counter_soon(quarantined + 1, "pages_quarantined");
	for (int i = 0; i < 40; i++) {
		int other = make_memfd(SIZE);
		char *q = map(other, SIZE);

		expect_zero(q, SIZE);
		fill(q, SIZE, i);
		for (size_t page = 0; page < SIZE / PAGE; page++)
			check(pfn_of(q + page * PAGE) != bad, "the bad page is back");
		expect_filled(q, SIZE, i);
	}
}

TEST("R9 a page that fails in a whole block of one object")
{
	long quarantined;

	need_memory_failure();
	signal(SIGBUS, SIG_IGN);
	quarantined = counter("pages_quarantined");
	fd = make_memfd_flags(BLOCK, EXMEM_CREATE_HUGE);
	p = map(fd, BLOCK);
	fill(p, BLOCK, 1);
	offline(pfn_of(p + 100 * PAGE));
	expect_ok(destroy(fd));
	expect_counter_soon(quarantined + 1, "pages_quarantined");
}
