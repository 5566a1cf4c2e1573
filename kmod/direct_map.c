// SPDX-License-Identifier: GPL-2.0
/*
 * Taking pages out of the kernel's direct map, and putting them back.
 *
 * A whole 2 MiB block changes by one write to the one entry that maps it, in
 * the form that the kernel's own set_memory_np() leaves behind, so that no
 * entry is ever split and everybody who looks finds what he knows. What is not
 * mapped by such an entry goes through the kernel's functions.
 *
 * KVM reaches some pages of its guests by their direct-map address, and would
 * crash on an entry that is not present. Those of guest objects lead to a
 * decoy, a page that means nothing: a block's one entry leads to a table of our
 * own then, with an entry for each page.
 *
 * Nothing here frees a page. A page whose removal or restoration failed is for
 * the caller to keep.
 */
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/pfn.h>
#include <linux/pgtable.h>
#include <linux/sched.h>
#include <asm/set_memory.h>

#include "exmem.h"
#include "compat/symbols.h"

static unsigned long direct_map_address(struct page *page)
{
	return (unsigned long)page_address(page);
}

static void flush_add(struct exmem_flush *flush, struct page *page,
		      unsigned long nr)
{
	unsigned long start = direct_map_address(page);
	unsigned long end = start + nr * PAGE_SIZE;

	if (!flush->end || start < flush->start)
		flush->start = start;
	if (end > flush->end)
		flush->end = end;
}

/**
 * exmem_direct_map_flush() - make removals take effect on every CPU
 * @flush: what was removed; empty afterwards
 *
 * One flush for all, whatever lies between the lowest and the highest address.
 * Until then, no removed page may be given to anybody.
 */
void exmem_direct_map_flush(struct exmem_flush *flush)
{
	if (!flush->end)
		return;
	exmem_flush_tlb_kernel_range(flush->start, flush->end);
	flush->end = 0;
	exmem_count(EXMEM_TLB_FLUSHES, 1);
}

/* The second address that the kernel image's mapping gives to a page. */
static unsigned long kernel_image_address(struct page *page)
{
	unsigned long offset = PFN_PHYS(page_to_pfn(page)) - phys_base;

	return offset < KERNEL_IMAGE_SIZE ? __START_KERNEL_map + offset : 0;
}

/**
 * exmem_direct_map_has_alias() - do pages have a second kernel address
 * @page: the first page
 * @nr: how many
 *
 * Memory of the kernel image that was freed after boot stays mapped,
 * writable, where the image was. Removal from the direct map alone would leave
 * such a page readable.
 */
bool exmem_direct_map_has_alias(struct page *page, unsigned long nr)
{
	unsigned long i, addr;
	unsigned int level;
	pte_t *pte;

	for (i = 0; i < nr; i++) {
		addr = kernel_image_address(page + i);
		if (!addr)
			continue;
		pte = lookup_address(addr, &level);
		if (pte && (pte_val(*pte) & _PAGE_PRESENT))
			return true;
	}
	return false;
}

int exmem_direct_map_remove_page(struct page *page, struct exmem_flush *flush)
{
	int err = exmem_set_direct_map_invalid(page);

	/* Even a failure may have split an entry, never half a page. */
	if (!err)
		flush_add(flush, page, 1);
	return err;
}

static bool leads_to(pte_t *pte, unsigned int level, struct page *page)
{
	if (!(pte_val(*pte) & _PAGE_PRESENT))
		return false;
	return level != PG_LEVEL_4K || pte_pfn(*pte) == page_to_pfn(page);
}

int exmem_direct_map_restore_page(struct page *page)
{
	unsigned int level;
	pte_t *pte;
	int err;

	/* The entry was not present: there is nothing to flush. */
	err = exmem_set_direct_map_default(page);
	if (err)
		return err;
	pte = lookup_address(direct_map_address(page), &level);
	return pte && leads_to(pte, level, page) ? 0 : -EIO;
}

static int restore_pages(struct page *page, unsigned long nr)
{
	unsigned long i;
	int err;

	for (i = 0; i < nr; i++) {
		err = exmem_direct_map_restore_page(page + i);
		if (err)
			return err;
	}
	return 0;
}

