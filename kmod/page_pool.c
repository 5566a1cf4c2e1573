// SPDX-License-Identifier: GPL-2.0
/*
 * Where pages come from and go to.
 *
 * Memory is taken from the system in whole 2 MiB blocks, because a block
 * leaves the direct map without splitting an entry. Objects of one memory
 * cgroup share blocks: a block is charged to the cgroup whose task caused it
 * to be taken. Only when no block can be had, single pages are taken.
 *
 * A page is zero whenever it belongs to nobody: it is zeroed before it leaves
 * the direct map, and wiped when an object gives it up, before its block goes
 * back. What cannot go back safely is kept for ever ("quarantined"): a page
 * with a memory error must not be touched, and a page that is not in the direct
 * map would crash whoever gets it next.
 *
 * Pages of a guest have a reference count, without which KVM up to 6.12 does not
 * take them, and a decoy in the direct map. Their blocks hold no other pages.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitmap.h>
#include <linux/list.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/moduleparam.h>
#include <linux/page_ref.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "exmem.h"
#include "compat/compat.h"

/*
 * Accounted to the caller's cgroup; an error for the caller rather than the
 * OOM killer for somebody.
 */
#define POOL_GFP	(GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_NOWARN | \
			 __GFP_RETRY_MAYFAIL)

/**
 * struct exmem_block - 2 MiB out of the direct map
 * @list: in exmem_pool.partial, .full or .idle, or a local list
 * @page: the first page
 * @used: pages that objects hold, or that are quarantined
 * @guest: the pages are those of one guest object; then it is in .full
 * @direct_map: how to put the block back
 * @map: a bit for each page in @used
 *
 * page_private() of each of its pages points here.
 */
struct exmem_block {
	struct list_head list;
	struct page *page;
	unsigned int used;
	bool guest;
	struct exmem_direct_map_entry direct_map;
	DECLARE_BITMAP(map, EXMEM_BLOCK_PAGES);
};

static struct {
	struct mutex lock;	/* for all that follows */
	struct list_head partial;
	struct list_head full;
	struct list_head idle;
	bool frozen;
} exmem_pool = {
	.lock = __MUTEX_INITIALIZER(exmem_pool.lock),
	.partial = LIST_HEAD_INIT(exmem_pool.partial),
	.full = LIST_HEAD_INIT(exmem_pool.full),
	.idle = LIST_HEAD_INIT(exmem_pool.idle),
};

unsigned long exmem_limit_bytes;
unsigned int exmem_keep_blocks = 1;

/**
 * exmem_pool_limit_pages() - how many pages may be held on this machine
 *
 * The module parameter limit_bytes; half of the memory if that is 0.
 */
unsigned long exmem_pool_limit_pages(void)
{
	unsigned long limit = READ_ONCE(exmem_limit_bytes);

	return limit ? min(limit >> PAGE_SHIFT, totalram_pages()) :
		       totalram_pages() / 2;
}

static bool hold(unsigned long nr)
{
	atomic_long_t *held = &exmem_counters[EXMEM_PAGES_HELD];
	long old = atomic_long_read(held);

	do {
		if (old + nr > exmem_pool_limit_pages())
			return false;
	} while (!atomic_long_try_cmpxchg(held, &old, old + nr));
	return true;
}

static void unhold(unsigned long nr)
{
	exmem_count(EXMEM_PAGES_HELD, -(long)nr);
}

/*
 * Pages from the system, zeroed, that nobody can take a reference to: their
 * count is 0 while they are ours. Pages that have a second kernel address, or
 * that somebody is just looking at, go to @refused: freed at once, they would
 * be the next ones to be found.
 */
static struct page *page_take(unsigned int order, struct list_head *refused)
{
	struct page *page;

	for (;;) {
		page = alloc_pages(POOL_GFP, order);
		if (!page)
			return NULL;
		if (!exmem_direct_map_has_alias(page, 1UL << order) &&
		    page_ref_freeze(page, 1))
			return page;
		list_add(&page->lru, refused);
		exmem_count(EXMEM_PAGES_REFUSED, 1L << order);
	}
}

/* Back to the system; they are in the direct map again. */
static void page_free(struct page *page, unsigned int order)
{
	page_ref_unfreeze(page, 1);
	__free_pages(page, order);
}

/* These pages stay ours for ever, and in the count of pages held. */
static void quarantine(unsigned long nr)
{
	exmem_count(EXMEM_PAGES_QUARANTINED, nr);
}

