// SPDX-License-Identifier: MIT
#include <stdlib.h>
#include <string.h>

#include "request.h"
#include "system.h"

static void add(char ***list, const char *string)
{
	size_t n = 0;

	while (*list && (*list)[n])
		n++;
	*list = realloc(*list, (n + 2) * sizeof(**list));
	if (!*list)
		fatal("out of memory");
	(*list)[n] = (char *)string;
	(*list)[n + 1] = NULL;
}

void request_parse(struct request *request, const char *data, size_t length)
{
	char *copy = malloc(length);

	if (!copy)
		fatal("out of memory");
	memcpy(copy, data, length);
	*request = (struct request){ .module_parameters = "" };

	for (char *p = copy; p < copy + length; p += strlen(p) + 1) {
		switch (*p) {
		case 'A': add(&request->arguments, p + 1); break;
		case 'E': add(&request->environment, p + 1); break;
		case 'D': add(&request->devices, p + 1); break;
		case 'C': request->directory = p + 1; break;
		case 'L': request->kernel_modules = p + 1; break;
		case 'M': request->module = p + 1; break;
		case 'P': request->module_parameters = p + 1; break;
		case 'U': request->unprivileged = true; break;
		case 'T': request->terminal = true; break;
		default: fatal("unknown request \"%s\"", p);
		}
	}
	if (!request->arguments || !request->environment || !request->directory ||
	    !request->kernel_modules)
		fatal("an incomplete request");
}
