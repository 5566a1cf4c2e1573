// SPDX-License-Identifier: GPL-2.0
/*
 * G6: what KVM writes to a guest's memory by the monitor's address of it, because
 * the guest or its monitor asked for it. Each is tried twice: on ordinary memory,
 * where it must be found, and on a page of a private secret.
 */
#include <asm/kvm_para.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>

#include "guest.h"
#include "kvm.h"
#include "process.h"
#include "secret_guest.h"

KEEP_A_MACHINE

/* Aligned as all of them want it. */
#define PLACE (TARGET & ~63)

static void expect_kept_from(int options, void (*attempt)(void))
{
	pid_t pid = start_child();

	if (!pid) {
		begin_secret_guest(options | ON_PLAIN_MEMORY);
		fill(secret_memory + TARGET_PAGE, PAGE, 1);
		attempt();
		check(!is_filled(secret_memory + TARGET_PAGE, PAGE, 1), "KVM wrote nothing: nothing was tried");
		succeed();
	}
	expect_success(pid);
	begin_secret_guest(options);
	attempt();
	expect_secret_kept();
}

static void need_feature(int feature)
{
	if (!offers(KVM_CPUID_FEATURES, 'a', feature))
		skip("KVM does not offer it here");
}

static void set_wall_clock(void)
{
	/* KVM says no if it cannot write it. */
	set_msr(vcpu, MSR_KVM_WALL_CLOCK, PLACE);
	set_msr(vcpu, MSR_KVM_WALL_CLOCK_NEW, PLACE);
	secret_guest_sets_msr(MSR_KVM_WALL_CLOCK, PLACE);
	secret_guest_sets_msr(MSR_KVM_WALL_CLOCK_NEW, PLACE);
}

TEST("G6 the wall clock", .seconds = 90)
{
	need_feature(KVM_FEATURE_CLOCKSOURCE2);
	need_instruction_fetches();
	expect_kept_from(0, set_wall_clock);
}

static void steal_time(void)
{
	expect_equal(1, set_msr(vcpu, MSR_KVM_STEAL_TIME, PLACE | KVM_MSR_ENABLED));
	/* It is written when the processor's thread goes and when it comes back. */
	for (int i = 0; i < 20; i++) {
		enter_secret_guest(1);
		sleep_ms(1);
	}
}

TEST("G6 steal time", .seconds = 90)
{
	need_feature(KVM_FEATURE_STEAL_TIME);
	expect_kept_from(0, steal_time);
}

/* ---- interrupts ---- */

#define VECTOR		0x40
#define PAGE_FAULT	14
#define HANDLER_AT	0x30000
#define DESCRIPTORS_AT	0x31000
#define STACK_AT	0x40000
#define BSP_APIC_BASE	0xfee00000

GUEST_CODE(handle_interrupt, 64, "nop\n" DONE "again: jmp again\n");

/* ax: what LGDT takes, and LIDT 16 bytes on; sp */
#define TAKE_INTERRUPTS "lgdt (%rax)\nlidt 16(%rax)\nsti\nnop\n"

GUEST_CODE(wait_for_interrupt, 64, TAKE_INTERRUPTS "1: pause\njmp 1b\n");

static void make_descriptors(void)
{
	struct gate {
		uint16_t low, selector, type, middle;
		uint32_t high, zero;
	} gate = { .low = HANDLER_AT & 0xffff, .selector = 8, .type = 0x8e00, .middle = HANDLER_AT >> 16 };
	struct __attribute__((packed)) {
		uint16_t gdt_limit;
		uint64_t gdt;
		uint8_t unused[6];
		uint16_t idt_limit;
		uint64_t idt;
		uint8_t unused2[6];
		uint64_t segments[3];
		struct gate gates[VECTOR + 1];
	} table = {
		.gdt_limit = sizeof(table.segments) - 1,
		.gdt = DESCRIPTORS_AT + offsetof(typeof(table), segments),
		.idt_limit = sizeof(table.gates) - 1,
		.idt = DESCRIPTORS_AT + offsetof(typeof(table), gates),
		.segments = { 0, 0x00af9b000000ffff, 0x00cf93000000ffff },
		.gates = { [PAGE_FAULT] = gate, [VECTOR] = gate },
	};

	put_in_secret_guest(DESCRIPTORS_AT, &table, sizeof(table));
	put_in_secret_guest(HANDLER_AT, handle_interrupt, SIZE_OF_CODE(handle_interrupt));
}

