// SPDX-License-Identifier: GPL-2.0
/*
 * Mirrored pages are taken away: marked by whoever changes the source, and taken
 * out of page tables by a worker. view_mirror.h has the whole story.
 */
#include <linux/pagemap.h>
#include <linux/sched/mm.h>

#include "view_mirror.h"

/*
 * How long a change of a source may wait for the worker; and a file system that
 * is about to write a page back, lest it misses a store.
 */
#define ZAP_PATIENCE		msecs_to_jiffies(100)
#define WRITEBACK_PATIENCE	msecs_to_jiffies(1000)

/* Dead pages that the worker takes at a time, while faults have to wait. */
#define ZAP_BATCH	512

/* Is a request served? */
static bool is_zapped(struct exmem_view *view, unsigned long request)
{
	return (long)(READ_ONCE(view->zaps_done) - request) >= 0;
}

static unsigned long request_zap(struct exmem_mirror *mirror)
{
	struct exmem_view *view = mirror->source.view;
	unsigned long request;

	spin_lock(&view->spin);
	if (list_empty(&mirror->dead))
		list_add_tail(&mirror->dead, &view->dead);
	request = ++view->zaps_wanted;
	spin_unlock(&view->spin);
	queue_work(exmem_zap_wq, &view->zap);
	return request;
}

/* Mark what is live dead. Is there any, or any that has yet to be zapped? */
static bool mark_dead(struct exmem_mirror *mirror, pgoff_t first, pgoff_t last,
		      unsigned long seq, bool may_sleep)
{
	struct xarray *pages = &mirror->source.pages;
	XA_STATE(xas, pages, first);
	unsigned int nr = 0;
	bool found = false;
	void *entry;

	xas_lock(&xas);
	mmu_interval_set_seq(&mirror->notifier, seq);
	xas_for_each(&xas, entry, last) {
		found |= !xas_get_mark(&xas, EXMEM_PAGE_LATE);
		if (exmem_mirror_is_dead(&xas))
			continue;
		get_page(entry_to_page(entry));
		xas_set_mark(&xas, EXMEM_PAGE_DEAD);
		if (++nr % XA_CHECK_SCHED || !may_sleep)
			continue;
		xas_pause(&xas);
		xas_unlock(&xas);
		cond_resched();
		xas_lock(&xas);
	}
	xas_unlock(&xas);
	return found;
}

static bool mirror_invalidate(struct mmu_interval_notifier *notifier,
			      const struct mmu_notifier_range *range,
			      unsigned long seq)
{
	struct exmem_mirror *mirror =
		container_of(notifier, struct exmem_mirror, notifier);
	struct exmem_view *view = mirror->source.view;
	unsigned long len = mirror->nr << PAGE_SHIFT;
	unsigned long start = max(range->start, mirror->addr);
	unsigned long end = min(range->end, mirror->addr + len);
	bool may_sleep = mmu_notifier_range_blockable(range);
	unsigned long request;

	if (!mark_dead(mirror,
		       mirror->first + ((start - mirror->addr) >> PAGE_SHIFT),
		       mirror->first + ((end - 1 - mirror->addr) >> PAGE_SHIFT),
		       seq, may_sleep))
		return true;

	request = request_zap(mirror);
	if (may_sleep && !(current->flags & PF_MEMALLOC))
		wait_event_timeout(view->zapped, is_zapped(view, request),
				   range->event == MMU_NOTIFY_PROTECTION_PAGE ?
				   WRITEBACK_PATIENCE : ZAP_PATIENCE);
	return true;
}

const struct mmu_interval_notifier_ops exmem_mirror_notifier_ops = {
	.invalidate = mirror_invalidate,
};

/**
 * exmem_mirror_mark_stored() - a page may have been stored to
 * @page: the page, which cannot go away
 *
 * Neither the swap nor anybody else learns of it otherwise.
 */
void exmem_mirror_mark_stored(struct page *page)
{
	page = compound_head(page);
	if (is_zero_pfn(page_to_pfn(page)))
		return;
	if (PageAnon(page) || PageSwapBacked(page) || PageHuge(page))
		SetPageDirty(page);
}

