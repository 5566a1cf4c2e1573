/* SPDX-License-Identifier: GPL-2.0 */
/* A virtual machine with one processor in real mode, and little else. */
#ifndef EXMEM_TEST_KVM_H
#define EXMEM_TEST_KVM_H

#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "harness.h"

extern int vm, vcpu;
extern struct kvm_run *run_state;

/* Skips the test where there is no KVM. */
int open_kvm(void);
void make_machine(void);
/* -1 or 0 */
int set_slot(int slot, uint64_t guest_address, void *memory, size_t size);

/* Code in ordinary memory at 0, two pages that are returned; whatever is under test goes to 0x2000. */
char *load_code(const unsigned char *code, size_t size);
/* From there again. */
void rewind_code(void);
uint8_t register_al(void);

#endif
