// SPDX-License-Identifier: GPL-2.0
/*
 * The one mapping of an object: whole, shared, not split, not moved, not
 * inherited. That of a guest object without EXMEM_CREATE_HOST_ACCESS, and any
 * other that is made PROT_NONE of a guest object, is for KVM only.
 *
 * The entries are special, and the pages have no reference count, but for those
 * of a guest object: get_user_pages(), KVM, VFIO and hmm refuse the area.
 *
 * vm_private_data of the one live area is the object. An area that the kernel
 * copied from it (fork where MADV_DOFORK is allowed, a refused mremap) has NULL
 * there, and no page.
 */
#include <linux/capability.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/sched/signal.h>

#include "exmem.h"
#include "compat/compat.h"

/* As mlock(2): by address space, and CAP_IPC_LOCK is above the limit. */
static int account_locked(struct exmem_object *obj, struct mm_struct *mm)
{
	int err = __account_locked_vm(mm, obj->nr_pages, true, current,
				      capable(CAP_IPC_LOCK));

	return err ? -EAGAIN : 0;
}

/* The mmap lock may be held for reading only: then the spinlock is the rule. */
static void unaccount_locked(struct exmem_object *obj, struct mm_struct *mm)
{
	spin_lock(&mm->page_table_lock);
	mm->locked_vm -= obj->nr_pages;
	spin_unlock(&mm->page_table_lock);
}

static bool is_hidden(struct exmem_object *obj, struct vm_area_struct *vma)
{
	return obj->guest && !(vma->vm_flags & VM_ACCESS_FLAGS);
}

static vm_fault_t insert_page(struct exmem_object *obj,
			      struct vm_area_struct *vma, unsigned long index)
{
	unsigned long addr = vma->vm_start + index * PAGE_SIZE;
	struct page *page = obj->pages[index];

	if (PageHWPoison(page))
		return VM_FAULT_HWPOISON;
	if (is_hidden(obj, vma))
		return exmem_insert_hidden_pfn(vma, addr, page_to_pfn(page),
					       vma->vm_flags & VM_MAYWRITE);
	return exmem_insert_page(vma, addr, page);
}

/*
 * Pages are mapped when the mapping is made. A fault finds one that is not:
 * there was no memory for the page table then.
 */
static vm_fault_t exmem_vm_fault(struct vm_fault *vmf)
{
	struct exmem_object *obj = vmf->vma->vm_private_data;
	vm_fault_t ret = VM_FAULT_SIGBUS;

	if (!obj)
		return VM_FAULT_SIGBUS;
	mutex_lock(&obj->lock);
	if (!obj->destroyed && vmf->pgoff < obj->nr_pages)
		ret = insert_page(obj, vmf->vma, vmf->pgoff);
	mutex_unlock(&obj->lock);
	return ret;
}

/*
 * A copy of the area: it gets nothing. fork(2) calls this before it copies the
 * page table, which VM_WIPEONFORK in the copy prevents, or on some kernels
 * after.
 */
static void exmem_vm_open(struct vm_area_struct *vma)
{
	vma->vm_private_data = NULL;
	exmem_vm_flags_set(vma, VM_WIPEONFORK);
	exmem_zap_vma(vma);
}

static void exmem_vm_close(struct vm_area_struct *vma)
{
	struct exmem_object *obj = vma->vm_private_data;

	if (!obj)
		return;
	/*
	 * A kernel whose mmap(2) can still fail after our part of it (early
	 * ones of the 6.1 series) closes the area before it unmaps what we have
	 * put there.
	 */
	exmem_zap_vma(vma);
	unaccount_locked(obj, vma->vm_mm);
	exmem_object_mapping_gone(obj);
}

static int exmem_vm_may_split(struct vm_area_struct *vma, unsigned long addr)
{
	return -EINVAL;
}

/* get_unmapped_area() refuses first; this is for whoever does not ask it. */
static int exmem_vm_mremap(struct vm_area_struct *vma)
{
	return -EINVAL;
}

static const struct vm_operations_struct exmem_vm_ops = {
	.open = exmem_vm_open,
	.close = exmem_vm_close,
	.may_split = exmem_vm_may_split,
	.mremap = exmem_vm_mremap,
	.fault = exmem_vm_fault,
};

/* A protection key alone would already take the entries' write bit. */
static int exmem_guest_vm_mprotect(struct vm_area_struct *vma, unsigned long start,
				   unsigned long end, unsigned long flags)
{
	return flags == vma->vm_flags ? 0 : -EACCES;
}

static const struct vm_operations_struct exmem_guest_vm_ops = {
	.open = exmem_vm_open,
	.close = exmem_vm_close,
	.may_split = exmem_vm_may_split,
	.mremap = exmem_vm_mremap,
	.mprotect = exmem_guest_vm_mprotect,
};