/* The allocator does not look for a memory error inside a large block. */
static bool block_has_error(struct page *page)
{
	unsigned long i;

	for (i = 0; i < EXMEM_BLOCK_PAGES; i++) {
		if (PageHWPoison(page + i))
			return true;
	}
	return false;
}

/* Return a block that nobody uses to the system, or keep it for ever. */
static void block_return(struct exmem_block *block)
{
	struct page *page = block->page;
	unsigned long i;

	exmem_count(EXMEM_BLOCKS, -1);
	if (block_has_error(page)) {
		pr_warn("a 2 MiB block has a memory error and is lost\n");
		quarantine(EXMEM_BLOCK_PAGES);
	} else if (exmem_direct_map_restore_block(page, &block->direct_map)) {
		pr_warn("a 2 MiB block could not be put back into the direct map and is lost\n");
		quarantine(EXMEM_BLOCK_PAGES);
	} else {
		for (i = 0; i < EXMEM_BLOCK_PAGES; i++)
			set_page_private(page + i, 0);
		page_free(page, EXMEM_BLOCK_ORDER);
		unhold(EXMEM_BLOCK_PAGES);
	}
	kfree(block);
}

static void blocks_return(struct list_head *blocks)
{
	struct exmem_block *block, *next;

	list_for_each_entry_safe(block, next, blocks, list)
		block_return(block);
}

/* Move idle blocks beyond those to keep to @blocks; under the pool's lock. */
static void trim_idle(unsigned int keep, struct list_head *blocks)
{
	atomic_long_t *idle = &exmem_counters[EXMEM_BLOCKS_IDLE];

	while (atomic_long_read(idle) > keep) {
		list_move(exmem_pool.idle.prev, blocks);
		atomic_long_dec(idle);
	}
}

static void release_idle(unsigned int keep)
{
	LIST_HEAD(blocks);

	mutex_lock(&exmem_pool.lock);
	trim_idle(keep, &blocks);
	mutex_unlock(&exmem_pool.lock);
	blocks_return(&blocks);
}

static int keep_blocks_set(const char *val, const struct kernel_param *kp)
{
	int err = param_set_uint(val, kp);

	if (!err)
		release_idle(exmem_keep_blocks);
	return err;
}

const struct kernel_param_ops exmem_keep_blocks_ops = {
	.set = keep_blocks_set,
	.get = param_get_uint,
};

/*
 * Take a block from the system and out of the direct map. It is still in TLBs
 * until @flush is flushed.
 */
static struct exmem_block *block_take(struct exmem_flush *flush,
				      struct list_head *refused)
{
	struct exmem_block *block;
	unsigned long i;

	if (!hold(EXMEM_BLOCK_PAGES)) {
		release_idle(0);
		if (!hold(EXMEM_BLOCK_PAGES))
			return NULL;
	}
	block = kzalloc(sizeof(*block), GFP_KERNEL_ACCOUNT);
	if (!block)
		goto unhold;

	block->page = page_take(EXMEM_BLOCK_ORDER, refused);
	if (!block->page)
		goto free_block;

	if (exmem_direct_map_remove_block(block->page, &block->direct_map, flush))
		goto restore;

	for (i = 0; i < EXMEM_BLOCK_PAGES; i++)
		set_page_private(block->page + i, (unsigned long)block);
	exmem_count(EXMEM_BLOCKS, 1);
	return block;

restore:
	if (exmem_direct_map_restore_block(block->page, &block->direct_map)) {
		quarantine(EXMEM_BLOCK_PAGES);
		kfree(block);
		return NULL;
	}
	page_free(block->page, EXMEM_BLOCK_ORDER);
free_block:
	kfree(block);
unhold:
	unhold(EXMEM_BLOCK_PAGES);
	return NULL;
}

static struct page *single_take(struct exmem_flush *flush,
				struct list_head *refused)
{
	struct page *page;

	if (!hold(1)) {
		release_idle(0);
		if (!hold(1))
			return NULL;
	}
	page = page_take(0, refused);
	if (!page)
		goto unhold;

	if (exmem_direct_map_remove_page(page, flush))
		goto restore;
	set_page_private(page, 0);
	exmem_count(EXMEM_PAGES_SINGLE, 1);
	return page;

restore:
	if (exmem_direct_map_restore_page(page)) {
		quarantine(1);
		return NULL;
	}
	page_free(page, 0);
unhold:
	unhold(1);
	return NULL;
}

