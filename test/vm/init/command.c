// SPDX-License-Identifier: MIT
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "command.h"
#include "system.h"

static int open_terminal(char *name, size_t size)
{
	int fd = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (fd < 0 || unlockpt(fd) || ptsname_r(fd, name, size))
		fatal("cannot make a terminal: %s", strerror(errno));
	return fd;
}

static void make_pipe(int ends[2])
{
	if (pipe2(ends, O_CLOEXEC))
		fatal("cannot make a pipe: %s", strerror(errno));
}

static int not_blocking(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	return fd;
}

static void give_up_privileges(void)
{
	gid_t groups[] = { DEVICE_GROUP_ID };

	if (setgroups(1, groups) || setresgid(USER_ID, USER_ID, USER_ID) ||
	    setresuid(USER_ID, USER_ID, USER_ID)) {
		perror("exmem-vm: cannot give up privileges");
		_exit(126);
	}
}

static _Noreturn void run(const struct request *request)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	if (request->unprivileged)
		give_up_privileges();
	if (chdir(request->directory)) {
		fprintf(stderr, "exmem-vm: cannot change to %s: %s\n", request->directory,
			strerror(errno));
		_exit(126);
	}
	clearenv();
	for (char **entry = request->environment; *entry; entry++)
		putenv(*entry);
	if (request->unprivileged)
		setenv("HOME", USER_HOME, 1);
	execvp(request->arguments[0], request->arguments);
	fprintf(stderr, "exmem-vm: cannot run %s: %s\n", request->arguments[0], strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

static void start_on_terminal(struct command *command, const struct request *request)
{
	char name[64];
	int fd;

	command->out = not_blocking(open_terminal(name, sizeof(name)));
	command->in = command->out;
	command->err = -1;
	command->pid = fork();
	if (command->pid)
		return;
	setsid();
	fd = open(name, O_RDWR);	/* becomes the controlling terminal */
	if (fd < 0)
		_exit(126);
	if (request->unprivileged && fchown(fd, USER_ID, -1))
		_exit(126);
	dup2(fd, STDIN_FILENO);
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	close(fd);
	run(request);
}

static void start_on_pipes(struct command *command, const struct request *request)
{
	int in[2], out[2], err[2];

	make_pipe(in);
	make_pipe(out);
	make_pipe(err);
	command->pid = fork();
	if (!command->pid) {
		setsid();
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		dup2(err[1], STDERR_FILENO);
		run(request);
	}
	close(in[0]);
	close(out[1]);
	close(err[1]);
	command->in = not_blocking(in[1]);
	command->out = not_blocking(out[0]);
	command->err = not_blocking(err[0]);
}

void command_start(struct command *command, const struct request *request)
{
	if (request->terminal)
		start_on_terminal(command, request);
	else
		start_on_pipes(command, request);
	if (command->pid < 0)
		fatal("cannot fork: %s", strerror(errno));
}

void command_set_window_size(const struct command *command, unsigned rows, unsigned columns)
{
	struct winsize size = { .ws_row = rows, .ws_col = columns };

	if (command->out >= 0)
		ioctl(command->out, TIOCSWINSZ, &size);
}
