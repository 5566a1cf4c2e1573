/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Exclusive memory: what the files of this module share.
 *
 * Lock order, outermost first:
 *
 *	exmem_view.control		view_ioctl.c, one change of a view at a time
 *	exmem_objects_lock		object.c, the list of all objects
 *	mm->mmap_lock			of the process that maps, or has a fault
 *	exmem_object.notifier_lock	held around all callbacks
 *	exmem_view.lock			view_layout.c, what a view shows
 *	exmem_object.lock		the state of one object
 *	exmem_pool.lock			page_pool.c, which page belongs to whom
 *	init_mm.mmap_lock, cpa_lock, pgd_lock	direct_map.c, innermost
 *
 * i_mmap_rwsem nests inside exmem_view.lock and exmem_object.lock (revocation)
 * and is never held when one of the above is taken. Memory is allocated under
 * all but the innermost three; none of these locks is taken by reclaim.
 *
 * Three things are waited for with locks held. With notifier_lock, that page
 * references go: they do without it. With exmem_view.lock, that an mmap(2) whose
 * part in view_slot.c is done gets on: it takes none of these any more. And with
 * an mmap lock, that a bind in guest_ioctl.c ends, which takes none of those.
 *
 * A source of a view is looked up in the page table of another address space,
 * under that one's mmap_lock: with none of these locks held, or, with the
 * viewer's mmap_lock held, only if it can be had at once. Whoever changes such a
 * page table calls view_mirror.c, with any locks of the mm, file systems and
 * reclaim held. It takes the xa_lock of the source's pages and exmem_view's
 * spin, under which nothing is allocated, and leaves the rest to a worker,
 * which takes exmem_view.lock.
 */
#ifndef _EXMEM_H
#define _EXMEM_H

#include <linux/bits.h>
#include <linux/fs.h>
#include <linux/kobject.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include <linux/restrictedmem.h>
#include <uapi/linux/exclusive_memory.h>

#define EXMEM_BLOCK_ORDER	(PMD_SHIFT - PAGE_SHIFT)
#define EXMEM_BLOCK_PAGES	BIT(EXMEM_BLOCK_ORDER)

/* direct_map.c: the only file that changes the direct map. */

/**
 * struct exmem_direct_map_entry - how the direct map held a 2 MiB block
 * @pmd: the entry, or NULL if the block was mapped by 4 KiB entries
 * @mapped: what @pmd held, and will hold again
 * @removed: what @pmd holds while the block is out
 * @table: to which @pmd leads while the block has a decoy, or NULL
 */
struct exmem_direct_map_entry {
	pmd_t *pmd;
	pmd_t mapped;
	pmd_t removed;
	pte_t *table;
};

/**
 * struct exmem_flush - direct-map addresses that a TLB may still hold
 * @start: lowest address
 * @end: one past the highest; 0 if there is none
 */
struct exmem_flush {
	unsigned long start;
	unsigned long end;
};

int exmem_direct_map_remove_block(struct page *page,
				  struct exmem_direct_map_entry *entry,
				  struct exmem_flush *flush);
int exmem_direct_map_restore_block(struct page *page,
				   const struct exmem_direct_map_entry *entry);
int exmem_direct_map_remove_page(struct page *page, struct exmem_flush *flush);
int exmem_direct_map_restore_page(struct page *page);
int exmem_direct_map_decoy_block(struct page *page,
				 struct exmem_direct_map_entry *entry,
				 struct page *decoy);
int exmem_direct_map_undecoy_block(struct page *page,
				   struct exmem_direct_map_entry *entry,
				   struct exmem_flush *flush);
int exmem_direct_map_decoy_page(struct page *page, struct page *decoy,
				struct exmem_flush *flush);
int exmem_direct_map_show_page(struct page *page, struct exmem_flush *flush);
int exmem_direct_map_undecoy_page(struct page *page, struct exmem_flush *flush);
void exmem_direct_map_flush(struct exmem_flush *flush);
void exmem_direct_map_exit(void);
bool exmem_direct_map_has_alias(struct page *page, unsigned long nr);
bool exmem_direct_map_lost(struct page **pages, unsigned long nr);

/* window.c: short-lived kernel mappings of pages that have no address. */
int exmem_window_init(void);
void exmem_window_exit(void);
void exmem_window_clear(struct page *page);
void exmem_window_write(struct page *page, unsigned int offset, const void *from,
			unsigned int len);

/* page_pool.c: where pages come from and go to. */
extern const struct kernel_param_ops exmem_keep_blocks_ops;
extern unsigned long exmem_limit_bytes;
extern unsigned int exmem_keep_blocks;

