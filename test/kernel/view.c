// SPDX-License-Identifier: GPL-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "process.h"
#include "system.h"
#include "view.h"

#define MFD_HUGE_2MB_ (21U << 26)

int open_control(void)
{
	return expect_ok(open(VIEW_DEVICE, O_RDWR | O_CLOEXEC));
}

int make_view(uint64_t size)
{
	int view = open_control();

	expect_ok(view_set_size(view, size));
	return view;
}

int view_set_size(int view, uint64_t size)
{
	__u64 argument = size;

	return ioctl(view, MEMVIEW_SET_SIZE, &argument);
}

int view_map(int view, int fd, uint64_t fd_offset, uint64_t size, uint64_t mem_offset, uint32_t flags)
{
	struct memview_map_fd_info info = {
		.fd = fd, .flags = flags, .fd_offset = fd_offset, .size = size, .mem_offset = mem_offset,
	};

	return ioctl(view, MEMVIEW_MAP_FD, &info);
}

int view_map_memory(int view, const void *address, uint64_t size, uint64_t mem_offset, uint32_t flags)
{
	struct memview_map_mem info = {
		.addr = (uintptr_t)address, .size = size, .mem_offset = mem_offset, .flags = flags,
	};

	return ioctl(view, MEMVIEW_MAP_MEM, &info);
}

int view_unmap(int view, uint64_t mem_offset, uint64_t size)
{
	struct memview_unmap info = { .mem_offset = mem_offset, .size = size };

	return ioctl(view, MEMVIEW_UNMAP_FD, &info);
}

int view_protect(int view, uint64_t mem_offset, uint64_t size, uint32_t flags)
{
	struct memview_protect info = { .mem_offset = mem_offset, .size = size, .flags = flags };

	return ioctl(view, MEMVIEW_PROTECT, &info);
}

int view_fd(int view, unsigned long cap)
{
	return ioctl(view, MEMVIEW_GET_VIEWFD, cap);
}

int view_sync(int view)
{
	return ioctl(view, MEMVIEW_SYNC);
}

char *map_view(int view, uint64_t offset, size_t size, int protection)
{
	int fd = expect_ok(view_fd(view, 0));
	off_t whole = expect_ok(lseek(fd, 0, SEEK_END));
	char *p = expect_ok(mmap(NULL, size ?: whole - offset, protection, MAP_SHARED, fd, offset));

	close(fd);
	return p;
}

static int make_file_flags(uint64_t size, unsigned int flags)
{
	int fd = expect_ok(memfd_create("source", MFD_CLOEXEC | flags));

	expect_ok(ftruncate(fd, size));
	return fd;
}

int make_file(uint64_t size)
{
	return make_file_flags(size, MFD_ALLOW_SEALING);
}

int make_filled_file(uint64_t size, uint64_t seed)
{
	int fd = make_file(size);
	char *p = map(fd, size);

	fill(p, size, seed);
	unmap(p, size);
	return fd;
}

void write_filled(int file, uint64_t offset, size_t size, uint64_t seed)
{
	char *bytes = malloc(size);

	check(bytes, "no memory");
	fill(bytes, size, seed);
	expect_equal(size, pwrite(file, bytes, size, offset));
	free(bytes);
}

bool file_is_filled(int fd, uint64_t offset, size_t size, uint64_t seed)
{
	char *bytes = malloc(size);
	bool filled;

	check(bytes, "no memory");
	for (size_t done = 0; done < size;) {
		ssize_t n = expect_ok(pread(fd, bytes + done, size - done, offset + done));

		check(n, "the file ends at %zu of %zu bytes", done, size);
		done += n;
	}
	filled = is_filled(bytes, size, seed);
	free(bytes);
	return filled;
}

int make_huge_file(uint64_t size)
{
	return make_file_flags(size, MFD_HUGETLB | MFD_HUGE_2MB_);
}

#define NR_HUGEPAGES "/proc/sys/vm/nr_hugepages"

void with_huge_pages(int pages, void (*run)(void))
{
	char text[16];
	int status;
	pid_t pid;

	if (access(NR_HUGEPAGES, F_OK))
		skip("this kernel has no hugetlbfs");
	snprintf(text, sizeof(text), "%d", pages);
	write_text("/proc/sys/vm/compact_memory", "1");
	expect_ok(write_text(NR_HUGEPAGES, text));
	if (atoi(read_text(NR_HUGEPAGES)) < pages) {
		write_text(NR_HUGEPAGES, "0");
		skip("the machine has no %d pages of 2 MiB", pages);
	}
	pid = start_child();
	if (!pid) {
		run();
		succeed();
	}
	expect_equal(pid, waitpid(pid, &status, 0));
	expect_ok(write_text(NR_HUGEPAGES, "0"));
	check(status == 0, "a child ended with wait status 0x%x", status);
}

uint32_t count_ranges(int view)
{
	struct memview_get_ranges get = { 0 };

	expect_ok(ioctl(view, MEMVIEW_GET_RANGES, &get));
	return get.count;
}

