// SPDX-License-Identifier: GPL-2.0
/*
 * Which pages of a guest object the host may see: none, until EXMEM_SET_SHARED
 * says otherwise.
 *
 * KVM's mapping is the same for private and for shared pages, so a conversion
 * does not disturb the guest. A shared page is in the direct map, and in-kernel
 * users may refer to it:
 *
 *	private --share--> SHARED --unshare--> CLOSING --no reference--> private
 */
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "exmem.h"

/*
 * Is there a reference to a page of [@first, @end)? Whoever holds the notifier
 * lock may look without the object's.
 */
static bool any_referenced(struct exmem_object *obj, pgoff_t first, pgoff_t end)
{
	pgoff_t i;

	for (i = first; i < end; i++) {
		if (READ_ONCE(obj->guest->shares[i]) &
		    ~(EXMEM_GUEST_SHARED | EXMEM_GUEST_CLOSING))
			return true;
	}
	return false;
}

static void wipe(struct exmem_object *obj, pgoff_t first, pgoff_t end)
{
	exmem_pool_wipe(obj->pages + first, end - first);
}

/*
 * Let the direct map lead to the pages in one state, or to the decoy. What has a
 * memory error nobody is to read.
 */
static int lead(struct exmem_object *obj, pgoff_t first, pgoff_t end, u32 state,
		bool to_page)
{
	struct page *decoy = exmem_guest_decoy(obj);
	struct exmem_flush flush = {};
	struct page *page;
	int err = 0;
	pgoff_t i;

	for (i = first; i < end; i++) {
		page = obj->pages[i];
		if (obj->guest->shares[i] != state)
			continue;
		if (!to_page)
			err = exmem_direct_map_decoy_page(page, decoy, &flush) ?: err;
		else if (!PageHWPoison(page))
			err = exmem_direct_map_show_page(page, &flush) ?: err;
		cond_resched();
	}
	exmem_direct_map_flush(&flush);
	return err;
}

/* With the object's lock held. */
static int share(struct exmem_object *obj, pgoff_t first, pgoff_t end, bool zero)
{
	u32 *shares = obj->guest->shares;
	pgoff_t i;
	int err;

	/* Not after they are shown: it is what must not be seen. */
	if (zero)
		wipe(obj, first, end);
	err = lead(obj, first, end, 0, true);
	if (err) {
		lead(obj, first, end, 0, false);
		return err;
	}
	for (i = first; i < end; i++) {
		if (!shares[i]) {
			shares[i] = EXMEM_GUEST_SHARED;
			obj->guest->nr_shared++;
		}
	}
	return 0;
}

/* From one state to another, which references may have. */
static void set_state(struct exmem_object *obj, pgoff_t first, pgoff_t end,
		      u32 from, u32 to)
{
	u32 *shares = obj->guest->shares;
	pgoff_t i;

	for (i = first; i < end; i++) {
		if (shares[i] & from)
			shares[i] = (shares[i] & ~from) | to;
	}
}

/* With the notifier lock held, and the object's, which is dropped meanwhile. */
static int unshare(struct exmem_object *obj, pgoff_t first, pgoff_t end, bool zero)
	__must_hold(&obj->lock)
{
	u32 *shares = obj->guest->shares;
	pgoff_t i;
	int err;

	set_state(obj, first, end, EXMEM_GUEST_SHARED, EXMEM_GUEST_CLOSING);
	mutex_unlock(&obj->lock);
	exmem_object_invalidate_start(obj, first, end);
	err = wait_event_killable(obj->idle, !any_referenced(obj, first, end)) ?:
	      exmem_guest_wait_unpinned(obj, first, end);
	mutex_lock(&obj->lock);

	if (!err) {
		err = lead(obj, first, end, EXMEM_GUEST_CLOSING, false);
		if (err)
			lead(obj, first, end, EXMEM_GUEST_CLOSING, true);
	}
	if (err) {
		set_state(obj, first, end, EXMEM_GUEST_CLOSING, EXMEM_GUEST_SHARED);
		return err == -ERESTARTSYS ? -EINTR : err;
	}
	for (i = first; i < end; i++) {
		if (shares[i])
			obj->guest->nr_shared--;
		shares[i] = 0;
	}
	if (zero)
		wipe(obj, first, end);
	return 0;
}

static int prepare(struct exmem_object *obj, const struct exmem_share *arg,
		   pgoff_t *first, pgoff_t *end)
{
	u64 size = PAGE_ALIGN(obj->size);
	int err;

	if (obj->destroyed)
		return -ENXIO;
	if (!PAGE_ALIGNED(arg->offset) || !PAGE_ALIGNED(arg->len) ||
	    !arg->len || arg->offset > size || arg->len > size - arg->offset)
		return -EINVAL;
	if (obj->guest->sealed & EXMEM_STATE_LAYOUT_SEALED)
		return -EPERM;
	err = exmem_object_populate(obj);
	if (err)
		return err;
	if (!obj->guest->shares)
		obj->guest->shares = kvcalloc(obj->nr_pages, sizeof(u32),
					      GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!obj->guest->shares)
		return -ENOMEM;
	*first = arg->offset >> PAGE_SHIFT;
	*end = *first + (arg->len >> PAGE_SHIFT);
	return 0;
}

/**
 * exmem_guest_set_shared() - EXMEM_SET_SHARED
 * @obj: a guest object
 * @arg: what the caller asks for
 *
 * Return: 0 or an error as semantics G3 names it; -EBUSY if a nested guest keeps
 * a page; -EINTR if the caller is being killed.
 */
int exmem_guest_set_shared(struct exmem_object *obj, const struct exmem_share *arg)
{
	bool zero = arg->flags & EXMEM_SHARE_WIPE;
	pgoff_t first = 0, end = 0;
	int err;

	if (arg->reserved ||
	    arg->flags & ~(EXMEM_SHARE_SHARED | EXMEM_SHARE_WIPE))
		return -EINVAL;

	if (mutex_lock_killable(&obj->notifier_lock))
		return -EINTR;
	mutex_lock(&obj->lock);
	err = prepare(obj, arg, &first, &end);
	if (!err && arg->flags & EXMEM_SHARE_SHARED)
		err = share(obj, first, end, zero);
	else if (!err)
		err = unshare(obj, first, end, zero);
	mutex_unlock(&obj->lock);
	if (!(arg->flags & EXMEM_SHARE_SHARED) && first < end)
		exmem_object_invalidate_end(obj, first, end);
	mutex_unlock(&obj->notifier_lock);
	return err;
}

/**
 * exmem_guest_get_shared() - note a reference of an in-kernel user
 * @obj: a guest object that has pages, locked
 * @index: which page
 *
 * Return: 0, or -EPERM if the page is private.
 */
int exmem_guest_get_shared(struct exmem_object *obj, pgoff_t index)
{
	u32 *shares = obj->guest->shares;

	if (!shares || !(shares[index] & EXMEM_GUEST_SHARED))
		return -EPERM;
	shares[index]++;
	return 0;
}

/**
 * exmem_guest_put_shared() - a reference is gone
 * @obj: the object, locked
 * @page: which page
 */
void exmem_guest_put_shared(struct exmem_object *obj, struct page *page)
{
	obj->guest->shares[page->index]--;
}
