// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>
#include <string.h>

#include "kvm.h"
#include "memory.h"

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

void make_machine(void)
{
	struct kvm_sregs sregs;
	int kvm = open_kvm();
	size_t size;

	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0)
		skip("KVM makes no machine: %s", errno_name(errno));
	expect_ok(ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000));
	vcpu = expect_ok(ioctl(vm, KVM_CREATE_VCPU, 0));
	size = expect_ok(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
	run_state = expect_ok(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0));
	expect_ok(ioctl(vcpu, KVM_GET_SREGS, &sregs));
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	expect_ok(ioctl(vcpu, KVM_SET_SREGS, &sregs));
	rewind_code();
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
