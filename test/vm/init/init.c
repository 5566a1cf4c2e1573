// SPDX-License-Identifier: MIT
/*
 * The first process of the virtual machine, and the only program that comes with
 * it: everything else is the host's. It runs one command, carries its streams to
 * the host, and looks at what is left when everybody is dead.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "channel.h"
#include "command.h"
#include "request.h"
#include "system.h"

/* Enough to keep the port busy, little enough that control frames do not wait long. */
#define LARGEST_BACKLOG (64 * 1024)

struct output {
	enum frame_type type;
	int *fd;
	size_t window;
	bool ended;
};

static struct command command;
static struct output outputs[] = {
	{ FRAME_STDOUT, &command.out, STREAM_WINDOW, false },
	{ FRAME_STDERR, &command.err, STREAM_WINDOW, false },
};
static struct buffer input;
static bool input_ended, may_leave;

static void close_output(struct output *output)
{
	if (*output->fd < 0)
		return;
	/* Of a terminal, reading and writing are one descriptor. */
	if (output->fd == &command.out && command.in == command.out)
		command.in = -1;
	close(*output->fd);
	*output->fd = -1;
}

static void end_output(struct output *output)
{
	close_output(output);
	if (!output->ended)
		channel_send(output->type, NULL, 0);
	output->ended = true;
}

static void close_input(void)
{
	if (command.in >= 0 && command.in != command.out)
		close(command.in);
	command.in = -1;
}

/* COMMAND no longer reads: the host need not send. */
static void refuse_input(void)
{
	close_input();
	channel_send_pair(FRAME_CLOSED, FRAME_STDIN, 0);
}

static void write_input(void)
{
	while (command.in >= 0 && buffer_length(&input)) {
		ssize_t n = write(command.in, input.data + input.start, buffer_length(&input));

		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			refuse_input();
			return;
		}
		input.start += n;
		channel_send_pair(FRAME_CREDIT, FRAME_STDIN, n);
	}
	if (input_ended)
		close_input();
}

static bool may_read(const struct output *output)
{
	return *output->fd >= 0 && output->window && channel_backlog() < LARGEST_BACKLOG;
}

static void read_output(struct output *output)
{
	char data[32 * 1024];
	size_t limit = output->window < sizeof(data) ? output->window : sizeof(data);
	ssize_t n = read(*output->fd, data, limit);

	if (n > 0) {
		output->window -= n;
		channel_send(output->type, data, n);
	} else if (n == 0 || errno != EAGAIN) {
		/* A terminal that nobody has open any more says EIO. */
		end_output(output);
	}
}

static void handle_frames(void)
{
	enum frame_type type;
	const char *data;
	size_t length;

	while (channel_next(&type, &data, &length)) {
		uint32_t pair[2] = { 0, 0 };

		memcpy(pair, data, length < sizeof(pair) ? length : sizeof(pair));
		switch (type) {
		case FRAME_STDIN:
			if (length && command.in >= 0)
				buffer_append(&input, data, length);
			input_ended |= !length;
			write_input();
			break;
		case FRAME_CREDIT:
			for (size_t i = 0; i < 2; i++)
				if (outputs[i].type == pair[0])
					outputs[i].window += pair[1];
			break;
		case FRAME_CLOSED:
			for (size_t i = 0; i < 2; i++)
				if (outputs[i].type == pair[0])
					end_output(&outputs[i]);
			break;
		case FRAME_WINDOW_SIZE:
			command_set_window_size(&command, pair[0], pair[1]);
			break;
		case FRAME_BYE:
			may_leave = true;
			break;
		default:
			fatal("a frame of type %u from the host", type);
		}
	}
}

static void receive_request(struct request *request)
{
	enum frame_type type;
	const char *data;
	size_t length;

	for (;;) {
		struct pollfd poll_fd = { channel_fd(), channel_events(), 0 };

		poll(&poll_fd, 1, -1);
		channel_work();
		if (channel_next(&type, &data, &length)) {
			if (type != FRAME_REQUEST)
				fatal("expected a request, received a frame of type %u", type);
			request_parse(request, data, length);
			return;
		}
	}
}

/* One round: wait for something to do, and do it. */
static void work(int signals)
{
	struct signalfd_siginfo signal_info;
	struct pollfd fds[] = {
		{ channel_fd(), channel_events(), 0 },
		{ signals, POLLIN, 0 },
		{ buffer_length(&input) ? command.in : -1, POLLOUT, 0 },
		{ may_read(&outputs[0]) ? command.out : -1, POLLIN, 0 },
		{ may_read(&outputs[1]) ? command.err : -1, POLLIN, 0 },
	};

	poll(fds, sizeof(fds) / sizeof(*fds), -1);
	channel_work();
	handle_frames();
	if (fds[1].revents && read(signals, &signal_info, sizeof(signal_info)) < 0 && errno != EAGAIN)
		fatal("cannot read signals: %s", strerror(errno));
	if (fds[2].revents)
		write_input();
	for (size_t i = 0; i < 2; i++)
		if (fds[3 + i].revents && *outputs[i].fd >= 0)
			read_output(&outputs[i]);
}

/* Bury the dead, COMMAND or orphans; true when COMMAND was among them. */
static bool reap(int *status)
{
	bool ended = false;
	pid_t pid;
	int s;

	while ((pid = waitpid(-1, &s, WNOHANG)) > 0) {
		if (pid == command.pid) {
			*status = s;
			ended = true;
		}
	}
	return ended;
}

/* Nobody survives COMMAND, so its streams end and the module has no user left. */
static void kill_everybody(void)
{
	for (int tries = 0; tries < 1000; tries++) {
		kill(-1, SIGKILL);
		while (waitpid(-1, NULL, WNOHANG) > 0)
			;
		if (waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD)
			return;
		usleep(10 * 1000);
	}
	kernel_log("BUG: a process is still there 10 seconds after SIGKILL");
}

int main(void)
{
	struct request request;
	sigset_t child;
	int signals, status = 0;

	system_begin();
	channel_open();
	receive_request(&request);
	system_enter_root(&request);
	system_load_module(&request);

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	signals = signalfd(-1, &child, SFD_NONBLOCK | SFD_CLOEXEC);

	command_start(&command, &request);
	outputs[1].ended = request.terminal;
	handle_frames();	/* what arrived behind the request */
	while (!reap(&status))
		work(signals);
	kill_everybody();
	while (!outputs[0].ended || !outputs[1].ended)
		work(signals);
	system_check_leftovers();

	channel_send_pair(FRAME_EXIT, WIFEXITED(status) ? WEXITSTATUS(status) : 0,
			  WIFSIGNALED(status) ? WTERMSIG(status) : 0);
	while (!may_leave)
		work(signals);
	power_off();
}
