// SPDX-License-Identifier: GPL-2.0
#include <string.h>
#include <sys/random.h>

#include "guest.h"
#include "secret_guest.h"
#include "test_module.h"
#include "view.h"

/* Code of the processor that looks after the secret, and of the others. */
#define CHECKER_AT CODE_AT
#define TESTED_AT (CODE_AT + PAGE)

int secret_object, secret_view;
char *secret_memory;

/* The secret's eight bytes, inverted. Each test has its own: freed memory keeps those of others. */
static uint64_t inverted;
static bool is_chosen;
static struct processor checker;
static bool plain;

GUEST_CODE(fill_memory, 64,
	"not %rax\n"
	"rep stosq\n"
	"xor %eax, %eax\n"
	DONE);

/* al: 1 if all of it is as it was */
GUEST_CODE(check_memory, 64,
	"not %rax\n"
	"repe scasq\n"
	"mov $0, %eax\n"
	"sete %al\n"
	DONE);

void put_in_secret_guest(uint64_t at, const void *bytes, size_t size)
{
	if (plain)
		memcpy(secret_memory + at, bytes, size);
	else
		expect_ok(populate(secret_object, at, size, bytes));
}

static struct kvm_regs run_code(struct processor processor)
{
	expect_exit(KVM_EXIT_IO, processor);
	expect_equal(DONE_PORT, processor.run->io.port);
	return registers_of(processor.fd);
}

static void start(struct processor processor, uint64_t at, struct kvm_regs registers)
{
	start_in_long_mode(processor.fd, TABLES_AT, at);
	registers.rip = at;
	registers.rflags |= 2;
	expect_ok(ioctl(processor.fd, KVM_SET_REGS, &registers));
}

void prepare_another(struct processor processor, struct kvm_regs registers)
{
	offer_all_features(processor.fd);
	start(processor, TESTED_AT, registers);
}

void prepare_guest_code(const unsigned char *code, size_t size, struct kvm_regs registers)
{
	put_in_secret_guest(TESTED_AT, code, size);
	start(first_processor(), TESTED_AT, registers);
}

struct kvm_regs call_guest_code(const unsigned char *code, size_t size, struct kvm_regs registers)
{
	prepare_guest_code(code, size, registers);
	return run_code(first_processor());
}

/* cx: the MSR */
GUEST_CODE(write_msr, 64, "wrmsr\n" DONE);
/* The first instruction must not be the last one, which KVM has yet to get past when it runs the guest again. */
GUEST_CODE(do_nothing, 64, "nop\n" DONE);

void secret_guest_sets_msr(uint32_t msr, uint64_t value)
{
	call_guest(write_msr, .rcx = msr, .rax = value & 0xffffffff, .rdx = value >> 32);
}

void enter_secret_guest(int times)
{
	for (int i = 0; i < times; i++)
		call_guest(do_nothing);
}

/* The registers that it leaves have nothing of the secret. */
static struct kvm_regs on_secret(const unsigned char *code, size_t size)
{
	struct kvm_regs registers = { .rax = inverted, .rdi = SECRET_AT, .rcx = SECRET_SIZE / 8 };

	put_in_secret_guest(CHECKER_AT, code, size);
	start(checker, CHECKER_AT, registers);
	return run_code(checker);
}

void choose_secret(void)
{
	expect_equal(sizeof(inverted), getrandom(&inverted, sizeof(inverted), 0));
	is_chosen = true;
}

static void make_memory(int options)
{
	if (plain) {
		secret_memory = expect_ok(mmap(NULL, SECRET_GUEST_SIZE, PROT_READ | PROT_WRITE,
					       MAP_SHARED | MAP_ANONYMOUS, -1, 0));
		return;
	}
	secret_object = make_memfd_flags(SECRET_GUEST_SIZE, GUEST);
	if (options & THROUGH_VIEW) {
		secret_view = make_view(SECRET_GUEST_SIZE);
		expect_ok(view_map(secret_view, secret_object, 0, SECRET_GUEST_SIZE, 0, VIEW_RW));
		secret_memory = map_view(secret_view, 0, 0, PROT_NONE);
	} else {
		secret_memory = map_none(secret_object, SECRET_GUEST_SIZE);
	}
}

void begin_secret_guest(int options)
{
	char tables[TABLES_SIZE];

	need_test_module();
	if (!is_chosen)
		choose_secret();
	plain = options & ON_PLAIN_MEMORY;
	if (options & WITH_IRQCHIP)
		make_machine_with_irqchip();
	else
		make_machine();
	checker = add_processor(1);
	offer_all_features(vcpu);
	offer_all_features(checker.fd);
	if (options & WITH_IRQCHIP) {
		struct kvm_mp_state state = { .mp_state = KVM_MP_STATE_RUNNABLE };

		/* It is not for the first one to start it. */
		expect_ok(ioctl(checker.fd, KVM_SET_MP_STATE, &state));
	}

	make_memory(options);
	make_tables(tables, TABLES_AT);
	put_in_secret_guest(TABLES_AT, tables, sizeof(tables));
	expect_ok(set_slot(0, 0, secret_memory, SECRET_GUEST_SIZE));
	on_secret(fill_memory, SIZE_OF_CODE(fill_memory));
}

int pages_with_secret(void)
{
	return count_pages_with_inverted(inverted);
}

void expect_secret_kept(void)
{
	expect_equal(1, on_secret(check_memory, SIZE_OF_CODE(check_memory)).rax);
	expect_equal(0, pages_with_secret());
	expect_signal(SIGSEGV, signal_of_load(secret_memory + TARGET));
	check(is_out_of_direct_map(secret_memory + TARGET), "the direct map leads there");
}

void read_decoy(void *page)
{
	expect_ok(read_mapped_page(pfn_of(secret_memory + TARGET), page));
}

bool decoy_is_blank(void)
{
	char page[PAGE];

	read_decoy(page);
	return is_zero(page, PAGE);
}