static int remove_pages(struct page *page, struct exmem_flush *flush)
{
	unsigned long i;
	int err;

	for (i = 0; i < EXMEM_BLOCK_PAGES; i++) {
		err = exmem_direct_map_remove_page(page + i, flush);
		if (err)
			return err;
	}
	return 0;
}

/*
 * What set_memory_np() would leave: the pfn is inverted by pfn_pte(), so that
 * neither CPA nor a speculating CPU (L1TF) takes it for an address.
 */
static pmd_t not_present(pmd_t pmd)
{
	pgprot_t prot = __pgprot(pmd_flags(pmd) &
				 ~(_PAGE_PRESENT | _PAGE_PSE | _PAGE_GLOBAL));

	return __pmd(pte_val(pfn_pte(pmd_pfn(pmd), prot)));
}

static bool maps_block(pmd_t pmd, struct page *page)
{
	return (pmd_val(pmd) & _PAGE_PRESENT) && (pmd_val(pmd) & _PAGE_PSE) &&
	       pmd_pfn(pmd) == page_to_pfn(page);
}

/* Change the 2 MiB entry of a block, if it is there. */
static int remove_pmd(struct page *page, struct exmem_direct_map_entry *entry)
{
	unsigned int level;
	int err = -EAGAIN;
	pmd_t *pmd;

	exmem_kernel_page_tables_lock();
	pmd = (pmd_t *)lookup_address(direct_map_address(page), &level);
	if (pmd && level == PG_LEVEL_2M && maps_block(READ_ONCE(*pmd), page)) {
		entry->pmd = pmd;
		entry->mapped = READ_ONCE(*pmd);
		entry->removed = not_present(entry->mapped);
		/* The CPU may set the dirty bit meanwhile: then try again. */
		if (cmpxchg(&pmd->pmd, entry->mapped.pmd, entry->removed.pmd) ==
		    entry->mapped.pmd)
			err = 0;
	}
	exmem_kernel_page_tables_unlock();
	return err;
}

/* Let the kernel split a 1 GiB entry, and remember the 2 MiB one that results. */
static int remove_from_pud(struct page *page, pud_t pud,
			   struct exmem_direct_map_entry *entry)
{
	unsigned long addr = direct_map_address(page);
	unsigned int level;
	pmd_t *pmd, mapped;
	int err;

	/* Somebody else may have split it: then it is a table by now. */
	if (!(pud_val(pud) & _PAGE_PRESENT) || !(pud_val(pud) & _PAGE_PSE))
		return -EAGAIN;

	err = exmem_set_memory_np(addr, EXMEM_BLOCK_PAGES);
	if (err)
		return err;

	/* An entry that is not as expected is left to be restored page by page. */
	mapped = pfn_pmd(page_to_pfn(page), __pgprot(pud_flags(pud)));
	pmd = (pmd_t *)lookup_address(addr, &level);
	if (pmd && level == PG_LEVEL_2M &&
	    pmd_val(READ_ONCE(*pmd)) == pmd_val(not_present(mapped))) {
		entry->pmd = pmd;
		entry->mapped = mapped;
		entry->removed = not_present(mapped);
	}
	return 0;
}

/**
 * exmem_direct_map_remove_block() - take 2 MiB out of the direct map
 * @page: the first of EXMEM_BLOCK_PAGES pages, aligned to their size
 * @entry: filled in, for exmem_direct_map_restore_block()
 * @flush: what exmem_direct_map_flush() has to flush
 *
 * Return: 0, or an error; then the block may be out in part, and
 * exmem_direct_map_restore_block() must succeed before it is freed.
 */
int exmem_direct_map_remove_block(struct page *page,
				  struct exmem_direct_map_entry *entry,
				  struct exmem_flush *flush)
{
	unsigned long addr = direct_map_address(page);
	unsigned int level;
	int tries;
	pte_t *pte;
	int err;

	memset(entry, 0, sizeof(*entry));
	for (tries = 0; tries < 8; tries++) {
		pte = lookup_address(addr, &level);
		if (!pte)
			return -EFAULT;

		if (level == PG_LEVEL_4K) {
			/* Somebody split it before us; it costs no split. */
			return remove_pages(page, flush);
		}
		if (level == PG_LEVEL_2M)
			err = remove_pmd(page, entry);
		else
			err = remove_from_pud(page, READ_ONCE(*(pud_t *)pte), entry);
		if (!err) {
			flush_add(flush, page, EXMEM_BLOCK_PAGES);
			return 0;
		}
		entry->pmd = NULL;
		if (err != -EAGAIN)
			return err;
	}
	return -EBUSY;
}

