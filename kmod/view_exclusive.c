// SPDX-License-Identifier: GPL-2.0
/*
 * Exclusive memory as a source of a view: a user of restrictedmem.h.
 *
 * Pages are referenced while they may be in a page table. Before user space maps
 * the object, all references go, or the mapping is refused. Those of a guest
 * object may be mapped at the same time, but only what it shares; KVM has the
 * rest too, without references: see view_slot.c.
 */
#include <linux/file.h>
#include <linux/slab.h>

#include "view.h"

/**
 * struct exmem_view_exclusive - an object that is shown in a view
 * @source: the source; @source.pages has the pages that are referenced
 * @notifier: bound to the object
 */
struct exmem_view_exclusive {
	struct exmem_view_source source;
	struct restrictedmem_notifier notifier;
};

static struct exmem_view_exclusive *exclusive_of(struct exmem_view_source *source)
{
	return container_of(source, struct exmem_view_exclusive, source);
}

static struct exmem_view_source *source_of(struct restrictedmem_notifier *n)
{
	return &container_of(n, struct exmem_view_exclusive, notifier)->source;
}

/* Nobody has them in a page table. */
static void put_pages_of(struct exmem_view_source *source, pgoff_t first,
			 pgoff_t last, bool even_shown)
{
	unsigned long index = first;
	struct page *page;

	xa_for_each_range(&source->pages, index, page, first, last) {
		if (!even_shown && exmem_view_shows(source, index))
			continue;
		xa_erase(&source->pages, index);
		restrictedmem_put_page(source->file, page);
		cond_resched();
	}
}

static void give_up_pages(struct exmem_view_source *source, pgoff_t first,
			  pgoff_t last)
{
	exmem_view_zap_source(source, first, last);
	put_pages_of(source, first, last, true);
}

static int exclusive_mmap_start(struct restrictedmem_notifier *n)
{
	struct exmem_view_source *source = source_of(n);
	int err = 0;

	if (restrictedmem_is_guest(source->file))
		return 0;
	down_write(&source->view->lock);
	if (source->firm)
		err = -EBUSY;
	else
		give_up_pages(source, 0, ULONG_MAX);
	up_write(&source->view->lock);
	return err;
}

static void exclusive_invalidate_start(struct restrictedmem_notifier *n,
				       pgoff_t start, pgoff_t end)
{
	struct exmem_view_source *source = source_of(n);

	down_write(&source->view->lock);
	give_up_pages(source, start, end - 1);
	up_write(&source->view->lock);
}

static int exclusive_bind_guest(struct restrictedmem_notifier *n,
				struct mm_struct *mm)
{
	struct exmem_view_source *source = source_of(n);
	bool shown;

	down_write(&source->view->lock);
	shown = exmem_view_source_has_slot(source, mm);
	up_write(&source->view->lock);
	return shown ? -EBUSY : 0;
}

static void exclusive_revoke_guest(struct restrictedmem_notifier *n)
{
	struct exmem_view_source *source = source_of(n);

	down_write(&source->view->lock);
	exmem_view_zap_source_slots(source);
	up_write(&source->view->lock);
}

static const struct restrictedmem_notifier_ops exclusive_notifier_ops = {
	.mmap_start = exclusive_mmap_start,
	.invalidate_start = exclusive_invalidate_start,
	.bind_guest = exclusive_bind_guest,
	.revoke_guest = exclusive_revoke_guest,
};

static vm_fault_t fault_of(int err)
{
	switch (err) {
	case -ENOMEM:
		return VM_FAULT_OOM;
	case -EINTR:
		return VM_FAULT_NOPAGE;
	default:
		return VM_FAULT_SIGBUS;
	}
}

/* The page, referenced once, however many faults find it. */
static int find_page(struct exmem_view_source *source, pgoff_t index,
		     struct page **pagep)
{
	struct page *page, *old;
	int err;

	page = xa_load(&source->pages, index);
	if (!page) {
		err = restrictedmem_get_page(source->file, index, &page);
		if (err)
			return err;
		old = xa_cmpxchg(&source->pages, index, NULL, page,
				 GFP_KERNEL_ACCOUNT);
		if (old) {
			restrictedmem_put_page(source->file, page);
			if (xa_is_err(old))
				return xa_err(old);
			page = old;
		}
	}
	*pagep = page;
	return 0;
}

