/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Sources whose pages are looked up in a page table, and not pinned: files,
 * which are mapped for that in the view's shadow, and process memory.
 *
 * A page that was found is remembered in @pages of the source. It may be
 * in page tables of viewers for as long as it is in the one it was found in:
 *
 *	(none) --resolve--> live --mmu notifier--> dead --worker--> (none)
 *					            |
 *					            +--> late --> (none)
 *
 * Whoever is about to change the source's page table calls
 * mirror_invalidate(). The viewers' page tables cannot be changed from there:
 * the caller may hold i_mmap_rwsem of the file, or run below the callbacks of
 * another mm's notifiers, and mm_take_all_locks() takes such locks the other way
 * round. So a page is marked dead, and referenced, since its user is about to
 * drop it. A worker zaps it, and drops the reference. The callback waits for
 * that, so that in general a change is complete when it returns and nobody
 * stumbles over the reference; but not for long, as the worker may be waiting
 * for one of the caller's locks, and not in reclaim.
 *
 * A store through a view leaves no trace in the source's page table. So
 * a page that was writable is dirty. One of a file that is written back to
 * a disk was made dirty, as far as the file system is concerned, when it was
 * looked up for writing. It can only have become clean since, with a store
 * getting lost, if the callback has not waited: then it is late, and faulted in
 * for writing once more.
 */
#ifndef _EXMEM_VIEW_MIRROR_H
#define _EXMEM_VIEW_MIRROR_H

#include <linux/mmu_notifier.h>

#include "view.h"

/* Marks in @pages: a dead page, and one whose file system has to be told. */
#define EXMEM_PAGE_DEAD		XA_MARK_0
#define EXMEM_PAGE_LATE		XA_MARK_1

/* With EXMEM_FOUND_*: a file system writes the page back. */
#define EXMEM_FOUND_WRITEBACK	BIT(4)

/**
 * struct exmem_mirror - a source whose pages are found in a page table
 * @source: the source; its page @first is at @addr
 * @notifier: says when the page table changes
 * @mm: the address space, of which this holds a reference if it is a process's
 * @addr: where it begins there
 * @first: page offset in the source
 * @nr: how many pages
 * @access: MEMVIEW_MAP_* that a file was mapped with
 * @dead: in @source.view->dead, if it has dead pages
 * @late: tells file systems of late stores
 * @failure: the last look-up that failed for no obvious reason; protected by
 *	@source.view->spin
 */
struct exmem_mirror {
	struct exmem_view_source source;
	struct mmu_interval_notifier notifier;
	struct mm_struct *mm;
	unsigned long addr;
	pgoff_t first;
	unsigned long nr;
	u32 access;
	struct list_head dead;
	struct delayed_work late;
	struct {
		struct task_struct *task;
		pgoff_t wanted;
		vm_fault_t fault;
		unsigned long until;
	} failure;
};

/* What @pages remembers: a pfn and EXMEM_FOUND_*. */
static inline unsigned long entry_to_found(void *entry)
{
	return xa_to_value(entry);
}

static inline struct page *entry_to_page(void *entry)
{
	return pfn_to_page(entry_to_found(entry) >> EXMEM_FOUND_SHIFT);
}

static inline bool entry_is_writable(void *entry)
{
	return entry_to_found(entry) & EXMEM_FOUND_WRITABLE;
}

static inline struct exmem_mirror *mirror_of(struct exmem_view_source *source)
{
	return container_of(source, struct exmem_mirror, source);
}

/* Nobody may be given the page: it is dead, or not yet known to be stored. */
static inline bool exmem_mirror_is_dead(struct xa_state *xas)
{
	return xas_get_mark(xas, EXMEM_PAGE_DEAD) || xas_get_mark(xas, EXMEM_PAGE_LATE);
}

static inline bool exmem_mirror_has_dead(struct exmem_view_source *source,
					 pgoff_t index)
{
	return xa_get_mark(&source->pages, index, EXMEM_PAGE_DEAD) ||
	       xa_get_mark(&source->pages, index, EXMEM_PAGE_LATE);
}

/* view_lookup.c */
int exmem_mirror_fault_in(struct exmem_mirror *mirror, pgoff_t wanted, bool write,
			  struct mm_struct *held);
vm_fault_t exmem_mirror_refuse(struct exmem_view_source *source, pgoff_t wanted,
			       bool write, struct mm_struct *held, bool final);
void exmem_mirror_resolve(struct exmem_view_source *source, pgoff_t wanted,
			  bool write, struct mm_struct *held);
vm_fault_t exmem_mirror_find(struct exmem_view_source *source, pgoff_t first,
			     pgoff_t last, pgoff_t wanted, u32 access,
			     unsigned long *found);

/* view_zap.c */
extern const struct mmu_interval_notifier_ops exmem_mirror_notifier_ops;
void exmem_mirror_mark_stored(struct page *page);
void exmem_mirror_store_late(struct work_struct *work);

#endif /* _EXMEM_VIEW_MIRROR_H */
