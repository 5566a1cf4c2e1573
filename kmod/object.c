// SPDX-License-Identifier: GPL-2.0
/*
 * The life of an exclusive memory object: size, pages, references, notifiers,
 * destruction.
 *
 *	unmapped --mapping_start--> mapped --mapping_gone--> unmapped
 *	   |                                     |
 *	   |  page references only here          | with references left
 *	   v                                     v
 *	destroyed <------------------------------+
 *
 * The pages come with the first mapping or the first reference. They go when
 * the object is destroyed and nobody can reach them any more, or with the file.
 */
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/export.h>
#include <linux/slab.h>

#include "exmem.h"
#include "compat/compat.h"
#define CREATE_TRACE_POINTS
#include "trace.h"

static DEFINE_MUTEX(exmem_objects_lock);
static LIST_HEAD(exmem_objects);

/**
 * exmem_object_create() - a new object, without a size
 * @inode: lives as long as the object
 * @flags: EXMEM_CREATE_*
 *
 * Return: the object, or ERR_PTR(-ENOMEM).
 */
struct exmem_object *exmem_object_create(struct inode *inode, u32 flags)
{
	struct exmem_object *obj;

	obj = kzalloc(sizeof(*obj), GFP_KERNEL_ACCOUNT);
	if (!obj)
		return ERR_PTR(-ENOMEM);
	if (flags & EXMEM_CREATE_GUEST) {
		obj->guest = exmem_guest_create();
		if (!obj->guest) {
			kfree(obj);
			return ERR_PTR(-ENOMEM);
		}
	}
	obj->inode = inode;
	obj->flags = flags;
	mutex_init(&obj->notifier_lock);
	INIT_LIST_HEAD(&obj->notifiers);
	mutex_init(&obj->lock);
	init_waitqueue_head(&obj->idle);

	mutex_lock(&exmem_objects_lock);
	list_add_tail(&obj->list, &exmem_objects);
	mutex_unlock(&exmem_objects_lock);
	exmem_count(EXMEM_OBJECTS, 1);
	trace_exmem_create(obj);
	return obj;
}

/* The object is destroyed, with its lock held, or its last file is gone. */
static void free_pages_of(struct exmem_object *obj)
{
	if (!obj->pages)
		return;
	exmem_mapping_revoke(obj);
	if (obj->guest) {
		exmem_guest_free_pages(obj);
	} else {
		exmem_pool_free(obj->pages, obj->nr_pages);
		kvfree(obj->pages);
	}
	obj->pages = NULL;
}

/*
 * With the object's lock held. A destroyed object may lose its last reference
 * while destroy_locked() is still taking its pages from others. Afterwards a
 * mapping that is left has no page.
 */
static void free_if_unused(struct exmem_object *obj)
{
	if (obj->revoked && !obj->references)
		free_pages_of(obj);
}

/**
 * exmem_object_free() - the last file of an object is gone
 * @obj: the object; there is no mapping, no notifier and no reference, since
 *	each of them holds the file
 */
void exmem_object_free(struct exmem_object *obj)
{
	mutex_lock(&exmem_objects_lock);
	list_del(&obj->list);
	mutex_unlock(&exmem_objects_lock);

	WARN_ON(obj->mapped || obj->references || !list_empty(&obj->notifiers));
	free_pages_of(obj);
	exmem_count(EXMEM_OBJECTS, -1);
	mutex_destroy(&obj->lock);
	mutex_destroy(&obj->notifier_lock);
	exmem_guest_free(obj->guest);
	kfree(obj);
}

static int size_to_pages(u64 size, unsigned long *nr_pages)
{
	if (!size)
		return -EINVAL;
	if (DIV_ROUND_UP_ULL(size, PAGE_SIZE) > exmem_pool_limit_pages() ||
	    size > MAX_LFS_FILESIZE)
		return -ENOMEM;
	*nr_pages = DIV_ROUND_UP_ULL(size, PAGE_SIZE);
	return 0;
}

static int set_size(struct exmem_object *obj, u64 size)
{
	int err;

	if (obj->destroyed)
		return -ENXIO;
	if (obj->size || obj->mapped)
		return -EINVAL;
	err = size_to_pages(size, &obj->nr_pages);
	if (err)
		return err;
	obj->size = size;
	i_size_write(obj->inode, size);
	return 0;
}

/**
 * exmem_object_set_size() - set the size, once
 * @obj: the object
 * @size: bytes
 *
 * Return: 0, -EINVAL if @size is 0 or the size was set, -ENOMEM if @size is
 * over the limits, -ENXIO if the object is destroyed.
 */
