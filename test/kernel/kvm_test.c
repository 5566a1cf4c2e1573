// SPDX-License-Identifier: GPL-2.0
/* R10: a virtual machine does not reach it through an ordinary mapping. */
#include <linux/kvm.h>
#include <string.h>

#include "memory.h"
#include "system.h"

#define SIZE (8 * PAGE)
#define RW (PROT_READ | PROT_WRITE)

static int vm, vcpu;
static struct kvm_run *run_state;

static void make_machine(void)
{
	struct kvm_sregs sregs;
	struct kvm_regs regs = { .rflags = 2 };
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	size_t size;

	if (kvm < 0)
		skip("no /dev/kvm: %s", errno_name(errno));
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0)
		skip("KVM makes no machine: %s", errno_name(errno));
	expect_ok(ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000));
	vcpu = expect_ok(ioctl(vm, KVM_CREATE_VCPU, 0));
	size = expect_ok(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
	run_state = expect_ok(mmap(NULL, size, RW, MAP_SHARED, vcpu, 0));
	expect_ok(ioctl(vcpu, KVM_GET_SREGS, &sregs));
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	expect_ok(ioctl(vcpu, KVM_SET_SREGS, &sregs));
	expect_ok(ioctl(vcpu, KVM_SET_REGS, &regs));
}

static int set_slot(int slot, uint64_t guest_address, void *memory, size_t size)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot, .guest_phys_addr = guest_address,
		.memory_size = size, .userspace_addr = (uintptr_t)memory,
	};

	return ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region);
}

/* mov al, [0x2000]; hlt */
static const unsigned char load_2000[] = { 0xa0, 0x00, 0x20, 0xf4 };
/* mov [0x2000], al; hlt */
static const unsigned char store_2000[] = { 0xa2, 0x00, 0x20, 0xf4 };

/* Code in ordinary memory at 0, whatever is under test at 0x2000. */
static void load_code(const unsigned char *code, size_t size)
{
	char *plain = expect_ok(mmap(NULL, 2 * PAGE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0));

	memcpy(plain, code, size);
	expect_ok(set_slot(0, 0, plain, 2 * PAGE));
}

TEST("R10 the control: a guest reads ordinary memory")
{
	char *plain = expect_ok(mmap(NULL, SIZE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	struct kvm_regs regs;

	make_machine();
	load_code(load_2000, sizeof(load_2000));
	plain[0] = 0x5a;
	expect_ok(set_slot(1, 0x2000, plain, SIZE));
	expect_ok(ioctl(vcpu, KVM_RUN, 0));
	expect_equal(KVM_EXIT_HLT, run_state->exit_reason);
	expect_ok(ioctl(vcpu, KVM_GET_REGS, &regs));
	expect_equal(0x5a, regs.rax & 0xff);
}

static void expect_no_guest_access(const unsigned char *code, size_t size)
{
	int fd = make_memfd(SIZE);
	char *p = map(fd, SIZE);
	int answer;

	fill(p, SIZE, 1);
	make_machine();
	load_code(code, size);
	answer = errno_of(set_slot(1, 0x2000, p, SIZE));
	if (answer) {
		expect_equal(EINVAL, answer);
		return;
	}
	expect_errno(EFAULT, ioctl(vcpu, KVM_RUN, 0));
	expect_filled(p, SIZE, 1);
}

TEST("R10 a guest's load from it makes KVM_RUN fail with EFAULT")
{
	expect_no_guest_access(load_2000, sizeof(load_2000));
}

TEST("R10 a guest's store to it makes KVM_RUN fail with EFAULT")
{
	expect_no_guest_access(store_2000, sizeof(store_2000));
}

TEST("R10 a guest whose code is in it makes KVM_RUN fail with EFAULT")
{
	int fd = make_memfd(SIZE);
	char *p = map(fd, SIZE);

	memset(p, 0xf4, SIZE);
	make_machine();
	expect_ok(set_slot(0, 0, p, SIZE));
	expect_errno(EFAULT, ioctl(vcpu, KVM_RUN, 0));
}

TEST("R10 a guest that outlives the mapping finds nothing in its place")
{
	int fd = make_memfd(SIZE);
	char *p = map(fd, SIZE);

	fill(p, SIZE, 1);
	make_machine();
	load_code(load_2000, sizeof(load_2000));
	expect_ok(set_slot(1, 0x2000, p, SIZE));
	expect_errno(EFAULT, ioctl(vcpu, KVM_RUN, 0));
	unmap(p, SIZE);
	expect_errno(EFAULT, ioctl(vcpu, KVM_RUN, 0));
	expect_filled(map(fd, SIZE), SIZE, 1);
}
