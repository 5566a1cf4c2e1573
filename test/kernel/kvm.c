// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kvm.h"
#include "memory.h"
#include "system.h"

int vm, vcpu;
struct kvm_run *run_state;

int open_kvm(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (kvm < 0)
		skip("no /dev/kvm: %s", errno_name(errno));
	return kvm;
}

void rewind_code(void)
{
	struct kvm_regs regs = { .rflags = 2 };

	expect_ok(ioctl(vcpu, KVM_SET_REGS, &regs));
}

struct processor first_processor(void)
{
	return (struct processor){ vcpu, run_state };
}

static size_t run_state_size(void)
{
	int kvm = open_kvm();
	size_t size = expect_ok(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0));

	close(kvm);
	return size;
}

struct processor add_processor(int id)
{
	struct processor processor;

	processor.fd = expect_ok(ioctl(vm, KVM_CREATE_VCPU, id));
	processor.run = expect_ok(mmap(NULL, run_state_size(), PROT_READ | PROT_WRITE, MAP_SHARED,
				       processor.fd, 0));
	return processor;
}

void end_processor(struct processor processor)
{
	expect_ok(munmap(processor.run, run_state_size()));
	close(processor.fd);
}

static void make_empty_machine(void)
{
	int kvm = open_kvm();

	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0)
		skip("KVM makes no machine: %s", errno_name(errno));
	close(kvm);
	expect_ok(ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000));
}

static void make_first_processor(void)
{
	struct processor processor = add_processor(0);

	vcpu = processor.fd;
	run_state = processor.run;
	start_in_real_mode(vcpu, 0);
}

void make_machine(void)
{
	make_empty_machine();
	make_first_processor();
}

void make_machine_with_irqchip(void)
{
	make_empty_machine();
	expect_ok(ioctl(vm, KVM_CREATE_IRQCHIP, 0));
	make_first_processor();
}

static bool processor_tells(const char *feature)
{
	static char info[65536];
	FILE *file = fopen("/proc/cpuinfo", "re");
	char *flags;

	check(file, "/proc/cpuinfo: %s", errno_name(errno));
	info[fread(info, 1, sizeof(info) - 1, file)] = '\0';
	fclose(file);
	/* Intel's always do. */
	if (strstr(info, "GenuineIntel"))
		return true;
	flags = strstr(info, "\nflags");
	check(flags, "/proc/cpuinfo has no flags");
	*strchrnul(flags + 1, '\n') = '\0';
	return strstr(flags, feature);
}

void need_instruction_fetches(void)
{
	char path[PATH_MAX];

	if (processor_tells(" nrip_save") && processor_tells(" decodeassists"))
		return;
	if (!access("/sys/module/exclusive_memory_fetch_test", F_OK))
		return;
	snprintf(path, sizeof(path), "%s/exclusive_memory_fetch_test.ko", getenv("EXMEM_MODULES") ?: "");
	if (access(path, F_OK))
		skip("the processor tells KVM too little, and there is no exclusive_memory_fetch_test.ko");
	expect_equal(0, run_program("insmod", path));
}

int set_slot(int slot, uint64_t guest_address, void *memory, size_t size)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot, .guest_phys_addr = guest_address,
		.memory_size = size, .userspace_addr = (uintptr_t)memory,
	};

	return ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region);
}

char *load_code(const unsigned char *code, size_t size)
{
	char *plain = expect_ok(mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));

	memcpy(plain, code, size);
	expect_ok(set_slot(0, 0, plain, 2 * PAGE));
	return plain;
}

uint8_t register_al(void)
{
	struct kvm_regs regs;

	expect_ok(ioctl(vcpu, KVM_GET_REGS, &regs));
	return regs.rax & 0xff;
}

static struct kvm_cpuid2 *features(void)
{
	enum { ENTRIES = 256 };
	int kvm = open_kvm();
	struct kvm_cpuid2 *list = calloc(1, sizeof(*list) + ENTRIES * sizeof(list->entries[0]));

	check(list, "no memory");
	list->nent = ENTRIES;
	expect_ok(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, list));
	close(kvm);
	return list;
}

void offer_all_features(int processor)
{
	struct kvm_cpuid2 *list = features();

	expect_ok(ioctl(processor, KVM_SET_CPUID2, list));
	free(list);
}