int exmem_object_set_size(struct exmem_object *obj, u64 size)
{
	int err;

	if (mutex_lock_killable(&obj->lock))
		return -EINTR;
	err = set_size(obj, size);
	mutex_unlock(&obj->lock);
	return err;
}

/**
 * exmem_object_populate() - let an object have its pages
 * @obj: an object with a size, locked
 *
 * Return: 0, -ENOMEM, or -EINTR if the caller is being killed.
 */
int exmem_object_populate(struct exmem_object *obj)
{
	struct page **pages;
	int err;

	lockdep_assert_held(&obj->lock);
	if (obj->pages)
		return 0;
	pages = kvmalloc_array(obj->nr_pages, sizeof(*pages),
			       GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!pages)
		return -ENOMEM;
	if (obj->guest)
		err = exmem_guest_alloc_pages(obj, pages);
	else
		err = exmem_pool_alloc(pages, obj->nr_pages,
				       obj->flags & EXMEM_CREATE_HUGE);
	if (err) {
		kvfree(pages);
		return err;
	}
	obj->pages = pages;
	return 0;
}

/**
 * exmem_object_idle() - is there neither a mapping nor a reference
 * @obj: the object
 */
bool exmem_object_idle(struct exmem_object *obj)
{
	return !READ_ONCE(obj->mapped) && !READ_ONCE(obj->references);
}

static void abort_notifiers(struct exmem_object *obj,
			    struct restrictedmem_notifier *failed)
{
	struct restrictedmem_notifier *n = failed;

	list_for_each_entry_continue_reverse(n, &obj->notifiers, list) {
		if (n->ops->mmap_abort)
			n->ops->mmap_abort(n);
	}
}

static int start_notifiers(struct exmem_object *obj)
{
	struct restrictedmem_notifier *n;
	int err;

	list_for_each_entry(n, &obj->notifiers, list) {
		err = n->ops->mmap_start ? n->ops->mmap_start(n) : 0;
		if (err) {
			abort_notifiers(obj, n);
			return err;
		}
	}
	return 0;
}

static void unmark_mapped(struct exmem_object *obj, bool adopted)
{
	mutex_lock(&obj->lock);
	WRITE_ONCE(obj->mapped, false);
	if (adopted) {
		obj->size = 0;
		i_size_write(obj->inode, 0);
	}
	mutex_unlock(&obj->lock);
	wake_up_all(&obj->idle);
}

/**
 * exmem_object_mapping_start() - a mapping is about to be made
 * @obj: the object
 * @len: bytes that are mapped
 * @adopted: set if @len became the size, for exmem_object_mapping_abort()
 *
 * On success notifier_lock is held, until exmem_object_mapping_end() or
 * exmem_object_mapping_abort().
 *
 * Return: 0, -ENXIO if the object is destroyed, -EACCES if it is bound to a VM of
 * another address space, -EBUSY if it is mapped, an error of exmem_object_set_size(), or what a notifier vetoed with.
 */
int exmem_object_mapping_start(struct exmem_object *obj, u64 len, bool *adopted)
{
	int err = 0;

	mutex_lock(&obj->notifier_lock);
	mutex_lock(&obj->lock);
	*adopted = exmem_object_adopts(obj);
	if (obj->destroyed)
		err = -ENXIO;
	else if (!exmem_guest_may_map(obj, current->mm))
		err = -EACCES;
	else if (obj->mapped)
		err = -EBUSY;
	else if (*adopted)
		err = set_size(obj, len);
	else if (len != PAGE_ALIGN(obj->size))
		err = -EINVAL;
	/* From here on references are refused. */
	if (!err)
		WRITE_ONCE(obj->mapped, true);
	mutex_unlock(&obj->lock);
	if (err)
		goto unlock;

	err = start_notifiers(obj);
	if (err)
		goto unmark;
	return 0;

unmark:
	unmark_mapped(obj, *adopted);
unlock:
	mutex_unlock(&obj->notifier_lock);
	return err;
}

/**
 * exmem_object_mapping_end() - the mapping exists
 * @obj: the object
 * @vma: its area
 */
void exmem_object_mapping_end(struct exmem_object *obj,
			      struct vm_area_struct *vma)
{
	struct restrictedmem_notifier *n;

	mutex_lock(&obj->lock);
	obj->vma = vma;
	mutex_unlock(&obj->lock);
	list_for_each_entry(n, &obj->notifiers, list) {
		n->mapped = true;
		if (n->ops->mmap_end)
			n->ops->mmap_end(n);
	}
	exmem_count(EXMEM_MAPPINGS, 1);
	trace_exmem_map(obj);
	mutex_unlock(&obj->notifier_lock);
}

