// SPDX-License-Identifier: GPL-2.0
/*
 * Taking pages out of the kernel's direct map, and putting them back.
 *
 * A whole 2 MiB block changes by one write to the one entry that maps it, in
 * the form that the kernel's own set_memory_np() leaves behind, so that no
 * entry is ever split and everybody who looks finds what he knows. What is not
 * mapped by such an entry goes through the kernel's functions.
 *
 * Nothing here frees a page. A page whose removal or restoration failed is for
 * the caller to keep.
 */
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

int exmem_direct_map_restore_page(struct page *page)
{
	/* The entry was not present: there is nothing to flush. */
	return exmem_set_direct_map_default(page);
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
		if (pte && (pte_val(*pte) & _PAGE_PRESENT))
			return false;
		covered = pte && level == PG_LEVEL_2M ? addr & PMD_MASK : 0;
	}
	return true;
}
