/* SPDX-License-Identifier: GPL-2.0 */
/* Commands for the module exclusive_memory_test, see module/exclusive_memory_test.c. */
#ifndef EXMEM_TEST_TEST_MODULE_H
#define EXMEM_TEST_TEST_MODULE_H

#include "harness.h"

/* Skips the test where the module is not loaded. */
void need_test_module(void);

/* As printf(3); -1 or 0. */
int command(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* What the notifiers were told since the last "clear", as "a mmap_start, b mmap_start". */
const char *told(void);

#define expect_told(expected)							\
	do {									\
		const char *told_ = told();					\
										\
		check(!strcmp(told_, expected), "expected the callbacks \"%s\", got \"%s\"",\
		      expected, told_);						\
	} while (0)

/* The physical page behind an address of this process's VM_PFNMAP areas; 0 if there is none. */
uint64_t unpinnable_pfn_of(const void *address);

/* Whether the kernel can read a page; 0 or a negative errno. */
struct page_reads {
	int direct_map;
	int image;
	bool has_image_address;
};

struct page_reads read_page(uint64_t pfn);

/* Which page a page's direct-map entry leads to; 0 if it leads nowhere. */
uint64_t direct_map_pfn(uint64_t pfn);
/* The page at a page's address in the direct map, and the page itself: 4096 bytes; -1 or 0. */
int read_mapped_page(uint64_t pfn, void *bytes);
int read_page_content(uint64_t pfn, void *bytes);

/*
 * How many pages of the machine's memory hold eight bytes three times in a row, as far as the direct map leads there.
 * They are given inverted: a process that has them itself would be found.
 */
int count_pages_with_inverted(uint64_t inverted);

#endif