/**
 * exmem_object_mapping_abort() - the mapping could not be made
 * @obj: the object
 * @adopted: the size was that of the mapping
 */
void exmem_object_mapping_abort(struct exmem_object *obj, bool adopted)
{
	abort_notifiers(obj, list_entry(&obj->notifiers,
					struct restrictedmem_notifier, list));
	unmark_mapped(obj, adopted);
	mutex_unlock(&obj->notifier_lock);
}

/**
 * exmem_object_invalidate_start() - references to pages shall be dropped
 * @obj: the object, whose notifier lock the caller holds
 * @start: first page
 * @end: one past the last
 */
void exmem_object_invalidate_start(struct exmem_object *obj, pgoff_t start,
				   pgoff_t end)
{
	struct restrictedmem_notifier *n;

	list_for_each_entry(n, &obj->notifiers, list) {
		if (n->ops->invalidate_start)
			n->ops->invalidate_start(n, start, end);
	}
}

/**
 * exmem_object_invalidate_end() - what they were dropped for is done
 * @obj: as for exmem_object_invalidate_start()
 * @start: as there
 * @end: as there
 */
void exmem_object_invalidate_end(struct exmem_object *obj, pgoff_t start,
				 pgoff_t end)
{
	struct restrictedmem_notifier *n;

	list_for_each_entry(n, &obj->notifiers, list) {
		if (n->ops->invalidate_end)
			n->ops->invalidate_end(n, start, end);
	}
}

/**
 * exmem_object_bind_guest() - has only one address space pages of a guest object
 * @obj: the object, whose notifier lock the caller holds, and which is bound
 * @mm: the address space
 *
 * Return: 0, or -EBUSY if an in-kernel user shows pages in another one.
 */
int exmem_object_bind_guest(struct exmem_object *obj, struct mm_struct *mm)
{
	struct restrictedmem_notifier *n;
	int err = 0;

	list_for_each_entry(n, &obj->notifiers, list) {
		if (n->ops->bind_guest)
			err = n->ops->bind_guest(n, mm) ?: err;
	}
	return err;
}

/**
 * exmem_object_revoke_guest() - no in-kernel user shows pages to KVM any more
 * @obj: the object, whose notifier lock the caller holds
 */
void exmem_object_revoke_guest(struct exmem_object *obj)
{
	struct restrictedmem_notifier *n;

	list_for_each_entry(n, &obj->notifiers, list) {
		if (n->ops->revoke_guest)
			n->ops->revoke_guest(n);
	}
}

static void notify_destroyed(struct exmem_object *obj)
{
	exmem_object_invalidate_start(obj, 0, obj->nr_pages);
	if (obj->guest)
		exmem_object_revoke_guest(obj);
}

/**
 * exmem_object_mapping_gone() - the mapping does not exist any more
 * @obj: the object
 *
 * References that were taken before the mapping, and outlive it, may not find
 * out what it left there: the object is destroyed. To pages that a guest shares
 * there may be references at any time.
 */
void exmem_object_mapping_gone(struct exmem_object *obj)
{
	struct restrictedmem_notifier *n;
	bool destroy;

	mutex_lock(&obj->notifier_lock);
	mutex_lock(&obj->lock);
	destroy = obj->references && !obj->destroyed && !obj->guest;
	if (destroy)
		WRITE_ONCE(obj->destroyed, true);
	WRITE_ONCE(obj->mapped, false);
	obj->vma = NULL;
	/* Nobody but those who have references can reach the pages now. */
	if (destroy)
		WRITE_ONCE(obj->revoked, true);
	free_if_unused(obj);
	mutex_unlock(&obj->lock);
	exmem_count(EXMEM_MAPPINGS, -1);
	trace_exmem_unmap(obj);

	list_for_each_entry(n, &obj->notifiers, list) {
		if (n->mapped && n->ops->munmap)
			n->ops->munmap(n);
		n->mapped = false;
	}
	if (destroy) {
		trace_exmem_destroy(obj);
		notify_destroyed(obj);
		exmem_object_invalidate_end(obj, 0, obj->nr_pages);
	}
	mutex_unlock(&obj->notifier_lock);
	wake_up_all(&obj->idle);
}

/*
 * mmap(2) makes the area known, through which we find and revoke the mapping,
 * only some time after our part of it.
 */
static bool revocable(struct exmem_object *obj)
{
	bool revocable;

	mutex_lock(&obj->lock);
	revocable = !obj->mapped || (obj->vma && exmem_vma_linked(obj->vma));
	mutex_unlock(&obj->lock);
	return revocable;
}

