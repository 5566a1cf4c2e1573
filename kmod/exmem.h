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
 */
struct exmem_direct_map_entry {
	pmd_t *pmd;
	pmd_t mapped;
	pmd_t removed;
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
void exmem_direct_map_flush(struct exmem_flush *flush);
bool exmem_direct_map_has_alias(struct page *page, unsigned long nr);
bool exmem_direct_map_lost(struct page **pages, unsigned long nr);

/* window.c: short-lived kernel mappings of pages that have no address. */
int exmem_window_init(void);
void exmem_window_exit(void);
void exmem_window_clear(struct page *page);

/* page_pool.c: where pages come from and go to. */
extern const struct kernel_param_ops exmem_keep_blocks_ops;
extern unsigned long exmem_limit_bytes;
extern unsigned int exmem_keep_blocks;

unsigned long exmem_pool_limit_pages(void);
int exmem_pool_alloc(struct page **pages, unsigned long nr, bool huge);
void exmem_pool_wipe(struct page **pages, unsigned long nr);
void exmem_pool_free(struct page **pages, unsigned long nr);
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
 * @destroyed: no access is possible any more
 * @vma: the area of the mapping, if @mapped
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
	struct vm_area_struct *vma;

	wait_queue_head_t idle;
};

struct exmem_object *exmem_object_create(struct inode *inode, u32 flags);
void exmem_object_free(struct exmem_object *obj);
int exmem_object_set_size(struct exmem_object *obj, u64 size);
int exmem_object_populate(struct exmem_object *obj);
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