/* What can be said of a mapping before it is made. */
static int check_mapping(struct exmem_object *obj, unsigned long len,
			 unsigned long pgoff, bool shared)
{
	u64 size = READ_ONCE(obj->size);

	if (READ_ONCE(obj->destroyed))
		return -ENXIO;
	if (!shared || pgoff)
		return -EINVAL;
	if (!exmem_object_adopts(obj) && len != PAGE_ALIGN(size))
		return -EINVAL;
	if (!exmem_guest_may_map(obj, current->mm))
		return -EACCES;
	return 0;
}

/**
 * exmem_get_unmapped_area() - where a mapping of an object may go
 * @obj: the object
 * @file: its file
 * @addr: where the caller wants it, or 0
 * @len: bytes
 * @pgoff: pages
 * @flags: MAP_*
 *
 * The only place from which mmap(2) with MAP_FIXED can be refused before it
 * unmaps what is there, and mremap(2) before it moves anything.
 */
unsigned long exmem_get_unmapped_area(struct exmem_object *obj, struct file *file,
				      unsigned long addr, unsigned long len,
				      unsigned long pgoff, unsigned long flags)
{
	int err = check_mapping(obj, len, pgoff, flags & MAP_SHARED);

	if (err)
		return err;
	if (READ_ONCE(obj->mapped))
		return -EBUSY;
	return exmem_default_unmapped_area(file, addr, len, pgoff, flags);
}

static int insert_pages(struct exmem_object *obj, struct vm_area_struct *vma)
{
	unsigned long i;
	int err = 0;

	mutex_lock(&obj->lock);
	for (i = 0; i < obj->nr_pages && !err; i++) {
		if (insert_page(obj, vma, i) & VM_FAULT_OOM)
			err = -ENOMEM;
		else if (fatal_signal_pending(current))
			err = -EINTR;
		cond_resched();
	}
	mutex_unlock(&obj->lock);
	return err;
}

/*
 * Put all pages in. Where there is no memory for a page table, a fault tries
 * again; but no fault ever comes for KVM's.
 */
static int fill_mapping(struct exmem_object *obj, struct vm_area_struct *vma)
{
	int err = insert_pages(obj, vma);

	if (!err || !is_hidden(obj, vma))
		return 0;
	exmem_zap_vma(vma);
	return err;
}

static bool may_access(struct exmem_object *obj, unsigned long vm_flags)
{
	if (vm_flags & VM_EXEC)
		return false;
	return !obj->guest || obj->flags & EXMEM_CREATE_HOST_ACCESS ||
	       !(vm_flags & VM_ACCESS_FLAGS);
}

/**
 * exmem_mmap() - map an object
 * @obj: the object
 * @vma: the new area
 *
 * Return: 0 or an error as semantics R1 to R3, R11 and R13 name it.
 */
int exmem_mmap(struct exmem_object *obj, struct vm_area_struct *vma)
{
	unsigned long len = vma->vm_end - vma->vm_start;
	bool adopted;
	int err;

	/* A read-only file's shared mapping is not VM_SHARED. */
	err = check_mapping(obj, len, vma->vm_pgoff, vma->vm_flags & VM_MAYSHARE);
	if (err)
		return err;
	if (!may_access(obj, vma->vm_flags))
		return -EACCES;

	err = exmem_object_mapping_start(obj, len, &adopted);
	if (err)
		return err;

	err = account_locked(obj, vma->vm_mm);
	if (err)
		goto abort_mapping;

	mutex_lock(&obj->lock);
	err = exmem_object_populate(obj);
	mutex_unlock(&obj->lock);
	if (err)
		goto unaccount;

	exmem_vm_flags_clear(vma, VM_MAYEXEC);
	exmem_vm_flags_set(vma, (obj->guest ? VM_PFNMAP : EXMEM_VM_UNPINNABLE) |
				VM_DONTCOPY | VM_DONTDUMP | VM_DONTEXPAND);
	err = fill_mapping(obj, vma);
	if (err)
		goto unaccount;

	/* Nothing can fail from here on. */
	vma->vm_ops = &exmem_vm_ops;
	if (obj->guest && !(obj->flags & EXMEM_CREATE_HOST_ACCESS)) {
		exmem_vm_flags_clear(vma, VM_MAYREAD | VM_MAYWRITE);
		vma->vm_ops = &exmem_guest_vm_ops;
	}
	vma->vm_private_data = obj;
	exmem_object_mapping_end(obj, vma);
	return 0;

unaccount:
	unaccount_locked(obj, vma->vm_mm);
abort_mapping:
	exmem_object_mapping_abort(obj, adopted);
	return err;
}

/**
 * exmem_mapping_revoke() - take the pages out of every page table
 * @obj: an object whose faults get nothing any more
 */
void exmem_mapping_revoke(struct exmem_object *obj)
{
	unmap_mapping_range(obj->inode->i_mapping, 0, 0, 1);
}
