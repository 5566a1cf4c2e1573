// SPDX-License-Identifier: GPL-2.0
/*
 * Views mapped PROT_NONE: memory slots of KVM, for the guest objects that the
 * view shows.
 *
 * No fault ever comes for such a mapping: what a range shows is put in when the
 * range is, or when the mapping is made. The entries are those of a guest
 * object's own mapping, and hold private pages as well as shared ones. They are
 * found through an inode of their own, since a conversion takes pages from the
 * other mappings of the view and not from these.
 *
 * mmap(2) makes an area known, through which its entries can be found, only some
 * time after our part of it: whoever takes entries out waits for that. While a
 * new area is being filled, which may take long, it begins again instead.
 *
 * Private pages are for the owner of the view, who has the guest object too, and
 * for the VM that it is bound to. Whoever else got a view fd would otherwise run
 * a guest of his own that reads them.
 */
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "view.h"
#include "compat/compat.h"

/*
 * What is done, at most, before others get a chance to take something out: pages,
 * of which a range counts as some, as its object may have to get its own first.
 */
#define CHUNK		512
#define RANGE_COST	32

/**
 * struct view_slot - a mapping that is PROT_NONE
 * @list: in exmem_view.slots; protected by @view->spin
 * @ref: held by the area, and by whoever fills it
 * @view: the view; the area's file holds it
 * @mm: address space
 * @vma: the area, NULL once it is gone; protected by @view->spin
 * @start: its first address, by which it is found again
 * @first: its first page of the view
 * @end: one past the last
 * @writable: the view fd allows it
 * @filled: our part of mmap(2) is done
 */
struct view_slot {
	struct list_head list;
	struct kref ref;
	struct exmem_view *view;
	struct mm_struct *mm;
	struct vm_area_struct *vma;
	unsigned long start;
	pgoff_t first;
	pgoff_t end;
	bool writable;
	bool filled;
};

static void free_slot(struct kref *ref)
{
	struct view_slot *slot = container_of(ref, struct view_slot, ref);

	mmdrop(slot->mm);
	kfree(slot);
}

static void put_slot(struct view_slot *slot)
{
	kref_put(&slot->ref, free_slot);
}

static bool shows_guest(struct exmem_view_range *range)
{
	return range->flags & MEMVIEW_MAP_READ && range->source->file &&
	       restrictedmem_is_guest(range->source->file);
}

/*
 * Pages of a range up to @end, from *@page on, which goes on. With the view
 * locked and the mmap lock held.
 */
static int fill_range(struct view_slot *slot, struct vm_area_struct *vma,
		      struct exmem_view_range *range, pgoff_t *page, pgoff_t end)
{
	bool writable = slot->writable && range->flags & MEMVIEW_MAP_WRITE;
	bool trusted = slot->mm == slot->view->owner;
	unsigned long addr, pfn;
	int err;

	for (; *page < end; (*page)++) {
		err = restrictedmem_guest_pfn(range->source->file,
					      range->offset + (*page - range->start),
					      slot->mm, trusted, &pfn);
		if (err == -EHWPOISON)
			continue;
		if (err == -ENOMEM || err == -EINTR || err == -EAGAIN)
			return err;
		if (err)
			break;
		addr = vma->vm_start + ((*page - slot->first) << PAGE_SHIFT);
		if (exmem_insert_hidden_pfn(vma, addr, pfn, writable) & VM_FAULT_OOM)
			return -ENOMEM;
	}
	*page = end;
	return 0;
}

/* The first chunk of what is shown from *@page on, which goes on; as above. */
static int fill_chunk(struct view_slot *slot, struct vm_area_struct *vma,
		      pgoff_t *page, pgoff_t end)
{
	struct exmem_view_range *range;
	long left = CHUNK;
	pgoff_t from;
	int err;

	for (range = exmem_view_range_after(slot->view, *page);
	     range && range->start < end; range = exmem_view_range_next(range)) {
		if (left <= 0)
			return 0;
		from = *page = max(*page, range->start);
		if (shows_guest(range)) {
			err = fill_range(slot, vma, range, page,
					 min3(end, range->end, from + left));
			if (err || *page < min(end, range->end))
				return err;
		}
		left -= *page - from + RANGE_COST;
		*page = min(end, range->end);
	}
	*page = end;
	return 0;
}

