/* SPDX-License-Identifier: MIT */
/*
 * Messages through the window that the guest shares with its monitor;
 * ../mailbox.ts is the other end, and says what is where.
 */
#ifndef MAILBOX_H
#define MAILBOX_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct mailbox {
	_Atomic uint32_t sent;
	_Atomic uint32_t taken;
	uint32_t length;
	uint32_t reserved;
	char text[];
};

/* Opens the window that the kernel's command line names as EXMEM_WINDOW=ADDRESS,SIZE. */
void open_window(void);

/* Where the next message's text goes, once there is room; send_message() then sends it. */
char *begin_message(size_t *capacity);
void send_message(size_t length);

/* As printf(3). */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Copies the monitor's next message, as a string; 0 if there is none. */
int take_message(char *text, size_t size);

#endif
