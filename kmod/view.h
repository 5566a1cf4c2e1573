/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Memory views: what the files view*.c share.
 *
 *	view.c			/dev/memory-view, and the life of a view
 *	view_ioctl.c		what its owner asks for; view_protect.c is one of it
 *	view_fd.c		view fds, and their mappings
 *	view_layout.c		which range of a view shows what
 *	view_fault.c		what a holder's access finds
 *	view_slot.c		mappings that only KVM can use
 *	view_mirror.c		sources that are looked up in a page table,
 *	view_lookup.c		... how, and
 *	view_zap.c		... how they are taken away
 *	view_shadow.c		the address space in which files are mapped for that
 *	view_exclusive.c	exclusive memory as a source
 *
 * A page of a source is in the page tables of viewers only while it is in the
 * @pages of the source, and it is put there only under the view's lock. So
 * whoever holds that lock for writing, takes the page out of @pages and zaps
 * the ranges that show it, can be sure that nobody has it.
 *
 * The lock order is in exmem.h.
 */
#ifndef _EXMEM_VIEW_H
#define _EXMEM_VIEW_H

#include <linux/hashtable.h>
#include <linux/interval_tree.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/magic.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/rbtree.h>
#include <linux/rwsem.h>
#include <linux/wait.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "exmem.h"

/* Looked up and mapped around a fault: as many as the kernel maps in a file. */
#define EXMEM_VIEW_WINDOW	16

#define EXMEM_VIEW_ACCESS	(MEMVIEW_MAP_READ | MEMVIEW_MAP_WRITE | \
				 MEMVIEW_MAP_EXEC)

struct exmem_shadow;
struct exmem_view_range;

/**
 * struct exmem_view - one memory view
 * @ref: held by the control file, view fds, and sources
 * @inode: of the view fds; its address space has every mapping of the view
 *	that a process can access
 * @slot_inode: its address space has the other ones
 * @owner: address space that opened the control file; the pointer counts, not
 *	what it points to
 * @control: one change at a time; held for no longer than the kernel itself
 *	needs, so that nothing else than the owner delays a revocation
 * @size: bytes, 0 until it is set, once; protected by @control
 * @changes: counts changes of the layout; protected by @control
 * @exclusives: sources that are exclusive memory, by file; protected by @control
 * @closed: the control file is gone; protected by @control
 * @shadow: where files are mapped, NULL before the first; set once
 * @reap: releases sources that no range uses any more
 * @lock: protects the layout, and what is in page tables; see above
 * @ranges: ordered by offset
 * @nr_ranges: how many
 * @slot_zaps: counts what was taken out of slots
 * @spin: protects what follows
 * @slots: mappings that are PROT_NONE
 * @files: sources that are files, by file
 * @idle: mirrors that may have no user any more
 * @dead: mirrors that have dead pages
 * @zaps_wanted: counts requests to zap
 * @zaps_done: the requests up to this one have been served
 * @zapped: woken when @zaps_done changes
 * @zap: takes dead pages out of page tables
 */
struct exmem_view {
	struct kref ref;
	struct inode *inode;
	struct inode *slot_inode;
	struct mm_struct *owner;

	struct mutex control;
	u64 size;
	unsigned long changes;
	DECLARE_HASHTABLE(exclusives, 6);
	bool closed;
	struct exmem_shadow *shadow;
	struct delayed_work reap;

	struct rw_semaphore lock;
	struct rb_root ranges;
	unsigned long nr_ranges;
	unsigned long slot_zaps;

	spinlock_t spin;
	struct list_head slots;
	DECLARE_HASHTABLE(files, 8);
	struct list_head idle;
	struct list_head dead;
	unsigned long zaps_wanted;
	unsigned long zaps_done;
	wait_queue_head_t zapped;
	struct work_struct zap;
};

