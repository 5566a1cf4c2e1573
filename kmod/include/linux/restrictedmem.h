/* SPDX-License-Identifier: GPL-2.0 */
/*
 * In-kernel users of restricted memfds and exclusive memory objects.
 *
 * A user binds a notifier to the file, takes page references while no
 * user-space mapping exists, and is told when one comes and goes. All calls
 * may sleep.
 *
 * Callbacks run in process context, in the order of binding, with the mmap
 * lock of the mapping process held (mmap_start, mmap_end, mmap_abort, munmap)
 * or not (invalidate_start, invalidate_end). From a callback,
 * restrictedmem_get_page() and restrictedmem_put_page() may be called,
 * restrictedmem_bind() and restrictedmem_unbind() may not. A lock that a
 * callback takes must not be held around bind or unbind.
 *
 * Of a guest object, references can be taken to the pages that it shares, mapped
 * or not. Before such a page is private again, its references have to go: that
 * waits for them.
 */
#ifndef _LINUX_RESTRICTEDMEM_H
#define _LINUX_RESTRICTEDMEM_H

#include <linux/list.h>
#include <linux/types.h>

struct file;
struct mm_struct;
struct page;
struct restrictedmem_notifier;

/**
 * struct restrictedmem_notifier_ops - what a user is told
 * @mmap_start: a mapping is about to be made; a negative errno vetoes it and
 *	is what mmap(2) fails with. Page references are refused from before
 *	this call until the mapping is gone.
 * @mmap_end: the mapping exists.
 * @mmap_abort: a later notifier vetoed the mapping, or it failed. Called in
 *	reverse order, on those whose mmap_start succeeded.
 * @munmap: the mapping is gone. After mmap_end only.
 * @invalidate_start: the pages [start, end) are about to go away, for good or, of
 *	a guest object, as they become private; their references should be dropped.
 * @invalidate_end: they are gone.
 * @bind_guest: a guest object becomes that of @mm alone; -EBUSY if a pfn that
 *	restrictedmem_guest_pfn() gave may be in another one's page table.
 * @revoke_guest: no pfn that restrictedmem_guest_pfn() gave may be in a page table
 *	any more when this returns. It can be asked for again.
 *
 * Every callback may be NULL.
 */
struct restrictedmem_notifier_ops {
	int  (*mmap_start)(struct restrictedmem_notifier *n);
	void (*mmap_end)(struct restrictedmem_notifier *n);
	void (*mmap_abort)(struct restrictedmem_notifier *n);
	void (*munmap)(struct restrictedmem_notifier *n);
	void (*invalidate_start)(struct restrictedmem_notifier *n,
				 pgoff_t start, pgoff_t end);
	void (*invalidate_end)(struct restrictedmem_notifier *n,
			       pgoff_t start, pgoff_t end);
	int  (*bind_guest)(struct restrictedmem_notifier *n, struct mm_struct *mm);
	void (*revoke_guest)(struct restrictedmem_notifier *n);
};

/**
 * struct restrictedmem_notifier - one user of one object
 * @ops: set by the user before restrictedmem_bind()
 * @list: private
 * @mapped: private; this user was told of the mapping that exists
 */
struct restrictedmem_notifier {
	const struct restrictedmem_notifier_ops *ops;
	struct list_head list;
	bool mapped;
};

int restrictedmem_bind(struct file *file, struct restrictedmem_notifier *n);
void restrictedmem_unbind(struct file *file, struct restrictedmem_notifier *n);
int restrictedmem_get_page(struct file *file, pgoff_t index, struct page **page);
void restrictedmem_put_page(struct file *file, struct page *page);
bool restrictedmem_is_guest(struct file *file);
int restrictedmem_guest_pfn(struct file *file, pgoff_t index, struct mm_struct *mm,
			    bool trusted, unsigned long *pfn);
bool restrictedmem_guest_is_bound(struct file *file, struct mm_struct *mm);

#endif /* _LINUX_RESTRICTEDMEM_H */