static void single_return(struct page *page)
{
	exmem_count(EXMEM_PAGES_SINGLE, -1);
	if (PageHWPoison(page)) {
		pr_warn("a page has a memory error and is lost\n");
		quarantine(1);
		return;
	}
	if (exmem_direct_map_restore_page(page)) {
		pr_warn("a page could not be put back into the direct map and is lost\n");
		quarantine(1);
		return;
	}
	page_free(page, 0);
	unhold(1);
}

static void refused_free(struct list_head *refused, unsigned int order)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, refused, lru) {
		list_del(&page->lru);
		__free_pages(page, order);
	}
}

static bool same_memcg(struct exmem_block *block)
{
	bool same;

	rcu_read_lock();
	same = page_memcg(block->page) == exmem_current_memcg();
	rcu_read_unlock();
	return same;
}

static struct exmem_block *block_of(struct page *page)
{
	return (struct exmem_block *)page_private(page);
}

static struct exmem_block *find_block(struct list_head *blocks)
{
	struct exmem_block *block;

	list_for_each_entry(block, blocks, list) {
		if (same_memcg(block))
			return block;
	}
	return NULL;
}

/* Hand out pages of a block; under the pool's lock. */
static unsigned long block_use(struct exmem_block *block, struct page **pages,
			       unsigned long nr, bool guest)
{
	unsigned long done = 0, bit = 0;

	cond_resched();
	if (!block->used)
		exmem_count(EXMEM_BLOCKS_IDLE, -1);
	while (done < nr) {
		bit = find_next_zero_bit(block->map, EXMEM_BLOCK_PAGES, bit);
		if (bit >= EXMEM_BLOCK_PAGES)
			break;
		__set_bit(bit, block->map);
		block->used++;
		if (PageHWPoison(block->page + bit))
			quarantine(1);
		else
			pages[done++] = block->page + bit;
	}
	block->guest = guest;
	list_move(&block->list, guest || block->used == EXMEM_BLOCK_PAGES ?
		  &exmem_pool.full : &exmem_pool.partial);
	return done;
}

/* Give up a page of a block; under the pool's lock. */
static void block_unuse(struct exmem_block *block, struct page *page)
{
	/* A page with a memory error stays in use, and its block with us. */
	if (PageHWPoison(page)) {
		quarantine(1);
		return;
	}
	__clear_bit(page - block->page, block->map);
	block->used--;
	block->guest = false;
	list_move(&block->list, block->used ? &exmem_pool.partial :
					      &exmem_pool.idle);
	if (!block->used)
		exmem_count(EXMEM_BLOCKS_IDLE, 1);
}

/*
 * From blocks that are there already: whole ones for what fills a block, so
 * that large objects are made of whole blocks, shared ones for the rest.
 */
static unsigned long use_present(struct page **pages, unsigned long nr, bool guest)
{
	struct exmem_block *block;
	unsigned long done = 0;

	while (done < nr) {
		block = NULL;
		if (nr - done < EXMEM_BLOCK_PAGES && !guest)
			block = find_block(&exmem_pool.partial);
		if (!block)
			block = find_block(&exmem_pool.idle);
		if (!block)
			break;
		done += block_use(block, pages + done, nr - done, guest);
	}
	return done;
}

/* From new blocks, all of them out of the TLBs by one flush. */
static unsigned long use_new(struct page **pages, unsigned long nr, bool guest)
{
	unsigned long need = DIV_ROUND_UP(nr, EXMEM_BLOCK_PAGES);
	struct exmem_block *block, *next;
	struct exmem_flush flush = {};
	unsigned long done = 0;
	LIST_HEAD(refused);
	LIST_HEAD(blocks);

	while (need-- && !fatal_signal_pending(current)) {
		block = block_take(&flush, &refused);
		if (!block)
			break;
		list_add_tail(&block->list, &blocks);
		cond_resched();
	}
	exmem_direct_map_flush(&flush);
	refused_free(&refused, EXMEM_BLOCK_ORDER);

	mutex_lock(&exmem_pool.lock);
	list_for_each_entry_safe(block, next, &blocks, list) {
		exmem_count(EXMEM_BLOCKS_IDLE, 1);
		done += block_use(block, pages + done, nr - done, guest);
	}
	mutex_unlock(&exmem_pool.lock);
	return done;
}

