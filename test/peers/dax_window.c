// SPDX-License-Identifier: MIT
/*
 * A DAX window, as a file server gives it to a virtual machine monitor: ranges
 * of files come and go in one area of the monitor's address space.
 *
 * With a view, the server maps and unmaps by itself. Without, as virtiofsd did
 * it, it asks the monitor over a UNIX socket, which calls mmap(2). The
 * files are handed over beforehand: what is compared is the mapping alone.
 *
 * usage: dax_window ROUNDS. Prints one line of JSON.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/exclusive_memory.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define FILES 4
#define FILE_SIZE (16UL << 20)
#define RANGE (2UL << 20)
#define SLOTS 64
#define WINDOW (SLOTS * RANGE)
#define PAGE 4096UL

static int files[FILES];
static int view;

/* What the two processes have in common. */
static struct {
	atomic_int go;
	atomic_long good, gone, wrong;
} *shared;

struct request {
	uint32_t slot, file;	/* file FILES: unmap */
	uint64_t offset;
};

#define must(call) ({							\
	__auto_type result_ = (call);					\
	if ((long)result_ == -1) {					\
		fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, strerror(errno));\
		exit(1);						\
	}								\
	result_; })

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* Each page says which file it is of, and where. */
static uint64_t tag(unsigned int file, uint64_t offset)
{
	return 0xda70000000000000 | (uint64_t)file << 40 | offset;
}

static void make_files(void)
{
	for (unsigned int i = 0; i < FILES; i++) {
		files[i] = must(memfd_create("dax", 0));
		must(ftruncate(files[i], FILE_SIZE));
		for (uint64_t offset = 0; offset < FILE_SIZE; offset += PAGE) {
			uint64_t value = tag(i, offset);

			must(pwrite(files[i], &value, sizeof(value), offset));
		}
	}
}

static struct request nth(unsigned int i)
{
	return (struct request){
		.slot = i % SLOTS,
		.file = i * 7 % FILES,
		.offset = i * 5 % (FILE_SIZE / RANGE) * RANGE,
	};
}

static void view_map(struct request r)
{
	struct memview_map_fd_info info = {
		.fd = files[r.file], .flags = MEMVIEW_MAP_READ, .fd_offset = r.offset,
		.size = RANGE, .mem_offset = r.slot * RANGE,
	};

	must(ioctl(view, MEMVIEW_MAP_FD, &info));
}

static void view_unmap(struct request r)
{
	struct memview_unmap unmap = { .mem_offset = r.slot * RANGE, .size = RANGE };

	must(ioctl(view, MEMVIEW_UNMAP_FD, &unmap));
}

/* The monitor, asked. */
static void serve(int socket)
{
	char *window = must(mmap(NULL, WINDOW, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	struct request r;
	char done = 0;

	while (read(socket, &r, sizeof(r)) == sizeof(r)) {
		if (r.file < FILES)
			must(mmap(window + r.slot * RANGE, RANGE, PROT_READ,
				  MAP_SHARED | MAP_FIXED, files[r.file], r.offset));
		else
			must(mmap(window + r.slot * RANGE, RANGE, PROT_NONE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
		must(write(socket, &done, 1));
	}
	exit(0);
}

static void ask(int socket, struct request r)
{
	char done;

	must(write(socket, &r, sizeof(r)));
	must(read(socket, &done, 1));
}

static double with_view(unsigned int rounds)
{
	double start = now();

	for (unsigned int i = 0; i < rounds; i++) {
		view_map(nth(i));
		view_unmap(nth(i));
	}
	return rounds / (now() - start);
}

static double with_socket(int socket, unsigned int rounds)
{
	double start = now();

	for (unsigned int i = 0; i < rounds; i++) {
		struct request r = nth(i);

		ask(socket, r);
		r.file = FILES;
		ask(socket, r);
	}
	return rounds / (now() - start);
}

static sigjmp_buf jump;

static void on_signal(int number)
{
	(void)number;
	siglongjmp(jump, 1);
}

/* The monitor with a view: it reads, whatever the server does meanwhile. */
static void look(int fd)
{
	char *window = must(mmap(NULL, WINDOW, PROT_READ, MAP_SHARED, fd, 0));
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_NODEFER };
	volatile unsigned int i = 0;

	must(sigaction(SIGBUS, &action, NULL));
	while (!atomic_load(&shared->go))
		usleep(100);
	for (; atomic_load(&shared->go) == 1; i++) {
		unsigned int slot = i % SLOTS, page = i / SLOTS * 37 % (RANGE / PAGE);
		uint64_t value;

		if (sigsetjmp(jump, 0)) {
			atomic_fetch_add(&shared->gone, 1);
			continue;
		}
		value = *(volatile uint64_t *)(window + slot * RANGE + page * PAGE);
		/* Of whichever file: the page at this place of a range. */
		if (value >> 48 != 0xda70 || value % RANGE / PAGE != page)
			atomic_fetch_add(&shared->wrong, 1);
		else
			atomic_fetch_add(&shared->good, 1);
	}
	exit(0);
}

static void come_and_go(unsigned int rounds)
{
	for (unsigned int i = 0; i < rounds; i++) {
		view_map(nth(i));
		if (i >= SLOTS / 2)
			view_unmap(nth(i - SLOTS / 2));
	}
	for (unsigned int i = rounds - SLOTS / 2; i < rounds; i++)
		view_unmap(nth(i));
}

static void expect_end(pid_t pid)
{
	int status;

	must(waitpid(pid, &status, 0));
	if (status) {
		fprintf(stderr, "a process ended with status 0x%x\n", status);
		exit(1);
	}
}

static int compare(const void *a, const void *b)
{
	return *(const double *)a < *(const double *)b ? -1 : 1;
}

int main(int argc, char **argv)
{
	unsigned int rounds = argc > 1 ? atoi(argv[1]) : 2000;
	double view_rate[5], socket_rate[5];
	int sockets[2], view_fd;
	uint64_t size = WINDOW;
	pid_t server, viewer;

	shared = must(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	make_files();
	view = must(open("/dev/memory-view", O_RDWR | O_CLOEXEC));
	must(ioctl(view, MEMVIEW_SET_SIZE, &size));
	view_fd = must(ioctl(view, MEMVIEW_GET_VIEWFD, MEMVIEW_MAP_READ));
	must(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, sockets));

	server = must(fork());
	if (!server) {
		close(view);
		close(sockets[0]);
		serve(sockets[1]);
	}
	close(sockets[1]);
	viewer = must(fork());
	if (!viewer) {
		close(view);
		close(sockets[0]);
		look(view_fd);
	}

	/* One and the other in turn: what else the machine does hits both. */
	for (int i = 0; i < 5; i++) {
		view_rate[i] = with_view(rounds);
		socket_rate[i] = with_socket(sockets[0], rounds / 10);
	}
	atomic_store(&shared->go, 1);
	come_and_go(rounds);
	atomic_store(&shared->go, 2);

	close(sockets[0]);
	expect_end(server);
	expect_end(viewer);
	qsort(view_rate, 5, sizeof(double), compare);
	qsort(socket_rate, 5, sizeof(double), compare);
	printf("{\"viewPerSecond\": %.0f, \"socketPerSecond\": %.0f, \"ratio\": %.1f, \"good\": %ld, \"gone\": %ld, \"wrong\": %ld}\n",
	       view_rate[2], socket_rate[2], view_rate[2] / socket_rate[2],
	       atomic_load(&shared->good), atomic_load(&shared->gone), atomic_load(&shared->wrong));
	return 0;
}