unsigned long exmem_pool_limit_pages(void);
int exmem_pool_alloc(struct page **pages, unsigned long nr, bool huge);
int exmem_pool_alloc_guest(struct page **pages, unsigned long nr, bool huge,
			   struct page *decoy);
void exmem_pool_wipe(struct page **pages, unsigned long nr);
void exmem_pool_free(struct page **pages, unsigned long nr);
bool exmem_pool_free_guest(struct page **pages, unsigned long nr,
			   struct page *decoy);
int exmem_pool_freeze(bool freeze);
void exmem_pool_close(void);
void exmem_pool_exit(void);

/* object.c: the life of an object, its references and its notifiers. */

/**
 * struct exmem_object - one exclusive memory object
 * @list: in the list of all objects
 * @inode: carries the address space through which mappings are revoked
 * @flags: EXMEM_CREATE_*
 * @notifier_lock: protects @notifiers, held around their callbacks
 * @notifiers: in-kernel users, in the order of binding
 * @nr_notifiers: how many
 * @lock: protects all that follows
 * @size: bytes, 0 until it is set
 * @pages: the memory, NULL until the first mapping or reference
 * @nr_pages: how many, from @size
 * @references: outstanding page references of in-kernel users
 * @mapped: a mapping exists, or is being made or undone
 * @destroyed: no access begins any more
 * @revoked: and nobody but who has a reference can reach the pages
 * @vma: the area of the mapping, if @mapped
 * @guest: what an object with EXMEM_CREATE_GUEST has besides, NULL for others
 * @idle: woken when there is neither a mapping nor a reference, and on destroy
 */
struct exmem_object {
	struct list_head list;
	struct inode *inode;
	u32 flags;

	struct mutex notifier_lock;
	struct list_head notifiers;
	unsigned int nr_notifiers;

	struct mutex lock;
	u64 size;
	struct page **pages;
	unsigned long nr_pages;
	unsigned int references;
	bool mapped;
	bool destroyed;
	bool revoked;
	struct vm_area_struct *vma;
	struct exmem_guest *guest;

	wait_queue_head_t idle;
};

struct exmem_object *exmem_object_create(struct inode *inode, u32 flags);
void exmem_object_free(struct exmem_object *obj);
int exmem_object_set_size(struct exmem_object *obj, u64 size);
int exmem_object_populate(struct exmem_object *obj);
void exmem_object_invalidate_start(struct exmem_object *obj, pgoff_t start,
				   pgoff_t end);
void exmem_object_invalidate_end(struct exmem_object *obj, pgoff_t start,
				 pgoff_t end);
int exmem_object_bind_guest(struct exmem_object *obj, struct mm_struct *mm);
void exmem_object_revoke_guest(struct exmem_object *obj);
int exmem_object_destroy(struct exmem_object *obj);
void exmem_object_destroy_all(void);
bool exmem_object_idle(struct exmem_object *obj);
int exmem_object_mapping_start(struct exmem_object *obj, u64 len, bool *adopted);
void exmem_object_mapping_end(struct exmem_object *obj,
			      struct vm_area_struct *vma);
void exmem_object_mapping_abort(struct exmem_object *obj, bool adopted);
void exmem_object_mapping_gone(struct exmem_object *obj);

/* An open device file takes its size from its first mapping, if need be. */
static inline bool exmem_object_adopts(struct exmem_object *obj)
{
	return !S_ISREG(obj->inode->i_mode) && !READ_ONCE(obj->size);
}

/* guest.c: what guest objects have besides, and the life of their pages. */

/**
 * struct exmem_guest - what a guest object has besides; under the object's lock
 * @pages: the object's, and what is needed to give them up; NULL as they are
 * @shares: for each page of @pages 0, or EXMEM_GUEST_SHARED or _CLOSING and the
 *	number of page references; NULL as long as nothing was shared
 * @nr_shared: pages that are shared
 * @sealed: EXMEM_STATE_CONTENT_SEALED and EXMEM_STATE_LAYOUT_SEALED
 * @vm: the KVM VM that it is bound to, or NULL; set once
 * @mm: the address space that may map it then
 * @binding: whether it can be bound is being found out
 */
struct exmem_guest {
	struct exmem_guest_pages *pages;
	u32 *shares;
	unsigned long nr_shared;
	u32 sealed;
	struct file *vm;
	struct mm_struct *mm;
	bool binding;
};

#define EXMEM_GUEST_SHARED	BIT(31)	/* the host may refer to the page */
#define EXMEM_GUEST_CLOSING	BIT(30)	/* it may no more, once those are gone */

