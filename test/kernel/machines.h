/* SPDX-License-Identifier: GPL-2.0 */
/* Virtual machines that only exist. */
#ifndef EXMEM_TEST_MACHINES_H
#define EXMEM_TEST_MACHINES_H

/*
 * As long as there are machines of all kinds, the kernel does not change its own
 * code for the next one and back, which emulators are not good at: now and then
 * one stands still for good.
 *
 * Without a word where there is no KVM. The program's end closes them.
 */
void keep_machines(void);

/* At the top of a test program that makes many machines. */
#define KEEP_A_MACHINE								\
	__attribute__((constructor)) static void keep_a_machine(void)		\
	{									\
		keep_machines();						\
	}

#endif