static void enable_apic(void)
{
	enum { SPURIOUS = 0xf0, SOFTWARE_ENABLED = 0x100 };
	struct kvm_lapic_state apic;
	uint32_t spurious = SOFTWARE_ENABLED | 0xff;

	expect_ok(ioctl(vcpu, KVM_GET_LAPIC, &apic));
	memcpy(apic.regs + SPURIOUS, &spurious, sizeof(spurious));
	expect_ok(ioctl(vcpu, KVM_SET_LAPIC, &apic));
}

static bool is_in_handler(void)
{
	uint64_t instruction = registers_of(vcpu).rip;

	return instruction >= HANDLER_AT && instruction < HANDLER_AT + PAGE;
}

/* Until its handler says so. There is no end of the interrupt. */
static void interrupt_guest(void)
{
	struct kvm_msi message = { .address_lo = BSP_APIC_BASE, .data = VECTOR };

	make_descriptors();
	enable_apic();
	prepare_guest(wait_for_interrupt, .rax = DESCRIPTORS_AT, .rsp = STACK_AT);
	expect_equal(1, expect_ok(ioctl(vm, KVM_SIGNAL_MSI, &message)));
	expect_exit(KVM_EXIT_IO, first_processor());
	check(is_in_handler(), "it is at 0x%llx", registers_of(vcpu).rip);
}

/* KVM sets a bit of it before the guest runs and, as the guest leaves it, clears it afterwards. */
static void pv_eoi(void)
{
	expect_equal(1, set_msr(vcpu, MSR_KVM_PV_EOI_EN, PLACE | KVM_MSR_ENABLED));
	interrupt_guest();
}

TEST("G6 PV EOI", .seconds = 90)
{
	need_feature(KVM_FEATURE_PV_EOI);
	expect_kept_from(WITH_IRQCHIP, pv_eoi);
}

static void virtual_apic_page(void)
{
	struct kvm_vapic_addr page = { .vapic_addr = PLACE };

	expect_ok(ioctl(vcpu, KVM_SET_VAPIC_ADDR, &page));
	interrupt_guest();
}

TEST("G6 the virtual APIC page", .seconds = 90)
{
	expect_kept_from(WITH_IRQCHIP, virtual_apic_page);
}

/* ---- asynchronous page faults ---- */

/* Ordinary memory that the guest has, too. */
#define SLOW_AT 0x8000000

