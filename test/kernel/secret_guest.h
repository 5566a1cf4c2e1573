/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A guest in long mode on private memory, in which it made a secret that is
 * nowhere else: the tests know it inverted only, and so does the guest's code.
 *
 * From 0, one object of SECRET_GUEST_SIZE. Its page tables and all it runs are
 * in there, too. It does one thing at a time and then says so by a port.
 */
#ifndef EXMEM_TEST_SECRET_GUEST_H
#define EXMEM_TEST_SECRET_GUEST_H

#include "kvm.h"

#define SECRET_GUEST_SIZE ((size_t)4 << 20)
/* What the guest's memory has where. */
#define TABLES_AT	0x10000
#define CODE_AT		0x20000
#define SECRET_AT	0x100000
#define SECRET_SIZE	0x100000
/* A page of the secret, for what wants to be told a page, and something in it. */
#define TARGET_PAGE	0x180000
#define TARGET		(TARGET_PAGE + 0x440)
#define SECRET_END_AT	(SECRET_AT + SECRET_SIZE)

#define DONE_PORT	0x80

extern int secret_object, secret_view;
extern char *secret_memory;	/* its mapping, PROT_NONE */

/* For begin_secret_guest(). */
#define WITH_IRQCHIP	1
#define ON_PLAIN_MEMORY	2	/* the control: what is looked for can be found there */
#define THROUGH_VIEW	4	/* the slot is a view's mapping, which shows the object */

/* Everything, with all that KVM can offer a guest, the secret included. */
void begin_secret_guest(int options);
/* Before it, in a process that looks for what a child of it makes. */
void choose_secret(void);

/*
 * The secret is in the object, each byte of it, and in no page that the kernel's direct map leads to; the monitor cannot
 * read it. The guest is asked by a processor that no test uses for anything else.
 */
void expect_secret_kept(void);
int pages_with_secret(void);

/* The first processor runs code that starts there; ends with the port. Returns its registers. */
#define call_guest(code, ...)							\
	call_guest_code(code, SIZE_OF_CODE(code), (struct kvm_regs){ __VA_ARGS__ })
struct kvm_regs call_guest_code(const unsigned char *code, size_t size, struct kvm_regs registers);
/* The same in two steps, for what may end otherwise. */
#define prepare_guest(code, ...)						\
	prepare_guest_code(code, SIZE_OF_CODE(code), (struct kvm_regs){ __VA_ARGS__ })
void prepare_guest_code(const unsigned char *code, size_t size, struct kvm_regs registers);
/* Another processor, at the code that the first one was prepared for. */
void prepare_another(struct processor processor, struct kvm_regs registers);
#define DONE "out %al, $0x80\n"

void put_in_secret_guest(uint64_t at, const void *bytes, size_t size);
/* By WRMSR; the guest has to get past the instruction, see need_instruction_fetches(). */
void secret_guest_sets_msr(uint32_t msr, uint64_t value);
/* KVM does then what is to be done before a guest runs. */
void enter_secret_guest(int times);

/* What an access of the kernel's to the target's address in the direct map finds: a page that is not the target. */
void read_decoy(void *page);
bool decoy_is_blank(void);

#endif
