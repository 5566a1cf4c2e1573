// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "system.h"

const char *read_text(const char *path)
{
	static char text[64 << 10];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t length = 0;
	ssize_t n;

	text[0] = '\0';
	if (fd < 0)
		return text;
	while ((n = read(fd, text + length, sizeof(text) - 1 - length)) > 0)
		length += n;
	text[length] = '\0';
	close(fd);
	return text;
}

static int write_with(int flags, const char *path, const char *text)
{
	int fd = open(path, flags | O_CLOEXEC), err = 0;

	if (fd < 0)
		return -1;
	if (write(fd, text, strlen(text)) < 0)
		err = errno;
	close(fd);
	errno = err;
	return err ? -1 : 0;
}

int write_text(const char *path, const char *text)
{
	return write_with(O_WRONLY, path, text);
}

int append_text(const char *path, const char *text)
{
	return write_with(O_WRONLY | O_APPEND, path, text);
}

long counter(const char *name)
{
	char path[100], *end;
	const char *text;
	long value;

	snprintf(path, sizeof(path), "/sys/kernel/exclusive_memory/%s", name);
	text = read_text(path);
	value = strtol(text, &end, 10);
	if (end == text)
		fail("%s: expected a number, got \"%s\"", path, text);
	return value;
}

long long field(const char *path, const char *name)
{
	size_t length = strlen(name);

	for (const char *line = read_text(path); line && *line;) {
		if (!strncmp(line, name, length) && strchr(": \t", line[length]))
			return strtoll(line + length + (line[length] == ':'), NULL, 10);
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	return -1;
}

int log_begin(void)
{
	int fd = expect_ok(open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC));

	expect_ok(lseek(fd, 0, SEEK_END));
	return fd;
}

bool log_contains(int log, const char *text)
{
	char line[8192];
	bool found = false;
	ssize_t n;

	while ((n = read(log, line, sizeof(line) - 1)) > 0 || (n < 0 && errno == EPIPE)) {
		line[n > 0 ? n : 0] = '\0';
		found |= strstr(line, text) != NULL;
	}
	return found;
}

bool kernel_at_least(int major, int minor)
{
	struct utsname name;
	int a = 0, b = 0;

	uname(&name);
	sscanf(name.release, "%d.%d", &a, &b);
	return a > major || (a == major && b >= minor);
}

int run(const char *const arguments[])
{
	int status = 0;
	pid_t pid = expect_ok(fork());

	if (!pid) {
		/* TAP is read from there. */
		dup2(STDERR_FILENO, STDOUT_FILENO);
		execvp(arguments[0], (char *const *)arguments);
		_exit(127);
	}
	expect_equal(pid, waitpid(pid, &status, 0));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