/* Has it been written back since a viewer may have stored to it? */
static bool is_late(void *entry)
{
	return entry_is_writable(entry) &&
	       entry_to_found(entry) & EXMEM_FOUND_WRITEBACK &&
	       !PageDirty(entry_to_page(entry));
}

static void release_page(struct xarray *pages, pgoff_t index)
{
	put_page(entry_to_page(xa_erase(pages, index)));
}

/* Nobody can reach a dead page any more. */
static void release_dead(struct exmem_mirror *mirror, pgoff_t index)
{
	struct xarray *pages = &mirror->source.pages;
	void *entry = xa_load(pages, index);

	if (entry_is_writable(entry))
		exmem_mirror_mark_stored(entry_to_page(entry));
	if (!is_late(entry)) {
		release_page(pages, index);
		return;
	}
	xa_set_mark(pages, index, EXMEM_PAGE_LATE);
	xa_clear_mark(pages, index, EXMEM_PAGE_DEAD);
	queue_delayed_work(exmem_view_wq, &mirror->late, 0);
}

/*
 * Some dead pages out of the page tables. Under the lock, there is no fault
 * that found them live and has yet to put them in.
 */
static bool zap_some(struct exmem_mirror *mirror)
{
	struct exmem_view_source *source = &mirror->source;
	struct xarray *pages = &source->pages;
	unsigned long index = 0, nr = 0, last;

	down_write(&source->view->lock);
	while (nr < ZAP_BATCH && xa_find(pages, &index, ULONG_MAX, EXMEM_PAGE_DEAD)) {
		last = index;
		while (last - index < ZAP_BATCH &&
		       xa_get_mark(pages, last + 1, EXMEM_PAGE_DEAD))
			last++;
		exmem_view_zap_source(source, index, last);
		for (; index <= last; index++, nr++)
			release_dead(mirror, index);
	}
	up_write(&source->view->lock);
	return nr;
}

/**
 * exmem_mirror_zap() - take dead pages out of the page tables of viewers
 * @work: of the view
 */
void exmem_mirror_zap(struct work_struct *work)
{
	struct exmem_view *view = container_of(work, struct exmem_view, zap);
	struct exmem_mirror *mirror, *next;
	unsigned long served;
	LIST_HEAD(dead);

	spin_lock(&view->spin);
	served = view->zaps_wanted;
	list_splice_init(&view->dead, &dead);
	spin_unlock(&view->spin);

	list_for_each_entry_safe(mirror, next, &dead, dead) {
		/* Pages that die from here on put it on the view's list again. */
		spin_lock(&view->spin);
		list_del_init(&mirror->dead);
		spin_unlock(&view->spin);
		while (zap_some(mirror))
			cond_resched();
	}

	WRITE_ONCE(view->zaps_done, served);
	wake_up_all(&view->zapped);
}

/* The file system learns that the page has been written to, unless it is gone. */
static int store_late(struct exmem_mirror *mirror, pgoff_t index)
{
	struct page *page = entry_to_page(xa_load(&mirror->source.pages, index));
	int err = 0;

	if (READ_ONCE(compound_head(page)->mapping) && mmget_not_zero(mirror->mm)) {
		err = exmem_mirror_fault_in(mirror, index, true, NULL);
		mmput_async(mirror->mm);
	}
	if (err == -ENOMEM)
		return err;
	release_page(&mirror->source.pages, index);
	wake_up_all(&mirror->source.view->zapped);
	return 0;
}

/**
 * exmem_mirror_store_late() - tell file systems of late stores
 * @work: of the mirror
 */
void exmem_mirror_store_late(struct work_struct *work)
{
	struct exmem_mirror *mirror = container_of(to_delayed_work(work),
						   struct exmem_mirror, late);
	unsigned long index;
	void *entry;

	xa_for_each_marked(&mirror->source.pages, index, entry, EXMEM_PAGE_LATE) {
		if (store_late(mirror, index)) {
			queue_delayed_work(exmem_view_wq, &mirror->late, 1);
			return;
		}
		cond_resched();
	}
}
