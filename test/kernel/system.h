/* SPDX-License-Identifier: GPL-2.0 */
/* What the kernel says about itself in files. */
#ifndef EXMEM_TEST_SYSTEM_H
#define EXMEM_TEST_SYSTEM_H

#include "harness.h"

/* A file of /sys/kernel/exclusive_memory. */
long counter(const char *name);

#define expect_counter(expected, name)							\
	do {										\
		long counter_ = counter(name), wanted_ = (expected);			\
											\
		check(counter_ == wanted_, "%s: expected %ld, is %ld", name, wanted_, counter_);\
	} while (0)

/* What is given back when a process ends or a file's last user is gone may take a moment. */
#define expect_counter_soon(expected, name)						\
	do {										\
		long wanted_ = (expected);						\
											\
		check(eventually(counter(name) == wanted_), "%s: expected %ld, stays %ld",\
		      name, wanted_, counter(name));					\
	} while (0)

/* A line "NAME VALUE" or "NAME: VALUE" of a file; -1 if there is none. */
long long field(const char *path, const char *name);

/* "" if it cannot be read; the returned text is static. */
const char *read_text(const char *path);
/* -1 or 0; all in one write(2) */
int write_text(const char *path, const char *text);
int append_text(const char *path, const char *text);

/* The kernel's log from here on, and whether a line of it contains a text. */
int log_begin(void);
bool log_contains(int log, const char *text);

/* "6.1" and later is kernel_at_least(6, 1) */
bool kernel_at_least(int major, int minor);

/* Run a program; its status, or 128 and its signal. */
int run(const char *const arguments[]);
#define run_program(...) run((const char *const[]){ __VA_ARGS__, NULL })

#endif