static vm_fault_t exclusive_find(struct exmem_view_source *source, pgoff_t first,
				 pgoff_t last, pgoff_t wanted, u32 access,
				 unsigned long *found)
{
	struct page *page;
	pgoff_t index;
	int err;

	for (index = first; index <= last; index++) {
		err = find_page(source, index, &page);
		if (err && index == wanted)
			return fault_of(err);
		if (err)
			continue;
		if (!PageHWPoison(page))
			found[index - first] =
				page_to_pfn(page) << EXMEM_FOUND_SHIFT |
				EXMEM_FOUND_PAGE | EXMEM_FOUND_WRITABLE;
		else if (index == wanted)
			return VM_FAULT_HWPOISON;
	}
	return 0;
}

static void exclusive_forget(struct exmem_view_source *source, pgoff_t first,
			     pgoff_t last)
{
	put_pages_of(source, first, last, false);
}

/* Only ranges use it, and who makes them: with the view's control held. */
static void exclusive_put(struct exmem_view_source *source)
{
	if (!atomic_dec_and_test(&source->users))
		return;
	restrictedmem_unbind(source->file, &exclusive_of(source)->notifier);
	hash_del(&source->by_file);
	fput(source->file);
	exmem_view_source_fini(source);
	kfree(exclusive_of(source));
}

static const struct exmem_view_source_ops exclusive_ops = {
	.find = exclusive_find,
	.forget = exclusive_forget,
	.put = exclusive_put,
};

static struct exmem_view_source *find_file(struct exmem_view *view,
					   struct file *file)
{
	struct exmem_view_source *source;

	hash_for_each_possible(view->exclusives, source, by_file, (unsigned long)file) {
		if (source->file == file)
			return source;
	}
	return NULL;
}

static struct exmem_view_source *bind(struct exmem_view *view, struct file *file)
{
	struct exmem_view_exclusive *exclusive;
	struct exmem_view_source *source;
	int err;

	exclusive = kzalloc(sizeof(*exclusive), GFP_KERNEL_ACCOUNT);
	if (!exclusive)
		return ERR_PTR(-ENOMEM);
	source = &exclusive->source;
	exmem_view_source_init(source, &exclusive_ops, view, MEMVIEW_KIND_EXCLUSIVE);
	/* Until exmem_view_exclusive_settle() no mapping comes in between. */
	source->firm = 1;
	source->file = get_file(file);
	exclusive->notifier.ops = &exclusive_notifier_ops;
	err = restrictedmem_bind(file, &exclusive->notifier);
	if (err) {
		fput(file);
		exmem_view_source_fini(source);
		kfree(exclusive);
		return ERR_PTR(err);
	}
	hash_add(view->exclusives, &source->by_file, (unsigned long)file);
	return source;
}

/**
 * exmem_view_exclusive() - exclusive memory as a source
 * @view: the view, whose control the caller holds
 * @file: any file
 * @yield: a range with MEMVIEW_MAP_YIELD is wanted
 *
 * On success, user space cannot map the object until
 * exmem_view_exclusive_settle(), after which it depends on the ranges.
 *
 * Return: the source, of which the caller is a user, -EINVAL if @file is
 * something else, -EBUSY if the object is mapped and not to @yield, -ENXIO if it
 * is destroyed, -ENOMEM, -EINTR.
 */
struct exmem_view_source *exmem_view_exclusive(struct exmem_view *view,
					       struct file *file, bool yield)
{
	struct exmem_view_source *source = find_file(view, file);
	struct page *page;
	int err;

	if (source) {
		down_write(&view->lock);
		source->firm++;
		up_write(&view->lock);
	} else {
		source = bind(view, file);
		if (IS_ERR(source))
			return source;
	}
	atomic_inc(&source->users);

	err = restrictedmem_get_page(file, 0, &page);
	if (!err)
		restrictedmem_put_page(file, page);
	/* An object without a size has no page yet, and a guest's may be private. */
	if (!err || err == -EINVAL || err == -EPERM || (err == -EBUSY && yield))
		return source;
	exmem_view_exclusive_settle(source);
	exmem_view_source_put(source);
	return ERR_PTR(err);
}

/**
 * exmem_view_exclusive_settle() - the ranges are in place, or will not be
 * @source: of exmem_view_exclusive()
 */
void exmem_view_exclusive_settle(struct exmem_view_source *source)
{
	down_write(&source->view->lock);
	source->firm--;
	up_write(&source->view->lock);
}
