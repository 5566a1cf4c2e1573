// SPDX-License-Identifier: GPL-2.0
/* R16: EXMEM_DESTROY. */
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "process.h"
#include "system.h"

#define SIZE (8 * PAGE)

static int fd;
static char *p;

static void begin_mapped(void)
{
	fd = make_memfd(SIZE);
	p = map(fd, SIZE);
	fill(p, SIZE, 1);
}

static void expect_destroyed(void)
{
	char byte;

	expect_equal(EXMEM_STATE_DESTROYED, state_of(fd) & EXMEM_STATE_DESTROYED);
	expect_equal(0, info_of(fd).resident);
	expect_errno(ENXIO, try_map(fd, SIZE));
	expect_errno(EINVAL, read(fd, &byte, 1));
}

TEST("R16 after destroy, each access of the same process is SIGBUS")
{
	long pages = counter("pages_in_use");

	begin_mapped();
	expect_ok(destroy(fd));
	expect_counter(pages, "pages_in_use");
	for (size_t offset = 0; offset < SIZE; offset += PAGE) {
		expect_signal(SIGBUS, signal_of_load(p + offset));
		expect_equal(BUS_ADRERR, signal_code());
		expect_signal(SIGBUS, signal_of_store(p + offset));
	}
	expect_destroyed();
}

TEST("R16 a process that does not expect it is ended by SIGBUS")
{
	pid_t pid = start_child();

	if (!pid) {
		begin_mapped();
		expect_ok(destroy(fd));
		*(volatile char *)p = 1;
		succeed();
	}
	expect_killed(SIGBUS, pid);
}

TEST("R16 system calls on what is left of the mapping are EFAULT")
{
	int pipes[2];

	begin_mapped();
	expect_ok(destroy(fd));
	expect_ok(pipe(pipes));
	expect_errno(EFAULT, write(pipes[1], p, PAGE));
	expect_equal(1, write(pipes[1], "x", 1));
	expect_errno(EFAULT, read(pipes[0], p, 1));
}

TEST("R16 what is left of the mapping can be protected, unmapped, and not split or moved")
{
	long mappings = counter("mappings");

	begin_mapped();
	expect_ok(destroy(fd));
	expect_errno(EINVAL, munmap(p, PAGE));
	expect_errno(EACCES, mprotect(p, SIZE, PROT_EXEC));
	check((long)mremap(p, SIZE, SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, p - BLOCK) == -1, "moved");
	expect_ok(mprotect(p, SIZE, PROT_READ));
	expect_signal(SIGBUS, signal_of_load(p));
	expect_ok(mprotect(p, SIZE, PROT_READ | PROT_WRITE));
	expect_signal(SIGBUS, signal_of_store(p));
	unmap(p, SIZE);
	expect_signal(SIGSEGV, signal_of_load(p));
	expect_counter(mappings, "mappings");
	expect_destroyed();
}

TEST("R16 destroying an object that nobody has mapped frees its bytes")
{
	long pages = counter("pages_in_use");

	begin_mapped();
	unmap(p, SIZE);
	expect_ok(destroy(fd));
	expect_counter(pages, "pages_in_use");
	expect_destroyed();
}

TEST("R16 destroying an object that never had bytes, or a size")
{
	fd = make_memfd(SIZE);
	expect_ok(destroy(fd));
	expect_destroyed();
	fd = make_memfd(0);
	expect_ok(destroy(fd));
	expect_destroyed();
	expect_errno(ENXIO, set_size(fd, SIZE));
	expect_errno(ENXIO, ftruncate(fd, SIZE));
	fd = open_device();
	expect_ok(destroy(fd));
	expect_destroyed();
	expect_errno(ENXIO, set_size(fd, SIZE));
}

TEST("R16 a second destroy is a no-op")
{
	begin_mapped();
	for (int i = 0; i < 3; i++)
		expect_ok(destroy(fd));
	unmap(p, SIZE);
	expect_ok(destroy(fd));
	expect_destroyed();
}

TEST("R16 information after destroy")
{
	struct exmem_info info;

	begin_mapped();
	expect_ok(destroy(fd));
	info = info_of(fd);
	expect_equal(SIZE, info.size);
	expect_equal(0, info.resident);
	expect_equal(0, info.references);
	expect_equal(EXMEM_STATE_DESTROYED, info.state & ~EXMEM_STATE_MAPPED);
	unmap(p, SIZE);
	expect_equal(EXMEM_STATE_DESTROYED, info_of(fd).state);
}