struct exmem_guest *exmem_guest_create(void);
void exmem_guest_free(struct exmem_guest *guest);
int exmem_guest_alloc_pages(struct exmem_object *obj, struct page **pages);
void exmem_guest_free_pages(struct exmem_object *obj);
bool exmem_guest_may_map(struct exmem_object *obj, struct mm_struct *mm);
bool exmem_guest_direct_map_lost(struct exmem_object *obj);
int exmem_guest_wait_unpinned(struct exmem_object *obj, pgoff_t first,
			      pgoff_t end);
struct page *exmem_guest_decoy(struct exmem_object *obj);
int exmem_guest_init(void);
void exmem_guest_exit(void);

/* guest_share.c: which pages the host may see. */
int exmem_guest_set_shared(struct exmem_object *obj,
			   const struct exmem_share *arg);
int exmem_guest_get_shared(struct exmem_object *obj, pgoff_t index);
void exmem_guest_put_shared(struct exmem_object *obj, struct page *page);

/* guest_ioctl.c: what a monitor asks for. */
long exmem_guest_ioctl(struct exmem_object *obj, fmode_t mode, unsigned int cmd,
		       const void __user *arg);

/* mapping.c: whole, one, no split, no mremap. */
int exmem_mmap(struct exmem_object *obj, struct vm_area_struct *vma);
unsigned long exmem_get_unmapped_area(struct exmem_object *obj, struct file *file,
				      unsigned long addr, unsigned long len,
				      unsigned long pgoff, unsigned long flags);
void exmem_mapping_revoke(struct exmem_object *obj);

/* device.c: /dev/exclusive_memory, restricted memfds, the ioctl table. */
struct exmem_object *exmem_file_object(struct file *file);
int exmem_device_init(void);
void exmem_device_exit(void);

/* pseudo_fs.c: the inodes of restricted memfds and view fds. */
struct inode *exmem_inode_new(void);
void exmem_inode_put(struct inode *inode);
struct file *exmem_file_new(struct inode *inode, const char *name,
			    const struct file_operations *fops);

/* An ioctl command without the size of its argument, which may grow. */
#define EXMEM_IOC_BARE(cmd)	((cmd) & ~IOCSIZE_MASK)

/* An argument of an older or newer caller, by the size that its command carries. */
static inline int exmem_copy_argument(void *to, size_t size, unsigned int cmd,
				      const void __user *arg)
{
	if (_IOC_SIZE(cmd) < size)
		return -EINVAL;
	return copy_struct_from_user(to, size, arg, _IOC_SIZE(cmd));
}

/* view.c: /dev/memory-view */
int exmem_view_init(void);
void exmem_view_exit(void);

/* power.c: hibernation, reboot, kexec. */
int exmem_power_init(void);
void exmem_power_exit(void);

/* statistics.c: /sys/kernel/exclusive_memory */

/**
 * enum exmem_counter - what /sys/kernel/exclusive_memory counts
 * @EXMEM_PAGES_IN_USE: pages that objects hold
 * @EXMEM_PAGES_HELD: pages taken from the system, in use or kept
 * @EXMEM_PAGES_SINGLE: of those, pages that are in no 2 MiB block
 * @EXMEM_PAGES_QUARANTINED: pages never to be used again: a memory error, or
 *	the direct map could not be restored
 * @EXMEM_PAGES_REFUSED: pages not taken because the kernel has a second
 *	address for them
 * @EXMEM_BLOCKS: 2 MiB blocks out of the direct map
 * @EXMEM_BLOCKS_IDLE: of those, blocks without a page in use
 * @EXMEM_OBJECTS: objects
 * @EXMEM_MAPPINGS: objects that are mapped
 * @EXMEM_VIEWS: memory views
 * @EXMEM_VIEW_RANGES: ranges in all of them
 * @EXMEM_TLB_FLUSHES: TLB flushes after pages left the direct map
 * @EXMEM_NR_COUNTERS: how many counters there are
 */
enum exmem_counter {
	EXMEM_PAGES_IN_USE,
	EXMEM_PAGES_HELD,
	EXMEM_PAGES_SINGLE,
	EXMEM_PAGES_QUARANTINED,
	EXMEM_PAGES_REFUSED,
	EXMEM_BLOCKS,
	EXMEM_BLOCKS_IDLE,
	EXMEM_OBJECTS,
	EXMEM_MAPPINGS,
	EXMEM_VIEWS,
	EXMEM_VIEW_RANGES,
	EXMEM_TLB_FLUSHES,
	EXMEM_NR_COUNTERS,
};

extern atomic_long_t exmem_counters[EXMEM_NR_COUNTERS];

static inline void exmem_count(enum exmem_counter counter, long delta)
{
	atomic_long_add(delta, &exmem_counters[counter]);
}

int exmem_statistics_init(void);
void exmem_statistics_exit(void);

#endif /* _EXMEM_H */
