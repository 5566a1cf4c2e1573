// SPDX-License-Identifier: GPL-2.0
/* G6: what a monitor can ask KVM for, and what KVM has to do for a guest, instruction by instruction. */
#include <linux/kvm_para.h>
#include <signal.h>

#include "guest.h"
#include "kvm.h"
#include "secret_guest.h"

KEEP_A_MACHINE

static struct kvm_translation translate(uint64_t address)
{
	struct kvm_translation translation = { .linear_address = address };

	start_in_long_mode(vcpu, TABLES_AT, 0);
	expect_ok(ioctl(vcpu, KVM_TRANSLATE, &translation));
	return translation;
}

TEST("G6 the control: KVM_TRANSLATE finds its way through ordinary memory", .seconds = 60)
{
	begin_secret_guest(ON_PLAIN_MEMORY);
	expect_equal(1, translate(TARGET).valid);
	expect_equal(TARGET, translate(TARGET).physical_address);
}

TEST("G6 KVM_TRANSLATE, and not through private page tables", .seconds = 60)
{
	begin_secret_guest(0);
	expect_equal(0, translate(TARGET).valid);
	expect_secret_kept();
}

/* System management mode has slots of its own. KVM saves the processor's state in the guest's memory. */
#define SMM_SLOT (1 << 16)
#define SMM_CODE_AT 0x38000
GUEST_CODE(do_nothing, 64, "nop\n" DONE);
GUEST_CODE(manage_system, 16, "nop\n" DONE "rsm\n");

TEST("G6 system management mode, entered and left", .seconds = 60)
{
	struct processor processor;

	need_instruction_fetches();
	begin_secret_guest(WITH_IRQCHIP);
	if (ioctl(vm, KVM_CHECK_EXTENSION, KVM_CAP_X86_SMM) <= 0)
		skip("this kernel's KVM has no system management mode");
	processor = first_processor();
	expect_ok(set_slot(SMM_SLOT, 0, secret_memory, SECRET_GUEST_SIZE));
	expect_ok(populate(secret_object, SMM_CODE_AT, SIZE_OF_CODE(manage_system), manage_system));
	prepare_guest(do_nothing);
	expect_ok(ioctl(vcpu, KVM_SMI, 0));
	expect_exit(KVM_EXIT_IO, processor);
	check(registers_of(vcpu).rip < 0x10000, "it is at 0x%llx", registers_of(vcpu).rip);
	/* The state was not saved in memory that KVM cannot write. */
	expect_equal(0, run_processor(processor));
	check(processor.run->exit_reason == KVM_EXIT_INTERNAL_ERROR ||
	      processor.run->exit_reason == KVM_EXIT_SHUTDOWN, "exit %u", processor.run->exit_reason);
	expect_secret_kept();
}

/* ---- instructions that KVM has to carry out ---- */

static void on_alarm(int signal)
{
	(void)signal;
}

/* Returns how it ended; a guest that gets nowhere is interrupted. */
static int run_for_a_while(struct processor processor)
{
	struct sigaction action = { .sa_handler = on_alarm };
	int answer;

	expect_ok(sigaction(SIGALRM, &action, NULL));
	alarm(2);
	answer = errno_of(ioctl(processor.fd, KVM_RUN, 0));
	alarm(0);
	return answer;
}

/* si: the address, cx: how many bytes */
GUEST_CODE(write_string, 64, "mov $0x99, %edx\nrep outsb\n" DONE);

TEST("G6 a string of it to a port: KVM does not find it, and the guest can be stopped", .seconds = 60)
{
	int answer;

	need_instruction_fetches();
	begin_secret_guest(0);
	prepare_guest(write_string, .rsi = TARGET, .rcx = 64);
	answer = run_for_a_while(first_processor());
	diag("KVM_RUN: %s, exit %u", errno_name(answer), run_state->exit_reason);
	check(answer == EINTR || (!answer && run_state->exit_reason != KVM_EXIT_IO),
	      "KVM_RUN: %s, exit %u", errno_name(answer), run_state->exit_reason);
	expect_secret_kept();
}

/* si: the address; the other one is of a device */
GUEST_CODE(copy_to_device, 64, "mov $0x10000000, %edi\nmovsq\n" DONE);

TEST("G6 a string of it to a device", .seconds = 60)
{
	int answer;

	need_instruction_fetches();
	begin_secret_guest(0);
	prepare_guest(copy_to_device, .rsi = TARGET);
	answer = run_for_a_while(first_processor());
	diag("KVM_RUN: %s, exit %u", errno_name(answer), run_state->exit_reason);
	check(answer == EINTR || !answer, "KVM_RUN: %s", errno_name(answer));
	/* If KVM takes the source for a device too, it asks the monitor what is there. */
	if (!answer && run_state->exit_reason == KVM_EXIT_MMIO)
		expect_equal(0, run_state->mmio.is_write);
	expect_secret_kept();
}

/* ax: the hypercall, bx: where the answer goes */
GUEST_CODE(call_hypervisor, 64, "vmmcall\n" DONE);

TEST("G6 a hypercall that answers in memory", .seconds = 60)
{
	need_instruction_fetches();
	begin_secret_guest(0);
	check((int64_t)call_guest(call_hypervisor, .rax = KVM_HC_CLOCK_PAIRING, .rbx = TARGET & ~63).rax < 0,
	      "it succeeded");
	expect_secret_kept();
}
