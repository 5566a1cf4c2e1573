/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What this module knows of KVM, which may not be loaded.
 */
#ifndef _EXMEM_COMPAT_KVM_H
#define _EXMEM_COMPAT_KVM_H

#include <linux/types.h>

struct file;
struct mm_struct;

bool exmem_kvm_is_vm_of(struct file *file, struct mm_struct *mm);

#endif /* _EXMEM_COMPAT_KVM_H */