bool offers(uint32_t leaf, char result, int bit)
{
	struct kvm_cpuid2 *list = features();
	bool found = false;

	for (uint32_t i = 0; i < list->nent; i++) {
		struct kvm_cpuid_entry2 *entry = &list->entries[i];
		uint32_t results[] = { entry->eax, entry->ebx, entry->ecx, entry->edx };

		if (entry->function == leaf && entry->index == 0)
			found = results[result - 'a'] >> bit & 1;
	}
	free(list);
	return found;
}

void make_tables(void *tables, uint64_t guest_address)
{
	enum { PRESENT_WRITABLE = 3, LARGE = 0x80 };
	uint64_t (*table)[512] = tables;

	memset(tables, 0, TABLES_SIZE);
	table[0][0] = (guest_address + PAGE) | PRESENT_WRITABLE;
	table[1][0] = (guest_address + 2 * PAGE) | PRESENT_WRITABLE;
	for (int i = 0; i < 512; i++)
		table[2][i] = i * BLOCK | LARGE | PRESENT_WRITABLE;
}

void start_in_long_mode(int processor, uint64_t tables, uint64_t instruction)
{
	struct kvm_segment code = {
		.limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1,
	};
	struct kvm_segment data = {
		.limit = 0xffffffff, .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1,
	};
	struct kvm_regs regs = { .rip = instruction, .rflags = 2 };
	struct kvm_sregs sregs;

	expect_ok(ioctl(processor, KVM_GET_SREGS, &sregs));
	sregs.cs = code;
	sregs.ds = data;
	sregs.es = data;
	sregs.fs = data;
	sregs.gs = data;
	sregs.ss = data;
	sregs.cr3 = tables;
	sregs.cr4 = 1 << 5;			/* PAE */
	sregs.cr0 = 1U << 31 | 1 << 5 | 1 << 4 | 1;	/* PG, NE, ET, PE */
	sregs.efer = 1 << 10 | 1 << 8;		/* LMA, LME */
	expect_ok(ioctl(processor, KVM_SET_SREGS, &sregs));
	expect_ok(ioctl(processor, KVM_SET_REGS, &regs));
}

void start_in_real_mode(int processor, uint16_t instruction)
{
	struct kvm_regs regs = { .rip = instruction, .rflags = 2 };
	struct kvm_sregs sregs;

	expect_ok(ioctl(processor, KVM_GET_SREGS, &sregs));
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	expect_ok(ioctl(processor, KVM_SET_SREGS, &sregs));
	expect_ok(ioctl(processor, KVM_SET_REGS, &regs));
}

int set_msr(int processor, uint32_t msr, uint64_t value)
{
	struct {
		struct kvm_msrs list;
		struct kvm_msr_entry entry;
	} msrs = { .list.nmsrs = 1, .entry = { .index = msr, .data = value } };

	return expect_ok(ioctl(processor, KVM_SET_MSRS, &msrs));
}

uint64_t get_msr(int processor, uint32_t msr)
{
	struct {
		struct kvm_msrs list;
		struct kvm_msr_entry entry;
	} msrs = { .list.nmsrs = 1, .entry = { .index = msr } };

	expect_equal(1, expect_ok(ioctl(processor, KVM_GET_MSRS, &msrs)));
	return msrs.entry.data;
}

struct kvm_regs registers_of(int processor)
{
	struct kvm_regs regs;

	expect_ok(ioctl(processor, KVM_GET_REGS, &regs));
	return regs;
}

int run_processor(struct processor processor)
{
	int answer;

	/* A processor that waits to be started says EAGAIN, and is asked again. */
	do
		answer = errno_of(ioctl(processor.fd, KVM_RUN, 0));
	while (answer == EINTR || answer == EAGAIN);
	return answer;
}

void check_exit(const char *file, int line, struct processor processor, uint32_t reason)
{
	struct kvm_run *run = processor.run;

	if (run->exit_reason == reason)
		return;
	fail_at(file, line, "expected exit %u, got %u (suberror %u) at 0x%llx", reason, run->exit_reason,
		run->exit_reason == KVM_EXIT_INTERNAL_ERROR ? run->internal.suberror : 0,
		registers_of(processor.fd).rip);
}
