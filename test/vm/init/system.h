/* SPDX-License-Identifier: MIT */
/* The virtual machine around COMMAND: files, modules, and its end. */
#ifndef EXMEM_VM_SYSTEM_H
#define EXMEM_VM_SYSTEM_H

#include "request.h"

/* Who COMMAND is with --unprivileged. The group stands for the one of the udev rule. */
#define USER_ID 1000
#define USER_HOME "/run/user/1000"
#define DEVICE_GROUP_ID 1001

/* A line in the kernel's log. The runner takes "BUG:" in it for a failure. */
void kernel_log(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Log why, and switch off without a status. */
void fatal(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

void power_off(void) __attribute__((noreturn));

/* What is needed to reach the host. */
void system_begin(void);

/* The host's file system, and everything else that programs expect. */
void system_enter_root(const struct request *request);

/* The module under test. */
void system_load_module(const struct request *request);

/* All processes are dead: what did they and the module leave behind? */
void system_check_leftovers(void);

#endif