TEST("R16 destroy from another process takes the pages away there")
{
	int mapped = make_gate(), destroyed = make_gate();
	long pages = counter("pages_in_use");
	pid_t pid;

	fd = make_memfd(SIZE);
	pid = start_child();
	if (!pid) {
		p = map(fd, SIZE);
		fill(p, SIZE, 1);
		open_gate(mapped);
		wait_at_gate(destroyed);
		expect_signal(SIGBUS, signal_of_load(p));
		expect_signal(SIGBUS, signal_of_store(p + SIZE - 1));
		succeed();
	}
	wait_at_gate(mapped);
	expect_ok(destroy(fd));
	expect_counter(pages, "pages_in_use");
	open_gate(destroyed);
	expect_success(pid);
	expect_destroyed();
}

TEST("R16 a receiver can destroy what it was sent")
{
	int sockets[2];
	pid_t pid;

	make_socket_pair(sockets);
	pid = start_child();
	if (!pid) {
		fd = expect_ok(receive_fd(sockets[1]));
		drop_privileges();
		expect_ok(destroy(fd));
		succeed();
	}
	begin_mapped();
	expect_ok(send_fd(sockets[0], fd));
	expect_success(pid);
	expect_signal(SIGBUS, signal_of_load(p));
}

TEST("R16 a PROT_NONE mapping has nothing afterwards")
{
	begin_mapped();
	expect_ok(mprotect(p, SIZE, PROT_NONE));
	expect_ok(destroy(fd));
	expect_ok(mprotect(p, SIZE, PROT_READ));
	expect_signal(SIGBUS, signal_of_load(p));
}

TEST("R16 nothing is behind the mapping, and the next objects find zeros")
{
	begin_mapped();
	expect_ok(destroy(fd));
	for (size_t i = 0; i < SIZE / PAGE; i++)
		expect_equal(0, pfn_of(p + i * PAGE));
	for (int i = 0; i < 64; i++)
		expect_zero(map(make_memfd(SIZE), SIZE), SIZE);
}

TEST("R16 destroying one object does not disturb another of the same block")
{
	int other = make_memfd(SIZE);
	char *q = map(other, SIZE);

	fill(q, SIZE, 2);
	for (int i = 0; i < 20; i++) {
		begin_mapped();
		expect_ok(destroy(fd));
		expect_filled(q, SIZE, 2);
	}
}

/* ---- at the same time ---- */

static atomic_bool stop;

static void *store_for_ever(void *unused)
{
	(void)unused;
	for (unsigned int i = 0;; i++)
		*(volatile unsigned int *)(p + i * 64 % SIZE) = i;
	return NULL;
}

TEST("R16 threads that store into it get SIGBUS", .seconds = 120)
{
	long pages = counter("pages_in_use");

	for (int i = 0; i < 20; i++) {
		int ready = make_gate();
		pid_t pid;

		fd = make_memfd(SIZE);
		pid = start_child();
		if (!pid) {
			pthread_t threads[3];

			p = map(fd, SIZE);
			for (size_t t = 0; t < ARRAY_SIZE(threads); t++)
				pthread_create(&threads[t], NULL, store_for_ever, NULL);
			open_gate(ready);
			pause();
		}
		wait_at_gate(ready);
		sleep_ms(i % 7);
		expect_ok(destroy(fd));
		expect_killed(SIGBUS, pid);
		expect_counter(pages, "pages_in_use");
		close(fd);
		close(ready);
	}
}

static void *map_in_a_loop(void *unused)
{
	(void)unused;
	while (!stop) {
		char *q = try_map(fd, SIZE);

		if (q == MAP_FAILED) {
			check(errno == EBUSY || errno == ENXIO, "mmap: %s", errno_name(errno));
			if (errno == ENXIO)
				return NULL;
			continue;
		}
		unmap(q, SIZE);
	}
	fail("the object was not destroyed");
}

TEST("R16 destroy during loops of mmap and munmap", .seconds = 120)
{
	long pages = counter("pages_in_use"), mappings = counter("mappings");

	for (int i = 0; i < 50; i++) {
		pthread_t threads[2];

		fd = make_memfd(SIZE);
		for (size_t t = 0; t < ARRAY_SIZE(threads); t++)
			pthread_create(&threads[t], NULL, map_in_a_loop, NULL);
		sleep_ms(i % 10);
		expect_ok(destroy(fd));
		for (size_t t = 0; t < ARRAY_SIZE(threads); t++)
			pthread_join(threads[t], NULL);
		expect_destroyed();
		expect_counter(pages, "pages_in_use");
		expect_counter(mappings, "mappings");
		close(fd);
	}
}