/**
 * struct exmem_view_source - where the pages of ranges come from
 * @ops: of its kind
 * @view: the view, of which this holds a reference
 * @by_file: in @view->files or @view->exclusives
 * @idle: in @view->idle
 * @users: ranges, and whoever looks up a page; of a mirror, from 0 to 1 and back
 *	only under @view->spin
 * @file: the file, or NULL
 * @kind: MEMVIEW_KIND_*
 * @firm: exclusive memory may not be mapped by user space while this is not 0;
 *	protected by @view->lock
 * @ranges: by the pages of the source that they show; protected by @view->lock
 * @pages: what may be in page tables, by page offset in the source
 */
struct exmem_view_source {
	const struct exmem_view_source_ops *ops;
	struct exmem_view *view;
	struct hlist_node by_file;
	struct list_head idle;
	atomic_t users;
	struct file *file;
	u32 kind;
	unsigned int firm;
	struct rb_root_cached ranges;
	struct xarray pages;
};

/**
 * struct exmem_view_source_ops - a kind of source
 * @find: which pages of [@first, @last] may be put into a page table, @wanted
 *	among them, for @access: one of MEMVIEW_MAP_READ, WRITE and EXEC. Fills
 *	@found, one entry for each page of the window. Under the view's lock.
 *	VM_FAULT_RETRY: not without @resolve.
 * @refuse: say at once, if that is so, that there is no page, or that it must not
 *	be accessed like this. @held: as for @resolve. @final: who asks takes it
 *	for an answer, and not for a reason to ask again.
 * @resolve: look a page up, and remember why if there is none. Without the
 *	view's lock; may sleep for long. If @held is set, its mmap lock is held
 *	for reading, and no other is waited for.
 * @forget: no range shows these pages any more. Under the view's lock.
 * @put: a user is gone, perhaps the last.
 */
struct exmem_view_source_ops {
	vm_fault_t (*find)(struct exmem_view_source *source, pgoff_t first,
			   pgoff_t last, pgoff_t wanted, u32 access,
			   unsigned long *found);
	vm_fault_t (*refuse)(struct exmem_view_source *source, pgoff_t wanted,
			     bool write, struct mm_struct *held, bool final);
	void (*resolve)(struct exmem_view_source *source, pgoff_t wanted,
			bool write, struct mm_struct *held);
	void (*forget)(struct exmem_view_source *source, pgoff_t first,
		       pgoff_t last);
	void (*put)(struct exmem_view_source *source);
};

/* An entry that @find fills in: a pfn and these bits; 0 for no page. */
#define EXMEM_FOUND_PAGE	BIT(0)
#define EXMEM_FOUND_WRITABLE	BIT(1)
#define EXMEM_FOUND_EXEC	BIT(2)
#define EXMEM_FOUND_HUGE	BIT(3)	/* a part of a large page */
#define EXMEM_FOUND_SHIFT	5

/**
 * struct exmem_view_range - a range of a view
 * @node: in @view->ranges
 * @by_source: in @source->ranges
 * @list: while it is in no tree
 * @start: first page of the view
 * @end: one past the last
 * @offset: page offset in the source, or page number of an address
 * @source: of which this is a user
 * @flags: MEMVIEW_MAP_READ, WRITE, EXEC and YIELD
 */
struct exmem_view_range {
	struct rb_node node;
	struct interval_tree_node by_source;
	struct list_head list;
	pgoff_t start;
	pgoff_t end;
	pgoff_t offset;
	struct exmem_view_source *source;
	u32 flags;
};

static inline bool exmem_view_is_hugetlb(struct file *file)
{
	return file_inode(file)->i_sb->s_magic == HUGETLBFS_MAGIC;
}

/* What offsets and addresses of a file have to be aligned to. */
static inline unsigned long exmem_view_page_size(struct file *file)
{
	return exmem_view_is_hugetlb(file) ? i_blocksize(file_inode(file)) : PAGE_SIZE;
}

/* The processor gives READ with anything else. */
static inline bool exmem_view_is_access(u32 access)
{
	return !(access & ~EXMEM_VIEW_ACCESS) &&
	       (!access || access & MEMVIEW_MAP_READ);
}