/* After a chunk: is there more to do? */
static int after_chunk(int err)
{
	if (fatal_signal_pending(current))
		return -EINTR;
	/* An object is being bound: soon it is clear to whom. */
	if (err == -EAGAIN) {
		usleep_range(50, 200);
		return 0;
	}
	cond_resched();
	return err;
}

static void unlist(struct view_slot *slot)
{
	spin_lock(&slot->view->spin);
	list_del_init(&slot->list);
	slot->vma = NULL;
	spin_unlock(&slot->view->spin);
}

static void slot_close(struct vm_area_struct *vma)
{
	struct view_slot *slot = vma->vm_private_data;

	if (!slot)
		return;
	unlist(slot);
	put_slot(slot);
}

/* A copy that fork(2) or a refused mremap(2) made. It has no entry. */
static void slot_open(struct vm_area_struct *vma)
{
	vma->vm_private_data = NULL;
	exmem_vm_flags_set(vma, VM_WIPEONFORK);
	exmem_zap_vma(vma);
}

static int slot_may_split(struct vm_area_struct *vma, unsigned long addr)
{
	return -EINVAL;
}

static int slot_mremap(struct vm_area_struct *vma)
{
	return -EINVAL;
}

/* A protection key alone would already take the entries' write bit. */
static int slot_mprotect(struct vm_area_struct *vma, unsigned long start,
			 unsigned long end, unsigned long flags)
{
	return flags == vma->vm_flags ? 0 : -EACCES;
}

static const struct vm_operations_struct slot_vm_ops = {
	.open = slot_open,
	.close = slot_close,
	.may_split = slot_may_split,
	.mremap = slot_mremap,
	.mprotect = slot_mprotect,
};

/*
 * Fill a new area. Until it is known to the kernel, what is taken out of the
 * view is taken out of it by beginning again.
 */
static int fill_new(struct view_slot *slot, struct vm_area_struct *vma)
{
	struct exmem_view *view = slot->view;
	unsigned long zaps = 0;
	bool begun = false;
	pgoff_t page;
	int err = 0;

	while (!err && !slot->filled) {
		down_read(&view->lock);
		if (!begun || zaps != view->slot_zaps) {
			if (begun)
				exmem_zap_vma(vma);
			begun = true;
			zaps = view->slot_zaps;
			page = slot->first;
		}
		err = fill_chunk(slot, vma, &page, slot->end);
		if (!err && page == slot->end)
			slot->filled = true;
		up_read(&view->lock);
		if (!slot->filled)
			err = after_chunk(err);
	}
	return err;
}

/**
 * exmem_view_slot_mmap() - map a view PROT_NONE
 * @view: the view
 * @file: for the area, of the view's slot_inode; of which this keeps a reference
 * @writable: guests may write where a range says so
 * @vma: the new area
 *
 * Return: 0, -ENOMEM or -EINTR.
 */
int exmem_view_slot_mmap(struct exmem_view *view, struct file *file, bool writable,
			 struct vm_area_struct *vma)
{
	struct view_slot *slot;
	int err;

	slot = kzalloc(sizeof(*slot), GFP_KERNEL_ACCOUNT);
	if (!slot)
		return -ENOMEM;
	kref_init(&slot->ref);
	mmgrab(vma->vm_mm);
	slot->view = view;
	slot->mm = vma->vm_mm;
	slot->vma = vma;
	slot->start = vma->vm_start;
	slot->first = vma->vm_pgoff;
	slot->end = vma->vm_pgoff + vma_pages(vma);
	slot->writable = writable;

	vma_set_file(vma, file);
	exmem_vm_flags_clear(vma, VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC);
	exmem_vm_flags_set(vma, VM_PFNMAP | VM_DONTCOPY | VM_DONTDUMP |
				VM_DONTEXPAND);

	spin_lock(&view->spin);
	list_add(&slot->list, &view->slots);
	spin_unlock(&view->spin);
	err = fill_new(slot, vma);
	if (err) {
		exmem_zap_vma(vma);
		unlist(slot);
		put_slot(slot);
		return err;
	}
	vma->vm_ops = &slot_vm_ops;
	vma->vm_private_data = slot;
	return 0;
}

/* The next slot after one that the caller has, whose reference this takes over. */
static struct view_slot *next_slot(struct exmem_view *view, struct view_slot *slot)
{
	struct view_slot *next = NULL;

