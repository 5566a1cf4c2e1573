// SPDX-License-Identifier: GPL-2.0
/*
 * G6: a guest that is a hypervisor itself. KVM reaches the structures that such a
 * guest makes for the processor by the direct map, so in private memory there is
 * nothing of them.
 */
#include <string.h>

#include "guest.h"
#include "kvm.h"
#include "secret_guest.h"

KEEP_A_MACHINE

/* A control block of AMD's SVM, as far as these tests need it (APM volume 2, appendix B). */
struct segment {
	uint16_t selector, attributes;
	uint32_t limit;
	uint64_t base;
};

struct control_block {
	uint32_t intercepts[6];
	uint8_t unused[0x58 - 0x18];
	uint32_t asid, flush;
	uint8_t unused2[0x70 - 0x60];
	uint64_t exit_code;
	uint8_t unused3[0x90 - 0x78];
	uint64_t nested_paging;
	uint8_t unused4[0xb0 - 0x98];
	uint64_t nested_tables;
	uint8_t unused5[0x400 - 0xb8];
	struct segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
	uint8_t unused6[0x4d0 - 0x4a0];
	uint64_t efer;
	uint8_t unused7[0x548 - 0x4d8];
	uint64_t cr4, cr3, cr0, dr7, dr6, rflags, rip;
	uint8_t unused8[0x668 - 0x580];
	uint64_t pat;
	uint8_t unused9[0x1000 - 0x670];
} __attribute__((packed));

_Static_assert(offsetof(struct control_block, rip) == 0x578, "the layout is the processor's");
_Static_assert(sizeof(struct control_block) == 4096, "one page");

/* In intercepts[3] and [4] */
#define INTERCEPT_HLT	(1 << 24)
#define INTERCEPT_VMRUN	(1 << 0)
#define EXIT_HLT	0x78
#define EXIT_NESTED	0x400

#define MSR_HSAVE	0xc0010117
#define EFER_SVME	(1 << 12)

/* Ordinary memory for what has to be read. */
#define PLAIN_AT	0x10000000
#define PLAIN_SIZE	(16 * PAGE)
#define BLOCK_AT	PLAIN_AT
#define BLOCK_SLOT	1
/* The nested tables: the inner guest's addresses are those of the guest. */
#define NESTED_AT	(PLAIN_AT + PAGE)
/* In private memory, which the inner guest can have, too. */
#define INNER_PRIVATE_AT 0x8000

static char *plain;

/* ax: the control block */
GUEST_CODE(run_inner, 64, "vmrun\n" DONE);
GUEST_CODE(load_state, 64, "vmload\n" DONE);
GUEST_CODE(save_state, 64, "vmsave\n" DONE);

/* What runs in it: says so, then ends at once. */
GUEST_CODE(inner, 16, "nop\n" DONE "hlt\n");

