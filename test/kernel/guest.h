/* SPDX-License-Identifier: GPL-2.0 */
/* Guest memory, and what is in it, whoever may read it there. */
#ifndef EXMEM_TEST_GUEST_H
#define EXMEM_TEST_GUEST_H

#include "memory.h"

#define GUEST_DEVICE "/dev/exclusive_guest"

#define GUEST EXMEM_CREATE_GUEST
#define HOST_ACCESS (EXMEM_CREATE_GUEST | EXMEM_CREATE_HOST_ACCESS)

/* A test's end closes it. */
int open_guest_device(void);

/* Whole, shared, PROT_NONE; as mmap(2). */
void *try_map_none(int fd, size_t size);
/* The same, but it must succeed. */
char *map_none(int fd, size_t size);

/* The ioctls of a guest object: -1 or 0. */
int populate(int fd, uint64_t offset, uint64_t size, const void *from);
int seal(int fd, uint32_t bits);
int set_shared(int fd, uint64_t offset, uint64_t size, uint32_t flags);
int make_shared(int fd, uint64_t offset, uint64_t size);
int make_private(int fd, uint64_t offset, uint64_t size);
int bind_vm(int fd, int vm);

/* By EXMEM_POPULATE, the bytes of fill(). */
void populate_filled(int fd, uint64_t offset, size_t size, uint64_t seed);

/*
 * A copy of the bytes of a mapping of any protection, and whether they are those of fill() or zeros: they are read
 * in the physical pages by the test module, without which the test is skipped. A page that is not there is zeros.
 */
void read_physical(const void *address, void *bytes, size_t size);
bool holds(const void *address, size_t size, uint64_t seed);
bool holds_zeros(const void *address, size_t size);
/* The same of an object that nobody has mapped. */
void read_object(int fd, void *bytes, size_t size);
bool object_holds(int fd, size_t size, uint64_t seed);

/* Another page than the one at an address is where the direct map should have it, or none. */
bool is_out_of_direct_map(const void *address);
bool pfn_is_out_of_direct_map(uint64_t pfn);

/* Ordinary memory, zeros. */
char *plain_memory(size_t size);

#endif