static int watch_faults(void *memory, size_t size)
{
	struct uffdio_register range = {
		.range = { (uintptr_t)memory, size }, .mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	struct uffdio_api api = { .api = UFFD_API };
	int fd = expect_ok(syscall(SYS_userfaultfd, O_CLOEXEC));

	expect_ok(ioctl(fd, UFFDIO_API, &api));
	expect_ok(ioctl(fd, UFFDIO_REGISTER, &range));
	return fd;
}

/* A while after somebody wanted it. */
static void *bring_page(void *fd)
{
	struct uffd_msg message;

	while (read((intptr_t)fd, &message, sizeof(message)) == sizeof(message)) {
		struct uffdio_zeropage zero = {
			.range = { message.arg.pagefault.address & ~(PAGE - 1), PAGE },
		};

		sleep_ms(200);
		/* More than one may have asked for it. */
		if (ioctl((intptr_t)fd, UFFDIO_ZEROPAGE, &zero))
			expect_equal(EEXIST, errno);
	}
	return NULL;
}

/* di: the address of the page */
GUEST_CODE(load_slow_page, 64, TAKE_INTERRUPTS "mov (%rdi), %rbx\n" DONE);

static void fault_asynchronously(void)
{
	pthread_t thread;
	char *slow;
	int faults;

	make_descriptors();
	enable_apic();
	expect_equal(1, set_msr(vcpu, MSR_KVM_ASYNC_PF_INT, VECTOR));
	expect_equal(1, set_msr(vcpu, MSR_KVM_ASYNC_PF_EN, PLACE | KVM_ASYNC_PF_DELIVERY_AS_INT |
				KVM_ASYNC_PF_SEND_ALWAYS | KVM_ASYNC_PF_ENABLED));

	slow = plain_memory(PAGE);
	faults = watch_faults(slow, PAGE);
	expect_equal(0, pthread_create(&thread, NULL, bring_page, (void *)(intptr_t)faults));
	expect_ok(set_slot(1, SLOW_AT, slow, PAGE));
	call_guest(load_slow_page, .rdi = SLOW_AT, .rax = DESCRIPTORS_AT, .rsp = STACK_AT);
	diag("the guest %s", is_in_handler() ? "was told that the page is not there" : "found the page");
}

TEST("G6 asynchronous page faults", .seconds = 90)
{
	need_feature(KVM_FEATURE_ASYNC_PF_INT);
	expect_kept_from(WITH_IRQCHIP, fault_asynchronously);
	check(!is_in_handler(), "the guest was told of a fault, but not which");
}

/* ---- enlightenments of other hypervisors ---- */

static void set_up_hyperv(void)
{
	enum { OS_ID = 0x40000000, HYPERCALL, REFERENCE_TIME = 0x40000021, ASSIST = 0x40000073,
	       CONTROL = 0x40000080, EVENTS = 0x40000082, MESSAGES = 0x40000083 };
	static const uint32_t pages[] = { HYPERCALL, REFERENCE_TIME, ASSIST, EVENTS, MESSAGES };
	struct kvm_enable_cap messages = { .cap = KVM_CAP_HYPERV_SYNIC2 };

	expect_ok(ioctl(vcpu, KVM_ENABLE_CAP, &messages));
	expect_equal(1, set_msr(vcpu, OS_ID, 1));
	expect_equal(1, set_msr(vcpu, CONTROL, KVM_MSR_ENABLED));
	/* KVM says no to those that it writes at once, and cannot. */
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
		set_msr(vcpu, pages[i], (TARGET_PAGE + i * PAGE) | KVM_MSR_ENABLED);
	enter_secret_guest(3);
}

TEST("G6 what Hyper-V's guests are offered: hypercall page, reference time, assist page, messages", .seconds = 90)
{
	expect_kept_from(WITH_IRQCHIP, set_up_hyperv);
}

static int set_xen_vcpu(uint16_t type, uint64_t address)
{
	struct kvm_xen_vcpu_attr attribute = { .type = type, .u.gpa = address };

	return errno_of(ioctl(vcpu, KVM_XEN_VCPU_SET_ATTR, &attribute));
}

static void set_up_xen(void)
{
	struct kvm_xen_hvm_attr long_mode = { .type = KVM_XEN_ATTR_TYPE_LONG_MODE, .u.long_mode = 1 };
	struct kvm_xen_hvm_attr shared = {
		.type = KVM_XEN_ATTR_TYPE_SHARED_INFO, .u.shared_info.gfn = TARGET_PAGE / PAGE,
	};
	struct kvm_xen_hvm_config config = { .msr = 0x40000200 };
	int answers[4];

	expect_ok(ioctl(vm, KVM_XEN_HVM_CONFIG, &config));
	expect_ok(ioctl(vm, KVM_XEN_HVM_SET_ATTR, &long_mode));
	answers[0] = errno_of(ioctl(vm, KVM_XEN_HVM_SET_ATTR, &shared));
	answers[1] = set_xen_vcpu(KVM_XEN_VCPU_ATTR_TYPE_VCPU_INFO, PLACE);
	answers[2] = set_xen_vcpu(KVM_XEN_VCPU_ATTR_TYPE_VCPU_TIME_INFO, PLACE + 64);
	answers[3] = set_xen_vcpu(KVM_XEN_VCPU_ATTR_TYPE_RUNSTATE_ADDR, PLACE + 128);
	diag("shared information %d, processor %d, time %d, run state %d", answers[0], answers[1], answers[2],
	     answers[3]);
	enter_secret_guest(3);
}

TEST("G6 what Xen's guests are offered: shared information, time, run state", .seconds = 90)
{
	int kvm = open_kvm();

	if (ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_XEN_HVM) <= 0)
		skip("this kernel's KVM has nothing of Xen's");
	expect_kept_from(WITH_IRQCHIP, set_up_xen);
}
