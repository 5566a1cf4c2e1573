// SPDX-License-Identifier: GPL-2.0
#include <linux/fs.h>
#include <linux/kvm_host.h>
#include <linux/module.h>

#include "kvm.h"

/**
 * exmem_kvm_is_vm_of() - is a file a VM of KVM
 * @file: any file
 * @mm: the address space that the VM's memory slots have to be in
 */
bool exmem_kvm_is_vm_of(struct file *file, struct mm_struct *mm)
{
	bool (*is_kvm)(struct file *file) = symbol_get(file_is_kvm);
	bool is_vm;

	/* Without KVM there is no VM either. */
	if (!is_kvm)
		return false;
	is_vm = is_kvm(file) && ((struct kvm *)file->private_data)->mm == mm;
	symbol_put(file_is_kvm);
	return is_vm;
}
