// SPDX-License-Identifier: GPL-2.0
/*
 * What a monitor asks of a guest object: EXMEM_POPULATE, EXMEM_SEAL,
 * EXMEM_SET_SHARED and EXMEM_BIND_VM.
 */
#include <linux/file.h>
#include <linux/pagemap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "exmem.h"
#include "compat/kvm.h"

#define SEALS	(EXMEM_STATE_CONTENT_SEALED | EXMEM_STATE_LAYOUT_SEALED)

/* Nothing is copied if not all of it can be. */
static int check_source(const char __user *src, u64 len)
{
	u64 done, chunk;

	for (done = 0; done < len; done += chunk) {
		chunk = min_t(u64, len - done, PMD_SIZE);
		if (fault_in_readable(src + done, chunk))
			return -EFAULT;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return 0;
}

static int may_fill(struct exmem_object *obj, u64 offset, u64 len)
{
	if (obj->destroyed)
		return -ENXIO;
	if (!len || offset > obj->size || len > obj->size - offset)
		return -EINVAL;
	if (obj->guest->sealed & EXMEM_STATE_CONTENT_SEALED)
		return -EPERM;
	return exmem_object_populate(obj);
}

static int prepare_to_fill(struct exmem_object *obj, u64 offset, u64 len)
{
	int err;

	if (mutex_lock_killable(&obj->lock))
		return -EINTR;
	err = may_fill(obj, offset, len);
	mutex_unlock(&obj->lock);
	return err;
}

/* Bytes within one page. */
static int fill(struct exmem_object *obj, u64 offset, const void *from,
		unsigned int len)
{
	struct page *page;
	int err;

	mutex_lock(&obj->lock);
	err = may_fill(obj, offset, len);
	if (!err) {
		page = obj->pages[offset >> PAGE_SHIFT];
		if (PageHWPoison(page))
			err = -EHWPOISON;
		else
			exmem_window_write(page, offset_in_page(offset), from, len);
	}
	mutex_unlock(&obj->lock);
	return err;
}

static long populate(struct exmem_object *obj, unsigned int cmd,
		     const void __user *arg)
{
	struct exmem_populate populate;
	const char __user *src;
	unsigned int chunk;
	u64 done = 0;
	char *buffer;
	int err;

	err = exmem_copy_argument(&populate, sizeof(populate), cmd, arg);
	if (err)
		return err;
	if (populate.flags || populate.reserved)
		return -EINVAL;
	src = u64_to_user_ptr(populate.src);

	err = prepare_to_fill(obj, populate.offset, populate.len) ?:
	      check_source(src, populate.len);
	if (err)
		return err;

	/* No page fault under the object's lock, nor in a window. */
	buffer = (char *)__get_free_page(GFP_KERNEL_ACCOUNT);
	if (!buffer)
		return -ENOMEM;
	while (done < populate.len && !err) {
		chunk = min_t(u64, populate.len - done,
			      PAGE_SIZE - offset_in_page(populate.offset + done));
		if (copy_from_user(buffer, src + done, chunk))
			err = -EFAULT;
		else if (fatal_signal_pending(current))
			err = -EINTR;
		else
			err = fill(obj, populate.offset + done, buffer, chunk);
		done += chunk;
		cond_resched();
	}
	memzero_explicit(buffer, PAGE_SIZE);
	free_page((unsigned long)buffer);
	return err;
}

static long seal(struct exmem_object *obj, const void __user *arg)
{
	int err = 0;
	u32 seals;

	if (copy_from_user(&seals, arg, sizeof(seals)))
		return -EFAULT;
	if (seals & ~SEALS)
		return -EINVAL;

	/* A conversion that is under way comes first. */
	if (mutex_lock_killable(&obj->notifier_lock))
		return -EINTR;
	mutex_lock(&obj->lock);
	if (obj->destroyed)
		err = -ENXIO;
	else
		obj->guest->sealed |= seals;
	mutex_unlock(&obj->lock);
	mutex_unlock(&obj->notifier_lock);
	return err;
}

static long set_shared(struct exmem_object *obj, unsigned int cmd,
		       const void __user *arg)
{
	struct exmem_share share;
	int err;

	err = exmem_copy_argument(&share, sizeof(share), cmd, arg);
	return err ?: exmem_guest_set_shared(obj, &share);
}

/* May the caller's address space be the only one? With the object's lock held. */
static int may_bind(struct exmem_object *obj, struct file *vm)
{
	if (obj->destroyed)
		return -ENXIO;
	if (obj->guest->vm)
		return obj->guest->vm->private_data == vm->private_data ? 0 : -EBUSY;
	/* Without an area it is being mapped, who knows by whom. */
	if (obj->mapped && (!obj->vma || obj->vma->vm_mm != current->mm))
		return -EBUSY;
	return 0;
}

/* Does anybody else have pages, now that nobody can get any? */
static int check_bound(struct exmem_object *obj)
{
	return exmem_object_bind_guest(obj, current->mm) ?:
	       (obj->pages ? exmem_guest_wait_unpinned(obj, 0, obj->nr_pages) : 0);
}

/* With the notifier lock held: no mapping begins meanwhile. */
static int bind_locked(struct exmem_object *obj, struct file *vm)
{
	struct exmem_guest *guest = obj->guest;
	int err;

	mutex_lock(&obj->lock);
	err = may_bind(obj, vm);
	if (err || guest->vm) {
		mutex_unlock(&obj->lock);
		return err;
	}
	guest->binding = true;
	mutex_unlock(&obj->lock);

	err = check_bound(obj);

	mutex_lock(&obj->lock);
	guest->binding = false;
	if (!err) {
		guest->vm = get_file(vm);
		mmgrab(current->mm);
		WRITE_ONCE(guest->mm, current->mm);
	}
	mutex_unlock(&obj->lock);
	return err;
}

static int bind(struct exmem_object *obj, struct file *vm)
{
	int err;

	if (!exmem_kvm_is_vm_of(vm, current->mm))
		return -EINVAL;
	if (mutex_lock_killable(&obj->notifier_lock))
		return -EINTR;
	err = bind_locked(obj, vm);
	mutex_unlock(&obj->notifier_lock);
	return err;
}

static long bind_vm(struct exmem_object *obj, const void __user *arg)
{
	struct file *vm;
	int err;
	s32 fd;

	if (copy_from_user(&fd, arg, sizeof(fd)))
		return -EFAULT;
	vm = fget(fd);
	if (!vm)
		return -EBADF;
	err = bind(obj, vm);
	fput(vm);
	return err;
}

/**
 * exmem_guest_ioctl() - the ioctls of guest objects
 * @obj: any object
 * @mode: of its file
 * @cmd: command
 * @arg: its argument
 *
 * Return: as semantics G2 to G4 say; -EOPNOTSUPP if @obj is no guest object,
 * -EACCES if the file is not open for writing, -ENOTTY if @cmd is another command.
 */
long exmem_guest_ioctl(struct exmem_object *obj, fmode_t mode, unsigned int cmd,
		       const void __user *arg)
{
	bool grows = EXMEM_IOC_BARE(cmd) == EXMEM_IOC_BARE(EXMEM_POPULATE) ||
		     EXMEM_IOC_BARE(cmd) == EXMEM_IOC_BARE(EXMEM_SET_SHARED);

	if (!grows && cmd != EXMEM_SEAL && cmd != EXMEM_BIND_VM)
		return -ENOTTY;
	if (!obj->guest)
		return -EOPNOTSUPP;
	if (!(mode & FMODE_WRITE))
		return -EACCES;

	switch (EXMEM_IOC_BARE(cmd)) {
	case EXMEM_IOC_BARE(EXMEM_POPULATE):
		return populate(obj, cmd, arg);
	case EXMEM_IOC_BARE(EXMEM_SET_SHARED):
		return set_shared(obj, cmd, arg);
	}
	return cmd == EXMEM_SEAL ? seal(obj, arg) : bind_vm(obj, arg);
}