/**
 * exmem_direct_map_restore_block() - put 2 MiB back into the direct map
 * @page: the first page of the block
 * @entry: what exmem_direct_map_remove_block() left
 *
 * If somebody split or changed the entry meanwhile (a memory error does), the
 * pages are put back one by one.
 *
 * Return: 0, or an error; then the block must not be freed.
 */
int exmem_direct_map_restore_block(struct page *page,
				   const struct exmem_direct_map_entry *entry)
{
	unsigned int level;
	bool done = false;

	if (entry->pmd) {
		exmem_kernel_page_tables_lock();
		if ((pmd_t *)lookup_address(direct_map_address(page), &level) ==
			    entry->pmd && level == PG_LEVEL_2M)
			done = cmpxchg(&entry->pmd->pmd, entry->removed.pmd,
				       entry->mapped.pmd) == entry->removed.pmd;
		exmem_kernel_page_tables_unlock();
	}
	return done ? 0 : restore_pages(page, EXMEM_BLOCK_PAGES);
}

/*
 * Tables that are in no entry. Whoever walked the page tables without a lock may
 * still look into them: they are used again, and not freed before the module
 * is.
 */
static LIST_HEAD(spare_tables);
static DEFINE_SPINLOCK(spare_tables_lock);

static pte_t *table_get(void)
{
	struct page *page;

	spin_lock(&spare_tables_lock);
	page = list_first_entry_or_null(&spare_tables, struct page, lru);
	if (page)
		list_del(&page->lru);
	spin_unlock(&spare_tables_lock);
	if (!page)
		page = alloc_page(GFP_KERNEL);
	return page ? page_address(page) : NULL;
}

static void table_put(pte_t *table)
{
	struct page *page = virt_to_page(table);

	spin_lock(&spare_tables_lock);
	list_add(&page->lru, &spare_tables);
	spin_unlock(&spare_tables_lock);
}

/* The entry of its own that a page has, leads to @target, or is not present. */
static int set_entry(struct page *page, struct page *target)
{
	/* Without P, the bit of G means PROT_NONE, which counts as present. */
	pgprot_t prot = target ? PAGE_KERNEL :
		__pgprot(pgprot_val(PAGE_KERNEL) & ~(_PAGE_PRESENT | _PAGE_GLOBAL));
	unsigned int level;
	int err = -EBUSY;
	pte_t *pte;

	exmem_kernel_page_tables_lock();
	pte = lookup_address(direct_map_address(page), &level);
	if (pte && level == PG_LEVEL_4K) {
		set_pte(pte, pfn_pte(page_to_pfn(target ?: page), prot));
		err = 0;
	} else if (pte && !target && !(pte_val(*pte) & _PAGE_PRESENT)) {
		err = 0;
	}
	exmem_kernel_page_tables_unlock();
	return err;
}

/**
 * exmem_direct_map_decoy_page() - let a page's address lead to a decoy
 * @page: a page that is out of the direct map, or has a decoy, or is shown
 * @decoy: a page of the caller's
 * @flush: what exmem_direct_map_flush() has to flush
 *
 * Return: 0, or -EBUSY if @page has no entry of its own; nothing has changed.
 */
int exmem_direct_map_decoy_page(struct page *page, struct page *decoy,
				struct exmem_flush *flush)
{
	int err = set_entry(page, decoy);

	if (!err)
		flush_add(flush, page, 1);
	return err;
}

/**
 * exmem_direct_map_show_page() - let a page's address lead to the page again
 * @page: a page with a decoy
 * @flush: what exmem_direct_map_flush() has to flush
 *
 * Return: 0, or -EBUSY if @page has no entry of its own; nothing has changed.
 */
int exmem_direct_map_show_page(struct page *page, struct exmem_flush *flush)
{
	return exmem_direct_map_decoy_page(page, page, flush);
}

