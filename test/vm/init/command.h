/* SPDX-License-Identifier: MIT */
/* COMMAND: its process and the ends of its three streams. */
#ifndef EXMEM_VM_COMMAND_H
#define EXMEM_VM_COMMAND_H

#include <sys/types.h>

#include "request.h"

struct command {
	pid_t pid;
	int in, out, err;	/* not blocking; -1 when closed; in and out may be one terminal */
};

void command_start(struct command *command, const struct request *request);

void command_set_window_size(const struct command *command, unsigned rows, unsigned columns);

#endif
