/* SPDX-License-Identifier: GPL-2.0 */
/* A memory cgroup for a test. */
#ifndef EXMEM_TEST_CGROUP_H
#define EXMEM_TEST_CGROUP_H

#include "harness.h"

#define CGROUP "/sys/fs/cgroup/exmem-test"

/* Run in a child in a new cgroup, whose memory.max is this; skips the test where there is none. */
void in_cgroup(const char *max, void (*run)(void));
/* memory.current */
long long charged(void);

#endif
