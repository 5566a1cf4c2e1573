/* SPDX-License-Identifier: GPL-2.0 */
/* Other processes, and how they meet. */
#ifndef EXMEM_TEST_PROCESS_H
#define EXMEM_TEST_PROCESS_H

#include <sys/types.h>

#include "harness.h"

/* fork(2) that cannot fail. The child has to end with succeed(). */
pid_t start_child(void);

void end_with(int line, const char *file, pid_t pid, int exit_status, int signal);

/* Wait for a child: its own checks held, or a signal ended it. */
#define expect_success(pid) end_with(__LINE__, __FILE__, pid, 0, 0)
#define expect_killed(expected, pid) end_with(__LINE__, __FILE__, pid, -1, expected)

/* A child opens a gate, its parent waits there; or the other way round. */
int make_gate(void);
void open_gate(int gate);
void wait_at_gate(int gate);

/* For SCM_RIGHTS; -1 or 0, the descriptor or -1. */
int send_fd(int socket, int fd);
int receive_fd(int socket);
void make_socket_pair(int sockets[2]);

/* Become a user without capabilities. What is open stays open. */
void drop_privileges(void);

#endif