/**
 * exmem_direct_map_undecoy_page() - a page is out of the direct map, no more
 * @page: a page with a decoy, or shown
 * @flush: what exmem_direct_map_flush() has to flush, before the page goes back
 *
 * Return: 0, or -EBUSY: then the page must not be freed.
 */
int exmem_direct_map_undecoy_page(struct page *page, struct exmem_flush *flush)
{
	int err = set_entry(page, NULL);

	if (!err)
		flush_add(flush, page, 1);
	return err;
}

static bool replace_pmd(struct exmem_direct_map_entry *entry, pmd_t old, pmd_t new)
{
	bool replaced;

	exmem_kernel_page_tables_lock();
	replaced = cmpxchg(&entry->pmd->pmd, old.pmd, new.pmd) == old.pmd;
	exmem_kernel_page_tables_unlock();
	return replaced;
}

static pmd_t table_pmd(pte_t *table)
{
	return __pmd(__pa(table) | _KERNPG_TABLE);
}

static int decoy_pages(struct page *page, struct page *decoy)
{
	unsigned long i;
	int err;

	for (i = 0; i < EXMEM_BLOCK_PAGES; i++) {
		err = set_entry(page + i, decoy);
		if (err)
			return err;
	}
	return 0;
}

/**
 * exmem_direct_map_decoy_block() - let 2 MiB of addresses lead to a decoy
 * @page: the first page of a block that is out of the direct map
 * @entry: what exmem_direct_map_remove_block() left
 * @decoy: a page of the caller's
 *
 * Each page of the block has an entry of its own from now on. There is nothing
 * to flush: none was present.
 *
 * Return: 0, or an error; then exmem_direct_map_undecoy_block() must succeed
 * before the block is used otherwise.
 */
int exmem_direct_map_decoy_block(struct page *page,
				 struct exmem_direct_map_entry *entry,
				 struct page *decoy)
{
	pte_t *table;
	int i;

	if (!entry->pmd)
		return decoy_pages(page, decoy);

	table = table_get();
	if (!table)
		return -ENOMEM;
	for (i = 0; i < EXMEM_BLOCK_PAGES; i++)
		table[i] = pfn_pte(page_to_pfn(decoy), PAGE_KERNEL);
	if (!replace_pmd(entry, entry->removed, table_pmd(table))) {
		/* Somebody split it (a memory error does). */
		table_put(table);
		return decoy_pages(page, decoy);
	}
	entry->table = table;
	return 0;
}

/**
 * exmem_direct_map_undecoy_block() - a block is out of the direct map, no more
 * @page: the first page
 * @entry: as exmem_direct_map_decoy_block() left it
 * @flush: what exmem_direct_map_flush() has to flush, before the block goes back
 *
 * Return: 0, or -EBUSY: then the block must not be freed.
 */
int exmem_direct_map_undecoy_block(struct page *page,
				   struct exmem_direct_map_entry *entry,
				   struct exmem_flush *flush)
{
	pte_t *table = entry->table;
	int err = 0;

	if (table && replace_pmd(entry, table_pmd(table), entry->removed)) {
		table_put(table);
		entry->table = NULL;
	} else {
		/* A table that somebody changed the entry of stays where it is. */
		err = decoy_pages(page, NULL);
	}
	flush_add(flush, page, EXMEM_BLOCK_PAGES);
	return err;
}

/* Free the tables; nobody walks through them any more. */
void exmem_direct_map_exit(void)
{
	struct page *page, *next;

	list_for_each_entry_safe(page, next, &spare_tables, lru)
		__free_page(page);
}

/**
 * exmem_direct_map_lost() - is no page in the direct map
 * @pages: pages
 * @nr: how many
 *
 * Reads the page tables, not our records.
 */
bool exmem_direct_map_lost(struct page **pages, unsigned long nr)
{
	unsigned long i, addr, covered = 0;
	unsigned int level;
	pte_t *pte;

	for (i = 0; i < nr; i++) {
		addr = direct_map_address(pages[i]);
		/* One 2 MiB entry answers for all pages that it covers. */
		if (covered && (addr & PMD_MASK) == covered)
			continue;
		cond_resched();
		pte = lookup_address(addr, &level);
		if (pte && leads_to(pte, level, pages[i]))
			return false;
		covered = pte && level == PG_LEVEL_2M ? addr & PMD_MASK : 0;
	}
	return true;
}