void expect_ranges_at(const char *file, int line, int view, uint32_t kind, const struct pages *expected, size_t n)
{
	struct memview_range ranges[64];
	struct memview_get_ranges get = { .ranges = (uintptr_t)ranges, .capacity = ARRAY_SIZE(ranges) };
	bool same;

	memset(ranges, 0xff, sizeof(ranges));
	expect_ok(ioctl(view, MEMVIEW_GET_RANGES, &get));
	same = get.count == n;
	for (size_t i = 0; same && i < n; i++)
		same = ranges[i].mem_offset == expected[i].at * PAGE && ranges[i].size == expected[i].n * PAGE &&
		       ranges[i].offset == expected[i].from * PAGE && ranges[i].flags == expected[i].flags &&
		       ranges[i].kind == kind;
	if (same)
		return;
	for (size_t i = 0; i < get.count && i < ARRAY_SIZE(ranges); i++)
		diag("page %llu: %llu pages, from %llu, flags %u, kind %u", ranges[i].mem_offset / PAGE,
		     ranges[i].size / PAGE, ranges[i].offset / PAGE, ranges[i].flags, ranges[i].kind);
	fail_at(file, line, "these %u ranges are not the %zu expected ones", get.count, n);
}

/* ---- process B ---- */

struct request {
	enum { MAP_VIEW, LOAD, STORE, CALL, FIND, FIND_ZEROS, FILL } what;
	int protection;
	uint64_t offset, size, value;
};

struct reply {
	struct access access;
	int err;
	bool found;
};

static char *peer_memory;

struct search {
	const struct request *request;
	bool found;
};

static void search(void *argument)
{
	struct search *s = argument;
	char *at = peer_memory + s->request->offset;

	if (s->request->what == FILL)
		fill(at, s->request->size, s->request->value);
	else if (s->request->what == FIND)
		s->found = is_filled(at, s->request->size, s->request->value);
	else
		s->found = is_zero(at, s->request->size);
}

static struct reply serve(const struct request *request, int socket)
{
	struct search s = { request, false };
	struct reply reply = { 0 };
	char *at = peer_memory + request->offset;
	int fd;

	switch (request->what) {
	case MAP_VIEW:
		fd = expect_ok(receive_fd(socket));
		peer_memory = mmap(NULL, request->size, request->protection, MAP_SHARED, fd, request->offset);
		reply.err = peer_memory == MAP_FAILED ? errno : 0;
		close(fd);
		break;
	case LOAD:
		reply.access.signal = try_load((uint64_t *)at, &reply.access.value);
		break;
	case STORE:
		reply.access.signal = try_store((uint64_t *)at, request->value);
		break;
	case CALL:
		reply.access.signal = try_call(at);
		break;
	default:
		reply.access.signal = try_run(search, &s);
		reply.found = s.found && !reply.access.signal;
		break;
	}
	reply.access.code = reply.access.signal ? signal_code() : 0;
	return reply;
}

struct peer start_peer(void)
{
	struct request request;
	struct peer peer;
	int sockets[2];

	make_socket_pair(sockets);
	peer.pid = start_child();
	peer.socket = sockets[0];
	if (peer.pid) {
		close(sockets[1]);
		return peer;
	}
	close(sockets[0]);
	catch_access_signals();
	while (recv(sockets[1], &request, sizeof(request), MSG_WAITALL) == sizeof(request)) {
		struct reply reply = serve(&request, sockets[1]);

		expect_equal(sizeof(reply), send(sockets[1], &reply, sizeof(reply), 0));
	}
	succeed();
}

void end_peer(struct peer *peer)
{
	close(peer->socket);
	expect_success(peer->pid);
}

static void send_request(struct peer *peer, struct request request)
{
	expect_equal(sizeof(request), send(peer->socket, &request, sizeof(request), 0));
}

static struct reply receive_reply(struct peer *peer)
{
	struct reply reply;

	if (recv(peer->socket, &reply, sizeof(reply), MSG_WAITALL) != sizeof(reply))
		fail("the peer is gone");
	return reply;
}

static struct reply ask(struct peer *peer, struct request request)
{
	send_request(peer, request);
	return receive_reply(peer);
}

int give_view_fd(struct peer *peer, int fd, uint64_t offset, uint64_t size, int protection)
{
	send_request(peer, (struct request){ MAP_VIEW, .offset = offset, .size = size, .protection = protection });
	expect_ok(send_fd(peer->socket, fd));
	close(fd);
	return receive_reply(peer).err;
}

void give_view(struct peer *peer, int view, uint64_t size)
{
	expect_equal(0, give_view_fd(peer, expect_ok(view_fd(view, 0)), 0, size, RW));
}

struct access peer_load(struct peer *peer, uint64_t offset)
{
	return ask(peer, (struct request){ LOAD, .offset = offset }).access;
}

struct access peer_store(struct peer *peer, uint64_t offset, uint64_t value)
{
	return ask(peer, (struct request){ STORE, .offset = offset, .value = value }).access;
}

struct access peer_call(struct peer *peer, uint64_t offset)
{
	return ask(peer, (struct request){ CALL, .offset = offset }).access;
}

static bool finds(struct peer *peer, struct request request)
{
	struct reply reply = ask(peer, request);

	if (reply.access.signal)
		diag("the peer got signal %d (code %d)", reply.access.signal, reply.access.code);
	return reply.found;
}

bool peer_finds(struct peer *peer, uint64_t offset, size_t size, uint64_t seed)
{
	return finds(peer, (struct request){ FIND, .offset = offset, .size = size, .value = seed });
}

bool peer_finds_zeros(struct peer *peer, uint64_t offset, size_t size)
{
	return finds(peer, (struct request){ FIND_ZEROS, .offset = offset, .size = size });
}

void peer_fills(struct peer *peer, uint64_t offset, size_t size, uint64_t seed)
{
	struct reply reply = ask(peer, (struct request){ FILL, .offset = offset, .size = size, .value = seed });

	check(!reply.access.signal, "the peer got signal %d", reply.access.signal);
}
