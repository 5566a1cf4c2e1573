// SPDX-License-Identifier: GPL-2.0
/* R10: a virtual machine does not reach it through an ordinary mapping. */
#include <string.h>

#include "kvm.h"
#include "memory.h"
#include "system.h"

#define SIZE (8 * PAGE)
#define RW (PROT_READ | PROT_WRITE)

/* mov al, [0x2000]; hlt */
static const unsigned char load_2000[] = { 0xa0, 0x00, 0x20, 0xf4 };
/* mov [0x2000], al; hlt */
static const unsigned char store_2000[] = { 0xa2, 0x00, 0x20, 0xf4 };

TEST("R10 the control: a guest reads ordinary memory")
{
	char *plain = expect_ok(mmap(NULL, SIZE, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0));

	make_machine();
	load_code(load_2000, sizeof(load_2000));
	plain[0] = 0x5a;
	expect_ok(set_slot(1, 0x2000, plain, SIZE));
	expect_ok(ioctl(vcpu, KVM_RUN, 0));
	expect_equal(KVM_EXIT_HLT, run_state->exit_reason);
	expect_equal(0x5a, register_al());
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