/* view.c */
extern struct workqueue_struct *exmem_view_wq;
extern struct workqueue_struct *exmem_shadow_wq;
extern struct workqueue_struct *exmem_zap_wq;
void exmem_view_put(struct exmem_view *view);
void exmem_view_source_init(struct exmem_view_source *source,
			    const struct exmem_view_source_ops *ops,
			    struct exmem_view *view, u32 kind);
void exmem_view_source_fini(struct exmem_view_source *source);
void exmem_view_source_put(struct exmem_view_source *source);

extern const struct file_operations exmem_view_control_fops;

/* view_ioctl.c */
long exmem_view_ioctl(struct file *file, unsigned int cmd, unsigned long arg);
int exmem_view_check_access(struct file *file, u32 flags);

/* view_protect.c */
int exmem_view_protect(struct exmem_view *view, pgoff_t start, pgoff_t end,
		       u32 access);

/* view_fd.c */
extern const struct file_operations exmem_view_fops;
extern const struct inode_operations exmem_view_iops;
int exmem_view_fd_new(struct exmem_view *view, unsigned long cap);
u32 exmem_view_cap(struct file *file);

/* view_layout.c */
struct exmem_view_range *exmem_view_range_new(struct exmem_view_source *source,
					      pgoff_t start, pgoff_t end,
					      pgoff_t offset, u32 flags);
int exmem_view_add_piece(struct exmem_view_range *range, pgoff_t start,
			 pgoff_t end, struct exmem_view_source *source, u32 flags,
			 struct list_head *pieces);
void exmem_view_ranges_free(struct list_head *ranges);
struct exmem_view_range *exmem_view_range_after(struct exmem_view *view,
						pgoff_t pgoff);
struct exmem_view_range *exmem_view_range_next(struct exmem_view_range *range);
int exmem_view_replace(struct exmem_view *view, pgoff_t start, pgoff_t end,
		       struct list_head *ranges);
void exmem_view_zap_source(struct exmem_view_source *source, pgoff_t first,
			   pgoff_t last);
void exmem_view_zap_source_slots(struct exmem_view_source *source);
bool exmem_view_source_has_slot(struct exmem_view_source *source,
				struct mm_struct *except);
bool exmem_view_shows(struct exmem_view_source *source, pgoff_t index);

/* view_fault.c */
extern const struct vm_operations_struct exmem_view_vm_ops;

/* view_slot.c */
int exmem_view_slot_mmap(struct exmem_view *view, struct file *file, bool writable,
			 struct vm_area_struct *vma);
int exmem_view_fill_slots(struct exmem_view *view, pgoff_t start, pgoff_t end);
void exmem_view_zap_slots(struct exmem_view *view, pgoff_t start, pgoff_t nr);
bool exmem_view_has_slot(struct exmem_view *view, pgoff_t start, pgoff_t end,
			 struct mm_struct *except);

/* view_mirror.c */
struct exmem_view_source *exmem_mirror_of(struct exmem_view *view,
					  struct file *file, pgoff_t first,
					  pgoff_t last, u32 access);
struct exmem_view_source *exmem_mirror_file(struct exmem_view *view,
					    struct file *file, pgoff_t first,
					    pgoff_t last, u32 access);
struct exmem_view_source *exmem_mirror_process(struct exmem_view *view,
					       unsigned long addr,
					       unsigned long len);
void exmem_mirror_reap(struct work_struct *work);

/* view_zap.c */
void exmem_mirror_zap(struct work_struct *work);

/* view_shadow.c */
struct exmem_shadow *exmem_shadow_create(void);
void exmem_shadow_free(struct exmem_shadow *shadow);
struct mm_struct *exmem_shadow_mm(struct exmem_shadow *shadow);
int exmem_shadow_map(struct exmem_shadow *shadow, struct file *file,
		     pgoff_t pgoff, unsigned long len, u32 access,
		     unsigned long *addr);
void exmem_shadow_unmap(struct exmem_shadow *shadow, unsigned long addr,
			unsigned long len);

/* view_exclusive.c */
struct exmem_view_source *exmem_view_exclusive(struct exmem_view *view,
					       struct file *file, bool yield);
void exmem_view_exclusive_settle(struct exmem_view_source *source);

#endif /* _EXMEM_VIEW_H */
