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
	exmem_pool_free(obj->pages, obj->nr_pages);
	kvfree(obj->pages);
	obj->pages = NULL;
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
 * Return: 0, -ENXIO if the object is destroyed, -EBUSY if it is mapped, an
 * error of exmem_object_set_size(), or what a notifier vetoed with.
 */
int exmem_object_mapping_start(struct exmem_object *obj, u64 len, bool *adopted)
{
	int err = 0;

	mutex_lock(&obj->notifier_lock);
	mutex_lock(&obj->lock);
	*adopted = exmem_object_adopts(obj);
	if (obj->destroyed)
		err = -ENXIO;
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

static void notify_invalidate_start(struct exmem_object *obj)
{
	struct restrictedmem_notifier *n;

	list_for_each_entry(n, &obj->notifiers, list) {
		if (n->ops->invalidate_start)
			n->ops->invalidate_start(n, 0, obj->nr_pages);
	}
}

static void notify_invalidate_end(struct exmem_object *obj)
{
	struct restrictedmem_notifier *n;

	list_for_each_entry(n, &obj->notifiers, list) {
		if (n->ops->invalidate_end)
			n->ops->invalidate_end(n, 0, obj->nr_pages);
	}
}

/**
 * exmem_object_mapping_gone() - the mapping does not exist any more
 * @obj: the object
 *
 * References that were taken before the mapping, and outlive it, may not find
 * out what it left there: the object is destroyed.
 */
void exmem_object_mapping_gone(struct exmem_object *obj)
{
	struct restrictedmem_notifier *n;
	bool destroy;

	mutex_lock(&obj->notifier_lock);
	mutex_lock(&obj->lock);
	destroy = obj->references && !obj->destroyed;
	if (destroy)
		WRITE_ONCE(obj->destroyed, true);
	WRITE_ONCE(obj->mapped, false);
	obj->vma = NULL;
	if (obj->destroyed && !obj->references)
		free_pages_of(obj);
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
		notify_invalidate_start(obj);
		notify_invalidate_end(obj);
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

/* With notifier_lock held, which is dropped to wait for mmap(2) or munmap(2). */
static void destroy_locked(struct exmem_object *obj)
{
	if (obj->destroyed)
		return;
	mutex_lock(&obj->lock);
	WRITE_ONCE(obj->destroyed, true);
	mutex_unlock(&obj->lock);
	trace_exmem_destroy(obj);

	notify_invalidate_start(obj);
	while (!revocable(obj)) {
		mutex_unlock(&obj->notifier_lock);
		usleep_range(50, 200);
		mutex_lock(&obj->notifier_lock);
	}
	/* No fault puts a page back now. */
	exmem_mapping_revoke(obj);

	mutex_lock(&obj->lock);
	if (!obj->references)
		free_pages_of(obj);
	else if (obj->pages)
		exmem_pool_wipe(obj->pages, obj->nr_pages);
	mutex_unlock(&obj->lock);

	notify_invalidate_end(obj);
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
 * @page: the page; it is not in the direct map
 *
 * Return: 0, -EINVAL if @file is something else or there is no such page,
 * -EBUSY while the object is mapped by user space, -ENXIO if it is destroyed,
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
	else if (obj->mapped)
		err = -EBUSY;
	else if (!obj->size || index >= obj->nr_pages)
		err = -EINVAL;
	else
		err = exmem_object_populate(obj);
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
	trace_exmem_put(obj, page_to_pfn(page));
	if (obj->destroyed && !obj->references && !obj->mapped)
		free_pages_of(obj);
	mutex_unlock(&obj->lock);
	wake_up_all(&obj->idle);
}
EXPORT_SYMBOL_GPL(restrictedmem_put_page);
