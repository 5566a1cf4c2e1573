/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A virtual machine with one processor in real mode, and little else; more
 * processors, and long mode, for those who ask for it.
 */
#ifndef EXMEM_TEST_KVM_H
#define EXMEM_TEST_KVM_H

#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "harness.h"
#include "machines.h"

extern int vm, vcpu;
extern struct kvm_run *run_state;

/* Skips the test where there is no KVM. */
int open_kvm(void);
void make_machine(void);
/* The same, with a local APIC for each processor, and the other controllers. */
void make_machine_with_irqchip(void);
/*
 * KVM has to read a guest's instructions on a processor without NRIPS and DecodeAssists, as QEMU emulates it. There
 * this loads a module that does it for private memory; the test is skipped if there is none.
 */
void need_instruction_fetches(void);

/* -1 or 0 */
int set_slot(int slot, uint64_t guest_address, void *memory, size_t size);

/* Code in ordinary memory at 0, two pages that are returned; whatever is under test goes to 0x2000. */
char *load_code(const unsigned char *code, size_t size);
/* From there again. */
void rewind_code(void);
uint8_t register_al(void);

/*
 * Code of a guest: GUEST_CODE(name, 16, "hlt") is name[], of SIZE_OF_CODE(name)
 * bytes. It must not depend on where it is.
 */
#define GUEST_CODE(name, bits, text)					\
	extern const unsigned char name[], name##_end[];		\
	asm(".pushsection .rodata\n" #name ":\n\t.code" #bits "\n" text	\
	    "\n" #name "_end:\n\t.code64\n.popsection")
#define SIZE_OF_CODE(name) ((size_t)(name##_end - name))

/* The first processor is what make_machine() makes. Each has a thread that runs it. */
struct processor {
	int fd;
	struct kvm_run *run;
};

struct processor first_processor(void);
struct processor add_processor(int id);
void end_processor(struct processor processor);

/* All features that KVM has for guests here, those for its own guests included. */
void offer_all_features(int processor);
bool offers(uint32_t leaf, char result, int bit);	/* 'a' to 'd' */

/* Page tables of three pages for a guest address: the first GiB, at its own addresses. */
#define TABLES_SIZE 12288
void make_tables(void *tables, uint64_t guest_address);
/* In long mode, with interrupts off. */
void start_in_long_mode(int processor, uint64_t tables, uint64_t instruction);
/* In real mode, in the first 64 KiB. */
void start_in_real_mode(int processor, uint16_t instruction);

/* 1, or 0 where KVM refuses it. */
int set_msr(int processor, uint32_t msr, uint64_t value);
uint64_t get_msr(int processor, uint32_t msr);
struct kvm_regs registers_of(int processor);

/* KVM_RUN until something happens; 0 or its errno. */
int run_processor(struct processor processor);
#define expect_exit(reason, on)							\
	do {									\
		struct processor processor_ = (on);				\
										\
		expect_equal(0, run_processor(processor_));			\
		check_exit(__FILE__, __LINE__, processor_, reason);		\
	} while (0)
void check_exit(const char *file, int line, struct processor processor, uint32_t reason);

#endif
