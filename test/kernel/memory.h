/* SPDX-License-Identifier: GPL-2.0 */
/* Objects, their mappings, and what is in them. */
#ifndef EXMEM_TEST_MEMORY_H
#define EXMEM_TEST_MEMORY_H

#include <fcntl.h>
#include <linux/exclusive_memory.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness.h"

#define DEVICE "/dev/exclusive_memory"

#define PAGE ((size_t)4096)
#define BLOCK ((size_t)2 << 20)

/*
 * Rules of all exclusive memory are tested with guest memory too: host_access_map_test is map_test, whose objects are
 * made with EXMEM_CREATE_HOST_ACCESS, or by opening /dev/exclusive_guest.
 */
bool is_host_access(void);

/* A test's end closes all of these. */
int open_device(void);
int make_memfd(uint64_t size);
int make_memfd_flags(uint64_t size, uint32_t flags);
int create_ioctl(struct exmem_create create);

struct exmem_info info_of(int fd);
uint32_t state_of(int fd);

/* -1 or 0 */
int set_size(int fd, uint64_t size);
int destroy(int fd);
int wait_idle(int fd, int64_t timeout_ns);

/* Readable and writable, shared, whole; as mmap(2). */
void *try_map(int fd, size_t size);
/* The same, but it must succeed. */
char *map(int fd, size_t size);
void unmap(void *address, size_t size);

/* Bytes that look like nothing else, other for each seed. */
void fill(void *address, size_t size, uint64_t seed);
bool is_filled(const void *address, size_t size, uint64_t seed);
bool is_zero(const void *address, size_t size);
/* A piece of them as long as a cache line is somewhere in there, aligned as it was. */
bool contains_piece(const void *buffer, size_t length, const void *pieces, size_t size);

#define expect_filled(address, size, seed) \
	check(is_filled(address, size, seed), "%s: the bytes changed", #address)
#define expect_zero(address, size) \
	check(is_zero(address, size), "%s: expected zeros", #address)

/* The signal that a one-byte access gets, or 0; and its si_code. */
int signal_of_load(const void *address);
int signal_of_store(void *address);
/* The same: a store that no load goes before, and a call of a function. */
int signal_of_zero(void *address);
int signal_of_call(const void *code);
int signal_code(void);

/*
 * The same for threads that do little else: the signals are caught from here on
 * in the whole process, and an access that gets none makes no system call.
 */
void catch_access_signals(void);
int try_load(const volatile uint64_t *address, uint64_t *value);
int try_store(volatile uint64_t *address, uint64_t value);
int try_call(const void *code);
int try_run(void (*run)(void *), void *argument);

#define expect_signal(expected, access)						\
	do {									\
		int signal_ = (access);						\
										\
		if (signal_ != (expected))					\
			fail("%s: expected signal %d, got %d (code %d)", #access,\
			     expected, signal_, signal_code());			\
	} while (0)

/* The physical page behind an address of this process; 0 if there is none. */
uint64_t pfn_of(const void *address);

#endif
