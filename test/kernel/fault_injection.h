/* SPDX-License-Identifier: GPL-2.0 */
/* Allocations that fail when a test says so. */
#ifndef EXMEM_TEST_FAULT_INJECTION_H
#define EXMEM_TEST_FAULT_INJECTION_H

#include "harness.h"

#define DEBUGFS "/sys/kernel/debug/"

/* Every allocation may fail, silently; skips the test where none can. */
void need_fault_injection(void);

/* What a call gave whose nth allocation, of this thread, failed: if it had so many. */
struct attempt {
	long result;
	int err;
	bool injected;
};

struct attempt call_with_fault(long (*call)(void), int n);

/* A setting of failslab or fail_page_alloc. */
void set_fault(const char *directory, const char *name, const char *value);

#endif