static void begin(void)
{
	enum { FEATURES = 0x80000001, SVM = 2 };

	need_instruction_fetches();
	begin_secret_guest(0);
	if (!offers(FEATURES, 'c', SVM))
		skip("KVM offers no SVM to guests here");
	plain = expect_ok(mmap(NULL, PLAIN_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	expect_ok(set_slot(BLOCK_SLOT, BLOCK_AT, plain, PAGE));
	expect_ok(set_slot(2, PLAIN_AT + PAGE, plain + PAGE, PLAIN_SIZE - PAGE));
	expect_equal(1, set_msr(vcpu, MSR_HSAVE, PLAIN_AT + 15 * PAGE));
}

/* start_in_long_mode() leaves it off. */
static void enable_svm(void)
{
	struct kvm_sregs sregs;

	expect_ok(ioctl(vcpu, KVM_GET_SREGS, &sregs));
	sregs.efer |= EFER_SVME;
	expect_ok(ioctl(vcpu, KVM_SET_SREGS, &sregs));
}

#define prepare_hypervisor(code, ...)			\
	do {						\
		prepare_guest(code, __VA_ARGS__);	\
		enable_svm();				\
	} while (0)

static void expect_done(void)
{
	expect_exit(KVM_EXIT_IO, first_processor());
	expect_equal(DONE_PORT, run_state->io.port);
}

/* In real mode, from an address in the first 64 KiB on. */
static struct control_block control_block(uint16_t instruction)
{
	struct segment data = { .attributes = 0x93, .limit = 0xffff };
	struct segment table = { .limit = 0xffff };

	return (struct control_block){
		.intercepts = { [3] = INTERCEPT_HLT, [4] = INTERCEPT_VMRUN },
		.asid = 1,
		.nested_paging = 1,
		.nested_tables = NESTED_AT,
		.es = data, .ss = data, .ds = data, .fs = data, .gs = data,
		.cs = { .attributes = 0x9b, .limit = 0xffff },
		.gdtr = table, .idtr = table,
		.ldtr = { .attributes = 0x82, .limit = 0xffff },
		.tr = { .attributes = 0x8b, .limit = 0xffff },
		.efer = EFER_SVME,
		.cr0 = 0x10, .dr7 = 0x400, .dr6 = 0xffff0ff0, .rflags = 2,
		.rip = instruction,
		.pat = 0x0007040600070406,
	};
}

static void make_inner_guest(void)
{
	enum { USER = 4 };
	struct control_block block = control_block(INNER_PRIVATE_AT);
	uint64_t *entries = (uint64_t *)(plain + NESTED_AT - PLAIN_AT);

	memcpy(plain, &block, sizeof(block));
	make_tables(entries, NESTED_AT);
	/* An inner guest's accesses are a user's in the nested tables. */
	for (size_t i = 0; i < TABLES_SIZE / 8; i++)
		entries[i] |= entries[i] ? USER : 0;
	expect_ok(populate(secret_object, INNER_PRIVATE_AT, SIZE_OF_CODE(inner), inner));
}

static struct control_block *block_in(void *page)
{
	return page;
}

TEST("G6 the control: a guest runs a guest in private memory, all else in ordinary memory", .seconds = 60)
{
	begin();
	make_inner_guest();
	prepare_hypervisor(run_inner, .rax = BLOCK_AT);
	expect_done();
	expect_equal(INNER_PRIVATE_AT + 1, registers_of(vcpu).rip);
	expect_done();
	expect_equal(EXIT_HLT, block_in(plain)->exit_code);
	expect_secret_kept();
}

TEST("G6 VMRUN with a control block in private memory: KVM finds an empty one", .seconds = 60)
{
	struct control_block block = control_block(INNER_PRIVATE_AT);
	char decoy[PAGE];

	begin();
	make_inner_guest();
	prepare_hypervisor(run_inner, .rax = TARGET_PAGE);
	expect_done();
	/* It says that the block is invalid, in a page that is not the guest's. */
	read_decoy(decoy);
	expect_equal(-1, (int64_t)block_in(decoy)->exit_code);
	expect_secret_kept();
	/* A valid one changes nothing. */
	expect_ok(populate(secret_object, 0xa000, sizeof(block), &block));
	prepare_hypervisor(run_inner, .rax = 0xa000);
	expect_done();
	expect_secret_kept();
}

TEST("G6 VMLOAD and VMSAVE", .seconds = 60)
{
	begin();
	prepare_hypervisor(load_state, .rax = TARGET_PAGE);
	expect_done();
	prepare_hypervisor(save_state, .rax = TARGET_PAGE);
	expect_done();
	check(!decoy_is_blank(), "KVM saved nothing: nothing was tried");
	expect_secret_kept();
	prepare_hypervisor(load_state, .rax = TARGET_PAGE);
	expect_done();
	expect_secret_kept();
}

TEST("G6 nested tables in private memory: the inner guest gets nowhere", .seconds = 60)
{
	begin();
	make_inner_guest();
	expect_ok(populate(secret_object, 0xb000, TABLES_SIZE, plain + NESTED_AT - PLAIN_AT));
	block_in(plain)->nested_tables = 0xb000;
	prepare_hypervisor(run_inner, .rax = BLOCK_AT);
	expect_done();
	expect_equal(EXIT_NESTED, block_in(plain)->exit_code);
	expect_secret_kept();
}

TEST("G6 page tables of the guest in private memory, without nested ones", .seconds = 60)
{
	begin();
	make_inner_guest();
	block_in(plain)->nested_paging = 0;
	prepare_hypervisor(run_inner, .rax = BLOCK_AT);
	/* In real mode it needs none. */
	expect_done();
	expect_done();
	expect_equal(EXIT_HLT, block_in(plain)->exit_code);
	expect_secret_kept();
}

TEST("G6 the control block's slot becomes a private one while the inner guest runs", .seconds = 60)
{
	char decoy[PAGE];

	begin();
	make_inner_guest();
	prepare_hypervisor(run_inner, .rax = BLOCK_AT);
	expect_done();
	/* It is in there. When it comes out, KVM writes to the control block. */
	expect_ok(set_slot(BLOCK_SLOT, 0, NULL, 0));
	expect_ok(set_slot(BLOCK_SLOT, BLOCK_AT, secret_memory + TARGET_PAGE, PAGE));
	expect_done();
	read_decoy(decoy);
	expect_equal(EXIT_HLT, block_in(decoy)->exit_code);
	expect_secret_kept();
}

TEST("G6 the monitor puts a processor into an inner guest whose control block is private", .seconds = 60)
{
	struct {
		struct kvm_nested_state header;
		struct control_block block;
	} state = {
		.header = {
			.flags = KVM_STATE_NESTED_GUEST_MODE | KVM_STATE_NESTED_GIF_SET,
			.format = KVM_STATE_NESTED_FORMAT_SVM,
			.size = sizeof(state),
			.hdr.svm.vmcb_pa = TARGET_PAGE,
		},
		.block = control_block(INNER_PRIVATE_AT),
	};
	char decoy[PAGE];

	begin();
	make_inner_guest();
	prepare_hypervisor(run_inner, .rax = BLOCK_AT);
	expect_done();
	/* While it is in there, the processor's state is the inner guest's. */
	expect_ok(ioctl(vcpu, KVM_GET_NESTED_STATE, &state));
	check(state.header.flags & KVM_STATE_NESTED_GUEST_MODE, "flags 0x%x", state.header.flags);
	expect_equal(BLOCK_AT, state.header.hdr.svm.vmcb_pa);
	state.header.hdr.svm.vmcb_pa = TARGET_PAGE;
	expect_ok(ioctl(vcpu, KVM_SET_NESTED_STATE, &state));
	expect_done();
	read_decoy(decoy);
	expect_equal(EXIT_HLT, block_in(decoy)->exit_code);
	expect_secret_kept();
}