	spin_lock(&view->spin);
	/* One that is gone meanwhile leads nowhere: begin again. */
	if (!slot || list_empty(&slot->list))
		next = list_first_entry_or_null(&view->slots, struct view_slot, list);
	else if (!list_is_last(&slot->list, &view->slots))
		next = list_next_entry(slot, list);
	if (next)
		kref_get(&next->ref);
	spin_unlock(&view->spin);
	if (slot)
		put_slot(slot);
	return next;
}

/* With the mmap lock held. An area that is being unmapped is not found any more. */
static int fill_area(struct view_slot *slot, pgoff_t start, pgoff_t end)
{
	struct vm_area_struct *vma = vma_lookup(slot->mm, slot->start);
	pgoff_t page = max(start, slot->first);
	int err = 0;

	if (!vma || vma != READ_ONCE(slot->vma))
		return 0;
	end = min(end, slot->end);
	while (!err && page < end) {
		down_read(&slot->view->lock);
		err = fill_chunk(slot, vma, &page, end);
		up_read(&slot->view->lock);
		err = after_chunk(err);
	}
	return err;
}

/* Others' mmap locks are not waited for in vain. */
static bool may_have_pages(struct view_slot *slot, pgoff_t start, pgoff_t end)
{
	struct exmem_view *view = slot->view;
	struct exmem_view_range *range;
	bool may = false;

	down_read(&view->lock);
	for (range = exmem_view_range_after(view, start);
	     range && range->start < end && !may; range = exmem_view_range_next(range))
		may = shows_guest(range) &&
		      (slot->mm == view->owner ||
		       restrictedmem_guest_is_bound(range->source->file, slot->mm));
	up_read(&view->lock);
	return may;
}

static int fill_slot(struct view_slot *slot, pgoff_t start, pgoff_t end)
{
	int err;

	if (fatal_signal_pending(current))
		return -EINTR;
	if (!may_have_pages(slot, max(start, slot->first), min(end, slot->end)) ||
	    !mmget_not_zero(slot->mm))
		return 0;
	err = mmap_read_lock_killable(slot->mm);
	if (!err) {
		err = fill_area(slot, start, end);
		mmap_read_unlock(slot->mm);
	}
	/* If it is the last one, its end is not the caller's business. */
	mmput_async(slot->mm);
	return err;
}

/**
 * exmem_view_fill_slots() - let slots have what ranges show since a moment ago
 * @view: the view, with none of its locks held
 * @start: first page
 * @end: one past the last
 *
 * Return: 0, -ENOMEM or -EINTR; then slots may have it in part.
 */
int exmem_view_fill_slots(struct exmem_view *view, pgoff_t start, pgoff_t end)
{
	struct view_slot *slot = NULL;
	int err = 0;

	while (!err && (slot = next_slot(view, slot)))
		err = fill_slot(slot, start, end);
	if (slot)
		put_slot(slot);
	return err;
}

static bool all_linked(struct exmem_view *view)
{
	struct view_slot *slot;
	bool linked = true;

	spin_lock(&view->spin);
	list_for_each_entry(slot, &view->slots, list)
		linked = linked && (!slot->filled || exmem_vma_linked(slot->vma));
	spin_unlock(&view->spin);
	return linked;
}

/**
 * exmem_view_zap_slots() - take pages out of slots, and so from guests
 * @view: the view, locked for writing
 * @start: first page
 * @nr: how many
 */
void exmem_view_zap_slots(struct exmem_view *view, pgoff_t start, pgoff_t nr)
{
	view->slot_zaps++;
	/* Nothing that is left to do for mmap(2) needs a lock of ours. */
	while (!all_linked(view))
		usleep_range(50, 200);
	unmap_mapping_pages(view->slot_inode->i_mapping, start, nr, true);
}

/**
 * exmem_view_has_slot() - may an address space have private pages in a slot
 * @view: the view, locked for writing
 * @start: first page
 * @end: one past the last
 * @except: not this one
 *
 * Of an object that was not bound, only the owner has any.
 */
bool exmem_view_has_slot(struct exmem_view *view, pgoff_t start, pgoff_t end,
			 struct mm_struct *except)
{
	struct view_slot *slot;
	bool has = false;

	if (view->owner == except)
		return false;
	spin_lock(&view->spin);
	list_for_each_entry(slot, &view->slots, list)
		has = has || (slot->mm == view->owner && slot->first < end &&
			      start < slot->end);
	spin_unlock(&view->spin);
	return has;
}
