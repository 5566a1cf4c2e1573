// SPDX-License-Identifier: MIT
/*
 * The guest's first process: says hello through the window, does what the
 * monitor asks for there, and runs a shell on the serial line.
 *
 * What anybody writes to /run/monitor goes to the monitor as a message.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mailbox.h"
#include "secret.h"

#define CONSOLE "/dev/ttyS0"
#define FIFO "/run/monitor"
#define LOOK_MS 20

static volatile sig_atomic_t ending;

static void end(int signal)
{
	/* As busybox has it: "poweroff" and "halt" send the first two, "reboot" the last. */
	ending = signal == SIGTERM ? RB_AUTOBOOT : RB_POWER_OFF;
}

static void make_file_systems(void)
{
	static const char *const types[][2] = {
		{ "proc", "/proc" }, { "sysfs", "/sys" }, { "devtmpfs", "/dev" }, { "tmpfs", "/run" },
	};
	size_t i;

	for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
		mkdir(types[i][1], 0755);
		if (mount(types[i][0], types[i][1], types[i][0], 0, NULL) && errno != EBUSY)
			perror(types[i][1]);
	}
}

/* Opened for both, so that it never ends. */
static int open_fifo(void)
{
	mkfifo(FIFO, 0622);
	return open(FIFO, O_RDWR | O_NONBLOCK | O_CLOEXEC);
}

static pid_t start_shell(void)
{
	static char *const argv[] = { "-sh", NULL };
	pid_t pid = fork();

	if (pid)
		return pid;
	setsid();
	close(0);
	if (open(CONSOLE, O_RDWR) == 0 && !ioctl(0, TIOCSCTTY, 0) && dup2(0, 1) == 1 && dup2(0, 2) == 2)
		execv("/bin/sh", argv);
	_exit(127);
}

static void pass_on(int fifo)
{
	char text[512];
	ssize_t length = read(fifo, text, sizeof(text));

	while (length > 0 && text[length - 1] == '\n')
		length--;
	if (length > 0)
		say("say %.*s", (int)length, text);
}

static void obey(const char *message, pid_t *shell)
{
	if (!strcmp(message, "secret"))
		make_secret();
	else if (!strcmp(message, "shell"))
		*shell = start_shell();
	else if (!strcmp(message, "power-off"))
		ending = RB_POWER_OFF;
	else
		say("unknown %s", message);
}

static void end_machine(void)
{
	say("bye");
	kill(-1, SIGKILL);
	sync();
	reboot(ending);
}

int main(void)
{
	struct pollfd fifo = { .events = POLLIN };
	struct utsname system;
	char message[256];
	pid_t shell = 0;

	make_file_systems();
	setenv("HOME", "/root", 1);
	setenv("PATH", "/bin", 1);
	setenv("PS1", "guest:\\w# ", 1);
	signal(SIGUSR1, end);
	signal(SIGUSR2, end);
	signal(SIGTERM, end);
	fifo.fd = open_fifo();
	open_window();

	uname(&system);
	say("hello %s %s, %ld processor(s)", system.sysname, system.release, sysconf(_SC_NPROCESSORS_ONLN));
	while (!ending) {
		if (poll(&fifo, 1, LOOK_MS) > 0)
			pass_on(fifo.fd);
		if (take_message(message, sizeof(message)))
			obey(message, &shell);
		for (pid_t pid; (pid = waitpid(-1, NULL, WNOHANG)) > 0;)
			if (pid == shell)
				ending = RB_POWER_OFF;
	}
	end_machine();
}