static void *destroy_once(void *unused)
{
	(void)unused;
	expect_ok(destroy(fd));
	/* Whoever returns first: it is destroyed. */
	expect_equal(EXMEM_STATE_DESTROYED, state_of(fd) & EXMEM_STATE_DESTROYED);
	return NULL;
}

TEST("R16 several destroys at once", .seconds = 120)
{
	long pages = counter("pages_in_use");

	for (int i = 0; i < 50; i++) {
		pthread_t threads[3];

		begin_mapped();
		for (size_t t = 0; t < ARRAY_SIZE(threads); t++)
			pthread_create(&threads[t], NULL, destroy_once, NULL);
		for (size_t t = 0; t < ARRAY_SIZE(threads); t++)
			pthread_join(threads[t], NULL);
		expect_counter(pages, "pages_in_use");
		unmap(p, SIZE);
		close(fd);
	}
}

/* So large that mapping it takes a while. */
#define LARGE (4 * BLOCK)

static int go;
static useconds_t delay_us;

static void *destroy_wholly(void *unused)
{
	(void)unused;
	wait_at_gate(go);
	usleep(delay_us);
	expect_ok(destroy(fd));
	/* Whoever returns first: the bytes are gone. */
	expect_equal(0, info_of(fd).resident);
	return NULL;
}

/* On one processor, threads that destroy interrupt one that maps wherever it can be. */
static pthread_t start_destroyer(void)
{
	struct sched_param priority = { .sched_priority = 1 };
	pthread_t thread;

	expect_equal(0, pthread_create(&thread, NULL, destroy_wholly, NULL));
	expect_equal(0, pthread_setschedparam(thread, SCHED_FIFO, &priority));
	return thread;
}

TEST("R16 none of several destroys returns before the first is done, which waits for mmap", .seconds = 120)
{
	uint64_t began = now_ns(), map_ns;
	unsigned int seed = 1;
	cpu_set_t one;
	int maps = 0;

	CPU_ZERO(&one);
	CPU_SET(0, &one);
	expect_ok(sched_setaffinity(0, sizeof(one), &one));
	go = make_gate();
	p = map(make_memfd(LARGE), LARGE);
	map_ns = now_ns() - began;
	unmap(p, LARGE);
	for (int i = 0; i < 10 || (i < 200 && now_ns() - began < UINT64_C(5000000000)); i++) {
		pthread_t threads[3];

		fd = make_memfd(LARGE);
		delay_us = rand_r(&seed) % (map_ns / 1000 + 1);
		for (size_t t = 0; t < ARRAY_SIZE(threads); t++)
			threads[t] = start_destroyer();
		for (size_t t = 0; t < ARRAY_SIZE(threads); t++)
			open_gate(go);
		p = try_map(fd, LARGE);
		check(p != MAP_FAILED || errno == ENXIO, "mmap: %s", errno_name(errno));
		for (size_t t = 0; t < ARRAY_SIZE(threads); t++)
			pthread_join(threads[t], NULL);
		if (p != MAP_FAILED)
			unmap(p, LARGE);
		maps += p != MAP_FAILED;
		close(fd);
	}
	diag("%d mappings of %zu bytes", maps, LARGE);
}

TEST("R16 destroy during fork and exit", .seconds = 120)
{
	for (int i = 0; i < 50; i++) {
		pid_t pid;

		begin_mapped();
		expect_ok(madvise(p, SIZE, i % 2 ? MADV_DOFORK : MADV_DONTFORK));
		pid = start_child();
		if (!pid) {
			if (i % 3 == 0)
				expect_ok(destroy(fd));
			succeed();
		}
		expect_ok(destroy(fd));
		expect_signal(SIGBUS, signal_of_load(p));
		expect_success(pid);
		unmap(p, SIZE);
		close(fd);
	}
}

TEST("R16 destroy while others wait for their turn")
{
	struct pollfd poll_fd;
	pid_t pid;
	int ready = make_gate();

	begin_mapped();
	pid = start_child();
	if (!pid) {
		open_gate(ready);
		/* Nothing to wait for any more once the mapping is gone too. */
		expect_ok(wait_idle(fd, -1));
		expect_errno(ENXIO, try_map(fd, SIZE));
		succeed();
	}
	wait_at_gate(ready);
	sleep_ms(100);
	expect_ok(destroy(fd));
	poll_fd = (struct pollfd){ fd, POLLOUT, 0 };
	expect_equal(1, poll(&poll_fd, 1, 1000));
	check(poll_fd.revents & POLLERR, "events 0x%x", poll_fd.revents);
	unmap(p, SIZE);
	expect_success(pid);
}
