// SPDX-License-Identifier: GPL-2.0
#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "machines.h"

void keep_machines(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	for (int irqchip = 0; kvm >= 0 && irqchip < 2; irqchip++) {
		int machine = ioctl(kvm, KVM_CREATE_VM, 0);

		if (machine < 0 || (irqchip && ioctl(machine, KVM_CREATE_IRQCHIP, 0)))
			break;
		if (ioctl(machine, KVM_CREATE_VCPU, 0) < 0)
			break;
	}
	if (kvm >= 0)
		close(kvm);
}