/* Somebody else destroys it: with notifier_lock held, which is dropped to wait. */
static void wait_destroyed(struct exmem_object *obj)
{
	while (!READ_ONCE(obj->revoked)) {
		mutex_unlock(&obj->notifier_lock);
		usleep_range(50, 200);
		mutex_lock(&obj->notifier_lock);
	}
}

/* With notifier_lock held, which is dropped to wait for mmap(2) or munmap(2). */
static void destroy_locked(struct exmem_object *obj)
{
	if (obj->destroyed) {
		wait_destroyed(obj);
		return;
	}
	mutex_lock(&obj->lock);
	WRITE_ONCE(obj->destroyed, true);
	mutex_unlock(&obj->lock);
	trace_exmem_destroy(obj);

	notify_destroyed(obj);
	while (!revocable(obj)) {
		mutex_unlock(&obj->notifier_lock);
		usleep_range(50, 200);
		mutex_lock(&obj->notifier_lock);
	}
	/* No fault puts a page back now. */
	exmem_mapping_revoke(obj);

	mutex_lock(&obj->lock);
	WRITE_ONCE(obj->revoked, true);
	if (obj->references && obj->pages)
		exmem_pool_wipe(obj->pages, obj->nr_pages);
	free_if_unused(obj);
	mutex_unlock(&obj->lock);

	exmem_object_invalidate_end(obj, 0, obj->nr_pages);
	wake_up_all(&obj->idle);
}

/**
 * exmem_object_destroy() - take the memory from everybody, wipe it, free it
 * @obj: the object; nothing happens if it is destroyed already
 *
 * The bytes are gone when this returns. The pages are free then too, unless
 * in-kernel users keep references: then they follow those.
 *
 * Return: 0, or -EINTR if the caller is being killed.
 */
int exmem_object_destroy(struct exmem_object *obj)
{
	if (mutex_lock_killable(&obj->notifier_lock))
		return -EINTR;
	destroy_locked(obj);
	mutex_unlock(&obj->notifier_lock);
	return 0;
}

/**
 * exmem_object_destroy_all() - destroy every object on the machine
 *
 * For reboot and kexec, after which somebody else reads the memory.
 */
void exmem_object_destroy_all(void)
{
	struct exmem_object *obj;

	mutex_lock(&exmem_objects_lock);
	list_for_each_entry(obj, &exmem_objects, list) {
		mutex_lock(&obj->notifier_lock);
		destroy_locked(obj);
		/* One that had references when it was unmapped has its bytes. */
		mutex_lock(&obj->lock);
		if (obj->pages)
			exmem_pool_wipe(obj->pages, obj->nr_pages);
		mutex_unlock(&obj->lock);
		mutex_unlock(&obj->notifier_lock);
	}
	mutex_unlock(&exmem_objects_lock);
}

/**
 * restrictedmem_bind() - be told of the mappings of an object
 * @file: a restricted memfd or an open /dev/exclusive_memory; the caller keeps
 *	it open until restrictedmem_unbind()
 * @n: the notifier, with @n->ops set
 *
 * Return: 0, -EINVAL if @file is something else, -ENXIO if the object is
 * destroyed.
 */
int restrictedmem_bind(struct file *file, struct restrictedmem_notifier *n)
{
	struct exmem_object *obj = exmem_file_object(file);
	int err = 0;

	if (!obj)
		return -EINVAL;

	mutex_lock(&obj->notifier_lock);
	if (READ_ONCE(obj->destroyed)) {
		err = -ENXIO;
	} else {
		n->mapped = false;
		list_add_tail(&n->list, &obj->notifiers);
		obj->nr_notifiers++;
	}
	mutex_unlock(&obj->notifier_lock);
	return err;
}
EXPORT_SYMBOL_GPL(restrictedmem_bind);

/**
 * restrictedmem_unbind() - be told no more
 * @file: as for restrictedmem_bind()
 * @n: a bound notifier; no callback of it runs when this returns
 */
void restrictedmem_unbind(struct file *file, struct restrictedmem_notifier *n)
{
	struct exmem_object *obj = exmem_file_object(file);

	mutex_lock(&obj->notifier_lock);
	list_del(&n->list);
	obj->nr_notifiers--;
	mutex_unlock(&obj->notifier_lock);
}
EXPORT_SYMBOL_GPL(restrictedmem_unbind);

