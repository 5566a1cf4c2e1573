/* SPDX-License-Identifier: GPL-2.0 */
/* Memory views, what is in them, and a process that is given one. */
#ifndef EXMEM_TEST_VIEW_H
#define EXMEM_TEST_VIEW_H

#include "memory.h"

#define VIEW_DEVICE "/dev/memory-view"

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define TIB ((uint64_t)1 << 40)

#define RW (PROT_READ | PROT_WRITE)
#define RX (PROT_READ | PROT_EXEC)
#define RWX (PROT_READ | PROT_WRITE | PROT_EXEC)

#define VIEW_R MEMVIEW_MAP_READ
#define VIEW_RW (MEMVIEW_MAP_READ | MEMVIEW_MAP_WRITE)
#define VIEW_RX (MEMVIEW_MAP_READ | MEMVIEW_MAP_EXEC)
#define VIEW_RWX (MEMVIEW_MAP_READ | MEMVIEW_MAP_WRITE | MEMVIEW_MAP_EXEC)

/* A control file, without and with a size. A test's end closes it. */
int open_control(void);
int make_view(uint64_t size);

/* The ioctls of a control file: -1 or what they return. */
int view_set_size(int view, uint64_t size);
int view_map(int view, int fd, uint64_t fd_offset, uint64_t size, uint64_t mem_offset, uint32_t flags);
int view_map_memory(int view, const void *address, uint64_t size, uint64_t mem_offset, uint32_t flags);
int view_unmap(int view, uint64_t mem_offset, uint64_t size);
int view_protect(int view, uint64_t mem_offset, uint64_t size, uint32_t flags);
int view_fd(int view, unsigned long cap);
int view_sync(int view);

/* A mapping of a part of a view, by a view fd of its own that is closed again; the whole for size 0. */
char *map_view(int view, uint64_t offset, size_t size, int protection);

/* A plain memfd, of zeros or filled. */
int make_file(uint64_t size);
int make_filled_file(uint64_t size, uint64_t seed);
/* By write(2), and what read(2) gives. */
void write_filled(int file, uint64_t offset, size_t size, uint64_t seed);
bool file_is_filled(int fd, uint64_t offset, size_t size, uint64_t seed);

/* The same, of 2 MiB pages, of which so many are there while run() runs in a child. */
int make_huge_file(uint64_t size);
void with_huge_pages(int pages, void (*run)(void));

/* All that MEMVIEW_GET_RANGES says, in pages: what a test writes is short then. */
struct pages {
	uint64_t at, n, from;	/* in the view, how many, in the source */
	uint32_t flags;
};

void expect_ranges_at(const char *file, int line, int view, uint32_t kind, const struct pages *expected, size_t n);
#define expect_ranges_of(kind, view, ...)					\
	expect_ranges_at(__FILE__, __LINE__, view, kind,			\
			 (const struct pages[]){ __VA_ARGS__ },			\
			 sizeof((const struct pages[]){ __VA_ARGS__ }) / sizeof(struct pages))
#define expect_ranges(view, ...) expect_ranges_of(MEMVIEW_KIND_FILE, view, __VA_ARGS__)
#define expect_no_ranges(view) expect_ranges_at(__FILE__, __LINE__, view, 0, NULL, 0)
uint32_t count_ranges(int view);

/*
 * Process B: it has nothing of what this process opens after its start but the
 * view fd that it is sent, maps it, and does there what it is asked to.
 */
struct peer {
	pid_t pid;
	int socket;
};

struct access {
	int signal, code;	/* 0 if it worked */
	uint64_t value;		/* of a load */
};

struct peer start_peer(void);
void end_peer(struct peer *peer);
/* Sends a view fd, and closes it here; the errno of the peer's mmap(2). */
int give_view_fd(struct peer *peer, int fd, uint64_t offset, uint64_t size, int protection);
/* The whole view, for reading and writing. */
void give_view(struct peer *peer, int view, uint64_t size);

/* Of 8 bytes at an offset of the peer's mapping. */
struct access peer_load(struct peer *peer, uint64_t offset);
struct access peer_store(struct peer *peer, uint64_t offset, uint64_t value);
struct access peer_call(struct peer *peer, uint64_t offset);
/* Whether it finds there what fill() wrote, or zeros; false on any signal. */
bool peer_finds(struct peer *peer, uint64_t offset, size_t size, uint64_t seed);
bool peer_finds_zeros(struct peer *peer, uint64_t offset, size_t size);
void peer_fills(struct peer *peer, uint64_t offset, size_t size, uint64_t seed);

#define expect_access(expected, got)							\
	do {										\
		struct access access_ = (got);						\
		int code_ = (expected) == SIGBUS ? BUS_ADRERR : access_.code;		\
											\
		if (access_.signal != (expected) || access_.code != code_)		\
			fail("%s: expected signal %d, got %d (code %d)", #got,		\
			     expected, access_.signal, access_.code);			\
	} while (0)

#define expect_value(expected, got)							\
	do {										\
		struct access access_ = (got);						\
											\
		check(!access_.signal, "%s: signal %d (code %d)", #got,			\
		      access_.signal, access_.code);					\
		expect_equal(expected, access_.value);					\
	} while (0)

#endif
