// SPDX-License-Identifier: GPL-2.0
/*
 * View fds: what the owner of a view gives to others. They can be mapped,
 * passed on and closed.
 */
#include <linux/err.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/slab.h>

#include "view.h"
#include "compat/compat.h"

/**
 * struct view_file - what a view fd is
 * @view: of which this holds a reference
 * @cap: MEMVIEW_MAP_READ, WRITE and EXEC that it allows at most
 */
struct view_file {
	struct exmem_view *view;
	u32 cap;
};

/**
 * exmem_view_cap() - what a view fd allows at most
 * @file: a view fd
 */
u32 exmem_view_cap(struct file *file)
{
	struct view_file *vf = file->private_data;

	return vf->cap;
}

static struct exmem_view *view_of(struct file *file)
{
	struct view_file *vf = file->private_data;

	return vf->view;
}

static int exmem_view_release(struct inode *inode, struct file *file)
{
	struct view_file *vf = file->private_data;

	exmem_view_put(vf->view);
	kfree(vf);
	return 0;
}

static int check_mapping(struct file *file, unsigned long len,
			 unsigned long pgoff, bool shared)
{
	u64 pages = i_size_read(file_inode(file)) >> PAGE_SHIFT;

	if (!shared || pgoff > pages || PAGE_ALIGN(len) >> PAGE_SHIFT > pages - pgoff)
		return -EINVAL;
	return 0;
}

/* Refuses before mmap(2) with MAP_FIXED unmaps what is there. */
static unsigned long exmem_view_unmapped_area(struct file *file,
					      unsigned long addr,
					      unsigned long len,
					      unsigned long pgoff,
					      unsigned long flags)
{
	int err = check_mapping(file, len, pgoff, flags & MAP_SHARED);

	if (err)
		return err;
	/* Pages of a view and of the address space shall fit as large ones. */
	return thp_get_unmapped_area(file, addr, len, pgoff, flags);
}

static struct file *file_new(struct exmem_view *view, struct inode *inode, u32 cap)
{
	struct view_file *vf;
	struct file *file;

	vf = kzalloc(sizeof(*vf), GFP_KERNEL_ACCOUNT);
	if (!vf)
		return ERR_PTR(-ENOMEM);
	file = exmem_file_new(inode, "memory-view", &exmem_view_fops);
	if (IS_ERR(file)) {
		kfree(vf);
		return file;
	}
	kref_get(&view->ref);
	vf->view = view;
	vf->cap = cap;
	file->private_data = vf;
	return file;
}

static int mmap_slot(struct file *file, struct vm_area_struct *vma)
{
	struct exmem_view *view = view_of(file);
	u32 cap = exmem_view_cap(file);
	struct file *slot_file;
	int err;

	slot_file = file_new(view, view->slot_inode, cap);
	if (IS_ERR(slot_file))
		return PTR_ERR(slot_file);
	err = exmem_view_slot_mmap(view, slot_file, cap & MEMVIEW_MAP_WRITE, vma);
	fput(slot_file);
	return err;
}

static int exmem_view_mmap(struct file *file, struct vm_area_struct *vma)
{
	unsigned long more = 0;
	int err;

	err = check_mapping(file, vma->vm_end - vma->vm_start, vma->vm_pgoff,
			    vma->vm_flags & VM_SHARED);
	if (err)
		return err;
	if (!(vma->vm_flags & VM_ACCESS_FLAGS))
		return mmap_slot(file, vma);

	/* mprotect(2) can only take away. */
	if (!(vma->vm_flags & VM_READ))
		more |= VM_MAYREAD;
	if (!(vma->vm_flags & VM_WRITE))
		more |= VM_MAYWRITE;
	if (!(vma->vm_flags & VM_EXEC))
		more |= VM_MAYEXEC;
	exmem_vm_flags_clear(vma, more);
	exmem_vm_flags_set(vma, VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_private_data = view_of(file);
	vma->vm_ops = &exmem_view_vm_ops;
	return 0;
}

static loff_t exmem_view_llseek(struct file *file, loff_t offset, int whence)
{
	return fixed_size_llseek(file, offset, whence,
				 i_size_read(file_inode(file)));
}

static void exmem_view_show_fdinfo(struct seq_file *m, struct file *file)
{
	seq_printf(m, "memview-size:\t%lld\nmemview-cap:\t0x%x\n",
		   i_size_read(file_inode(file)), exmem_view_cap(file));
}

const struct file_operations exmem_view_fops = {
	.owner = THIS_MODULE,
	.release = exmem_view_release,
	.llseek = exmem_view_llseek,
	.mmap = exmem_view_mmap,
	.get_unmapped_area = exmem_view_unmapped_area,
	.show_fdinfo = exmem_view_show_fdinfo,
};

/* The holder of a view fd changes nothing about the view. */
static int exmem_view_setattr(struct exmem_idmap *idmap, struct dentry *dentry,
			      struct iattr *attr)
{
	return attr->ia_valid & ATTR_SIZE ? -EINVAL : -EPERM;
}

const struct inode_operations exmem_view_iops = {
	.setattr = exmem_view_setattr,
};

/**
 * exmem_view_fd_new() - a new view fd
 * @view: the view
 * @cap: MEMVIEW_MAP_READ, WRITE and EXEC that it allows at most; 0 for all
 *
 * Return: the descriptor, -EINVAL, -ENOMEM or -EMFILE.
 */
int exmem_view_fd_new(struct exmem_view *view, unsigned long cap)
{
	struct file *file;
	int fd;

	if (cap != (u32)cap || !exmem_view_is_access(cap))
		return -EINVAL;
	/* Its holder would take it for the view's size. */
	if (!i_size_read(view->inode))
		return -EINVAL;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	file = file_new(view, view->inode, cap ?: EXMEM_VIEW_ACCESS);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		return PTR_ERR(file);
	}
	fd_install(fd, file);
	return fd;
}