/**
 * restrictedmem_get_page() - take a reference to a page of an object
 * @file: a restricted memfd or an open /dev/exclusive_memory; the caller keeps
 *	it open until restrictedmem_put_page()
 * @index: which page
 * @page: the page; it is not in the direct map, unless a guest object shares it
 *
 * Return: 0, -EINVAL if @file is something else or there is no such page,
 * -EBUSY while the object is mapped by user space, -EPERM if a guest object does
 * not share it (then, a mapping does not matter), -ENXIO if it is destroyed,
 * -ENOMEM, -EINTR.
 */
int restrictedmem_get_page(struct file *file, pgoff_t index, struct page **page)
{
	struct exmem_object *obj = exmem_file_object(file);
	int err;

	if (!obj)
		return -EINVAL;

	mutex_lock(&obj->lock);
	if (obj->destroyed)
		err = -ENXIO;
	else if (obj->mapped && !obj->guest)
		err = -EBUSY;
	else if (!obj->size || index >= obj->nr_pages)
		err = -EINVAL;
	else
		err = exmem_object_populate(obj);
	if (!err && obj->guest)
		err = exmem_guest_get_shared(obj, index);
	if (!err) {
		*page = obj->pages[index];
		WRITE_ONCE(obj->references, obj->references + 1);
		trace_exmem_get(obj, page_to_pfn(*page));
	}
	mutex_unlock(&obj->lock);
	return err;
}
EXPORT_SYMBOL_GPL(restrictedmem_get_page);

/**
 * restrictedmem_put_page() - give a reference back
 * @file: as for restrictedmem_get_page()
 * @page: a page that it returned, which nothing refers to any more
 */
void restrictedmem_put_page(struct file *file, struct page *page)
{
	struct exmem_object *obj = exmem_file_object(file);

	mutex_lock(&obj->lock);
	WRITE_ONCE(obj->references, obj->references - 1);
	if (obj->guest)
		exmem_guest_put_shared(obj, page);
	trace_exmem_put(obj, page_to_pfn(page));
	free_if_unused(obj);
	mutex_unlock(&obj->lock);
	wake_up_all(&obj->idle);
}
EXPORT_SYMBOL_GPL(restrictedmem_put_page);

/**
 * restrictedmem_is_guest() - do pages of a guest object come and go by sharing
 * @file: any file
 *
 * Its mappings do not matter to in-kernel users then, and need no veto.
 */
bool restrictedmem_is_guest(struct file *file)
{
	struct exmem_object *obj = exmem_file_object(file);

	return obj && obj->guest;
}
EXPORT_SYMBOL_GPL(restrictedmem_is_guest);

/**
 * restrictedmem_guest_pfn() - a page, private or shared, for KVM alone
 * @file: a guest object to which the caller has bound a notifier
 * @index: which page
 * @mm: the address space in which an entry that the processor takes for absent
 *	will hold it
 * @trusted: @mm may have private pages of an object that is not bound to a VM
 * @pfn: its frame, without a reference, until the notifier's revoke_guest
 *
 * Return: 0, -EINVAL if @file is something else or there is no such page, -EACCES
 * if @mm may not have it, or the object is bound to another one, -EAGAIN while it
 * is being bound, -ENXIO if it is destroyed, -EHWPOISON, -ENOMEM, -EINTR.
 */
int restrictedmem_guest_pfn(struct file *file, pgoff_t index, struct mm_struct *mm,
			    bool trusted, unsigned long *pfn)
{
	struct exmem_object *obj = exmem_file_object(file);
	int err;

	if (!obj || !obj->guest)
		return -EINVAL;

	mutex_lock(&obj->lock);
	if (obj->destroyed)
		err = -ENXIO;
	else if (obj->guest->binding)
		err = -EAGAIN;
	else if (obj->guest->mm ? obj->guest->mm != mm : !trusted)
		err = -EACCES;
	else if (!obj->size || index >= obj->nr_pages)
		err = -EINVAL;
	else
		err = exmem_object_populate(obj);
	if (!err && PageHWPoison(obj->pages[index]))
		err = -EHWPOISON;
	if (!err)
		*pfn = page_to_pfn(obj->pages[index]);
	mutex_unlock(&obj->lock);
	return err;
}
EXPORT_SYMBOL_GPL(restrictedmem_guest_pfn);

/**
 * restrictedmem_guest_is_bound() - is a guest object bound to a VM of this one
 * @file: a guest object
 * @mm: an address space
 */
bool restrictedmem_guest_is_bound(struct file *file, struct mm_struct *mm)
{
	struct exmem_object *obj = exmem_file_object(file);

	return obj && obj->guest && READ_ONCE(obj->guest->mm) == mm;
}
EXPORT_SYMBOL_GPL(restrictedmem_guest_is_bound);