static unsigned long use_singles(struct page **pages, unsigned long nr)
{
	struct exmem_flush flush = {};
	unsigned long done = 0;
	LIST_HEAD(refused);

	while (done < nr && !fatal_signal_pending(current)) {
		pages[done] = single_take(&flush, &refused);
		if (!pages[done])
			break;
		done++;
		cond_resched();
	}
	exmem_direct_map_flush(&flush);
	refused_free(&refused, 0);
	return done;
}

static int pool_alloc(struct page **pages, unsigned long nr, bool huge, bool guest)
{
	unsigned long done;
	bool frozen;

	mutex_lock(&exmem_pool.lock);
	frozen = exmem_pool.frozen;
	done = frozen ? 0 : use_present(pages, nr, guest);
	/* Counted here, that exmem_pool_freeze() sees those who got past it. */
	if (!frozen)
		exmem_count(EXMEM_PAGES_IN_USE, nr);
	mutex_unlock(&exmem_pool.lock);
	if (frozen)
		return -ENOMEM;

	if (done < nr)
		done += use_new(pages + done, nr - done, guest);
	if (done < nr && !huge)
		done += use_singles(pages + done, nr - done);
	if (done == nr)
		return 0;

	exmem_count(EXMEM_PAGES_IN_USE, -(long)(nr - done));
	exmem_pool_free(pages, done);
	return fatal_signal_pending(current) ? -EINTR : -ENOMEM;
}

/**
 * exmem_pool_alloc() - get zeroed pages that are out of the direct map
 * @pages: filled in
 * @nr: how many
 * @huge: from 2 MiB blocks or not at all
 *
 * Return: 0, -ENOMEM if there is no memory, or none within the limits, or
 * hibernation or reboot is under way, or -EINTR if the caller is being killed.
 */
int exmem_pool_alloc(struct page **pages, unsigned long nr, bool huge)
{
	return pool_alloc(pages, nr, huge, false);
}

/* Pages of a block follow one another. */
static bool is_first_of_block(struct page **pages, unsigned long i)
{
	return !i || block_of(pages[i - 1]) != block_of(pages[i]);
}

/*
 * An entry that cannot be changed leads to the decoy for ever: then the page
 * cannot be put back either.
 */
static void undecoy_all(struct page **pages, unsigned long nr, struct page *decoy)
{
	struct exmem_flush flush = {};
	struct exmem_block *block;
	unsigned long i;
	int err = 0;

	for (i = 0; i < nr; i++) {
		block = block_of(pages[i]);
		if (!block)
			err = exmem_direct_map_undecoy_page(pages[i], &flush) ?: err;
		else if (is_first_of_block(pages, i))
			err = exmem_direct_map_undecoy_block(block->page,
							     &block->direct_map,
							     &flush) ?: err;
		cond_resched();
	}
	exmem_direct_map_flush(&flush);
	if (!err)
		__free_page(decoy);
}

static int decoy_all(struct page **pages, unsigned long nr, struct page *decoy)
{
	struct exmem_flush nothing = {};	/* no entry was present */
	struct exmem_block *block;
	unsigned long i;
	int err = 0;

	for (i = 0; i < nr && !err; i++) {
		block = block_of(pages[i]);
		if (!block)
			err = exmem_direct_map_decoy_page(pages[i], decoy, &nothing);
		else if (is_first_of_block(pages, i))
			err = exmem_direct_map_decoy_block(block->page,
							   &block->direct_map,
							   decoy);
		cond_resched();
	}
	return err;
}

/**
 * exmem_pool_alloc_guest() - get zeroed pages that KVM takes
 * @pages: filled in
 * @nr: how many
 * @huge: from 2 MiB blocks or not at all
 * @decoy: where their direct-map entries lead; belongs to them, or is freed if
 *	this fails
 *
 * Each page has one reference, and its number in @pages as its index.
 *
 * Return: as for exmem_pool_alloc().
 */
int exmem_pool_alloc_guest(struct page **pages, unsigned long nr, bool huge,
			   struct page *decoy)
{
	unsigned long i;
	int err;

	err = pool_alloc(pages, nr, huge, true);
	if (err) {
		__free_page(decoy);
		return err;
	}
	if (decoy_all(pages, nr, decoy)) {
		undecoy_all(pages, nr, decoy);
		exmem_pool_free(pages, nr);
		return -ENOMEM;
	}
	for (i = 0; i < nr; i++) {
		pages[i]->index = i;
		page_ref_unfreeze(pages[i], 1);
		cond_resched();
	}
	return 0;
}

