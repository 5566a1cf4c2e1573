// SPDX-License-Identifier: GPL-2.0
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"
#include "system.h"

/* An emulated processor and a kernel that checks itself are slow. */
#define SECONDS 60

enum { EXIT_FAILED = 1, EXIT_SKIPPED = 77 };

static struct test *tests, **tests_end = &tests;

/* Shared with the test's process through a pipe: why it was skipped. */
static int skip_pipe[2];

void test_add(struct test *test)
{
	*tests_end = test;
	tests_end = &test->next;
}

void sleep_ms(unsigned int ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000L };

	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * UINT64_C(1000000000) + t.tv_nsec;
}

const char *errno_name(int number)
{
	const char *name = strerrorname_np(number);

	return name ?: "an unknown errno";
}

/* One write for one line: several processes share the output. */
static void say(const char *prefix, const char *format, va_list arguments)
{
	char line[1000];
	int n = snprintf(line, sizeof(line) - 1, "%s", prefix);

	n += vsnprintf(line + n, sizeof(line) - 1 - n, format, arguments);
	if (n > (int)sizeof(line) - 2)
		n = sizeof(line) - 2;
	line[n++] = '\n';
	if (write(STDOUT_FILENO, line, n) != n)
		abort();
}

static void say_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say_line(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	say("", format, arguments);
	va_end(arguments);
}

void diag(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	say("# ", format, arguments);
	va_end(arguments);
}

void skip(const char *format, ...)
{
	char reason[300];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(reason, sizeof(reason), format, arguments);
	va_end(arguments);
	if (write(skip_pipe[1], reason, strlen(reason)) < 0)
		abort();
	_exit(EXIT_SKIPPED);
}

void fail_at(const char *file, int line, const char *format, ...)
{
	char prefix[100];
	va_list arguments;

	snprintf(prefix, sizeof(prefix), "# %s:%d: ", file, line);
	va_start(arguments, format);
	say(prefix, format, arguments);
	va_end(arguments);
	_exit(EXIT_FAILED);
}

void succeed(void)
{
	_exit(EXIT_SUCCESS);
}

/* What a test may not leave behind. */
static const char *const watched[] = { "pages_in_use", "objects", "mappings", "views", "view_ranges" };

struct watch {
	long values[ARRAY_SIZE(watched)];
};

static struct watch watch_now(void)
{
	struct watch w;

	for (size_t i = 0; i < ARRAY_SIZE(watched); i++)
		w.values[i] = counter(watched[i]);
	return w;
}

static bool same(struct watch a, struct watch b)
{
	return !memcmp(&a, &b, sizeof(a));
}

/* A file's last reference goes shortly after its last user. */
static bool left_behind(struct watch before)
{
	struct watch now;

	if (eventually(same(now = watch_now(), before)))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(watched); i++)
		if (now.values[i] != before.values[i])
			diag("%s was %ld before, is %ld after", watched[i],
			     before.values[i], now.values[i]);
	return true;
}

static void reap_everybody(void)
{
	for (int ms = 0; ms < 5000; ms += 5) {
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		if (waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD)
			return;
		sleep_ms(5);
	}
	diag("a process of the test does not end");
}

/* The wait status of the test's own process; -1 if it took too long. */
static int run_in_child(struct test *test)
{
	unsigned int seconds = test->seconds ?: SECONDS;
	int status = -1, ready;
	struct pollfd pidfd = { .events = POLLIN };
	pid_t pid = fork();

	if (!pid) {
		setpgid(0, 0);
		signal(SIGPIPE, SIG_IGN);
		test->run();
		succeed();
	}
	setpgid(pid, pid);
	pidfd.fd = syscall(SYS_pidfd_open, pid, 0);
	do {
		ready = poll(&pidfd, 1, seconds * 1000);
	} while (ready < 0 && errno == EINTR);
	if (!ready)
		diag("not done after %u seconds", seconds);
	kill(-pid, SIGKILL);
	waitpid(pid, &status, 0);
	close(pidfd.fd);
	reap_everybody();
	return ready == 1 ? status : -1;
}

static bool run_test(struct test *test, int number)
{
	struct watch before = watch_now();
	char reason[301] = "";
	int status;
	bool passed, skipped;

	if (pipe(skip_pipe))
		abort();
	status = run_in_child(test);
	close(skip_pipe[1]);
	if (read(skip_pipe[0], reason, sizeof(reason) - 1) < 0)
		abort();
	close(skip_pipe[0]);

	if (WIFSIGNALED(status) && status != -1)
		diag("ended by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	skipped = status != -1 && WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED;
	passed = !left_behind(before) && (status == 0 || skipped);
	say_line("%sok %d - %s%s%s", passed ? "" : "not ", number, test->name,
		 skipped ? " # SKIP " : "", skipped ? reason : "");
	return passed;
}

int main(int argc, char **argv)
{
	const char *wanted = argc > 1 ? argv[1] : "";
	int number = 0, failed = 0;
	struct watch before;

	if (access("/sys/kernel/exclusive_memory", F_OK)) {
		say_line("Bail out! The module is not loaded");
		return EXIT_FAILED;
	}
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	for (struct test *test = tests; test; test = test->next)
		number += strstr(test->name, wanted) != NULL;
	say_line("1..%d", number + 1);

	before = watch_now();
	number = 0;
	for (struct test *test = tests; test; test = test->next)
		if (strstr(test->name, wanted))
			failed += !run_test(test, ++number);
	{
		bool clean = !left_behind(before);

		say_line("%sok %d - L1 pages in use, objects, mappings and views are what they were",
			 clean ? "" : "not ", ++number);
		failed += !clean;
	}
	return failed ? EXIT_FAILED : EXIT_SUCCESS;
}
