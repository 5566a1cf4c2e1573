/* SPDX-License-Identifier: MIT */
/*
 * What the host asks for: strings that end in a NUL, whose first character says
 * what they are.
 */
#ifndef EXMEM_VM_REQUEST_H
#define EXMEM_VM_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

struct request {
	char **arguments;		/* A: of COMMAND, with its name */
	char **environment;		/* E: NAME=VALUE */
	const char *directory;		/* C: where to run it */
	const char *kernel_modules;	/* L: what /lib/modules shall be */
	const char *module;		/* M: file of the module to load, or NULL */
	const char *module_parameters;	/* P */
	char **devices;			/* D: names in /dev that the user may use */
	bool unprivileged;		/* U */
	bool terminal;			/* T */
};

void request_parse(struct request *request, const char *data, size_t length);

#endif