/**
 * exmem_pool_wipe() - zero pages
 * @pages: pages from exmem_pool_alloc()
 * @nr: how many
 */
void exmem_pool_wipe(struct page **pages, unsigned long nr)
{
	unsigned long i;

	for (i = 0; i < nr; i++) {
		/* To touch a page with a memory error is a machine check. */
		if (!PageHWPoison(pages[i]))
			exmem_window_clear(pages[i]);
		cond_resched();
	}
}

/**
 * exmem_pool_free() - wipe pages and give them back
 * @pages: pages from exmem_pool_alloc() that nobody can reach any more
 * @nr: how many
 */
void exmem_pool_free(struct page **pages, unsigned long nr)
{
	struct exmem_block *block;
	LIST_HEAD(singles);
	LIST_HEAD(blocks);
	struct page *page, *next;
	unsigned long i;

	exmem_pool_wipe(pages, nr);

	mutex_lock(&exmem_pool.lock);
	for (i = 0; i < nr; i++) {
		block = block_of(pages[i]);
		if (block)
			block_unuse(block, pages[i]);
		else
			list_add(&pages[i]->lru, &singles);
		cond_resched();
	}
	trim_idle(exmem_keep_blocks, &blocks);
	exmem_count(EXMEM_PAGES_IN_USE, -(long)nr);
	mutex_unlock(&exmem_pool.lock);

	blocks_return(&blocks);
	list_for_each_entry_safe(page, next, &singles, lru) {
		list_del(&page->lru);
		single_return(page);
	}
}

/* KVM refers to a page while it maps it, and to some while a guest runs. */
static bool freeze_references(struct page **pages, unsigned long nr)
{
	unsigned long i;

	for (i = 0; i < nr; i++) {
		if (!page_ref_freeze(pages[i], 1))
			goto unfreeze;
		cond_resched();
	}
	return true;

unfreeze:
	while (i--) {
		page_ref_unfreeze(pages[i], 1);
		cond_resched();
	}
	return false;
}

/**
 * exmem_pool_free_guest() - wipe pages of a guest and give them back
 * @pages: pages from exmem_pool_alloc_guest() that nobody can map any more
 * @nr: how many
 * @decoy: theirs, which is freed as well
 *
 * Return: false if somebody still has a reference to one; nothing has changed.
 */
bool exmem_pool_free_guest(struct page **pages, unsigned long nr,
			   struct page *decoy)
{
	unsigned long i;

	if (!freeze_references(pages, nr))
		return false;
	for (i = 0; i < nr; i++) {
		/* KVM's notes, for reclaim; the allocator would complain. */
		ClearPageReferenced(pages[i]);
		ClearPageActive(pages[i]);
		ClearPageDirty(pages[i]);
		cond_resched();
	}
	undecoy_all(pages, nr, decoy);
	exmem_pool_free(pages, nr);
	return true;
}

/**
 * exmem_pool_freeze() - allow or refuse to take pages
 * @freeze: true if hibernation is about to write all memory to disk
 *
 * Return: 0, or -EBUSY if objects hold pages, which must never be written.
 */
int exmem_pool_freeze(bool freeze)
{
	LIST_HEAD(blocks);
	int err = 0;

	mutex_lock(&exmem_pool.lock);
	if (freeze && atomic_long_read(&exmem_counters[EXMEM_PAGES_IN_USE]))
		err = -EBUSY;
	else
		exmem_pool.frozen = freeze;
	if (exmem_pool.frozen)
		trim_idle(0, &blocks);
	mutex_unlock(&exmem_pool.lock);
	blocks_return(&blocks);
	return err;
}

/**
 * exmem_pool_close() - hand out no page any more
 *
 * For reboot and kexec: whatever is given up from now on stays given up.
 */
void exmem_pool_close(void)
{
	mutex_lock(&exmem_pool.lock);
	exmem_pool.frozen = true;
	mutex_unlock(&exmem_pool.lock);
}

/**
 * exmem_pool_exit() - give everything back to the system
 *
 * What is quarantined stays out of use until the next boot.
 */
void exmem_pool_exit(void)
{
	struct exmem_block *block, *next;

	release_idle(0);
	list_splice(&exmem_pool.full, &exmem_pool.partial);
	list_for_each_entry_safe(block, next, &exmem_pool.partial, list) {
		pr_warn("a 2 MiB block has pages with memory errors and is lost\n");
		kfree(block);
	}
}
