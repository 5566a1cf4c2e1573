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
 */
#ifndef _LINUX_RESTRICTEDMEM_H
#define _LINUX_RESTRICTEDMEM_H

#include <linux/list.h>
#include <linux/types.h>

struct file;
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
 * @invalidate_start: the pages [start, end) are about to go away for good;
 *	their references should be dropped.
 * @invalidate_end: the object cannot be used any more.
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

#endif /* _LINUX_RESTRICTEDMEM_H */
