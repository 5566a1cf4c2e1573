// SPDX-License-Identifier: GPL-2.0
/*
 * Wiping and filling pages that have no kernel address.
 *
 * Each CPU has one page of kernel address space whose entry is empty, except
 * while that CPU uses a page through it with preemption off. The address is
 * used on its own CPU and under one address space at a time only, hence a
 * local INVLPG is all the flushing it takes. A page that is never mapped lies
 * between two windows, lest one CPU's prefetcher looks into the next one's.
 */
#include <linux/cpumask.h>
#include <linux/mm.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <asm/set_memory.h>

#include "exmem.h"
#include "compat/symbols.h"

#define WINDOW_STRIDE	(2 * PAGE_SIZE)

static DEFINE_PER_CPU(pte_t *, window_pte);
static void *windows;

static unsigned long window_address(unsigned int cpu)
{
	return (unsigned long)windows + cpu * WINDOW_STRIDE;
}

static void *window_open(struct page *page)
{
	/* Not global: INVLPG below then needs to forget it for this CPU only. */
	pgprot_t prot = __pgprot(pgprot_val(PAGE_KERNEL) & ~_PAGE_GLOBAL);
	unsigned long addr = window_address(get_cpu());

	set_pte(this_cpu_read(window_pte), pfn_pte(page_to_pfn(page), prot));
	return (void *)addr;
}

static void window_close(void *addr)
{
	set_pte(this_cpu_read(window_pte), __pte(0));
	asm volatile("invlpg (%0)" : : "r" (addr) : "memory");
	put_cpu();
}

/**
 * exmem_window_clear() - zero a page that is not in the direct map
 * @page: the page
 */
void exmem_window_clear(struct page *page)
{
	void *addr = window_open(page);

	clear_page(addr);
	window_close(addr);
}

/**
 * exmem_window_write() - write into a page that is not in the direct map
 * @page: the page
 * @offset: byte of the page
 * @from: the bytes
 * @len: how many, within the page
 */
void exmem_window_write(struct page *page, unsigned int offset, const void *from,
			unsigned int len)
{
	void *addr = window_open(page);

	memcpy(addr + offset, from, len);
	window_close(addr);
}

/**
 * exmem_window_init() - reserve the windows of all CPUs
 *
 * Return: 0 or -ENOMEM.
 */
int exmem_window_init(void)
{
	unsigned long nr = nr_cpu_ids * WINDOW_STRIDE / PAGE_SIZE;
	struct page **pages;
	unsigned int level;
	struct page *page;
	unsigned int cpu;
	int err = -ENOMEM;
	unsigned long i;
	pte_t *pte;

	pages = kcalloc(nr, sizeof(*pages), GFP_KERNEL);
	if (!pages)
		return -ENOMEM;
	page = alloc_page(GFP_KERNEL);
	if (!page)
		goto free_pages;

	/*
	 * vmap() builds the page tables; what it maps goes away at once. As
	 * memory of a device, readers of /proc/kcore leave it alone: they would
	 * look for the page in the direct map.
	 */
	for (i = 0; i < nr; i++)
		pages[i] = page;
	windows = vmap(pages, nr, VM_MAP | VM_IOREMAP, PAGE_KERNEL);
	if (!windows)
		goto free_page;

	for (i = 0; i < nr; i++) {
		pte = lookup_address((unsigned long)windows + i * PAGE_SIZE, &level);
		set_pte(pte, __pte(0));
	}
	for_each_possible_cpu(cpu)
		per_cpu(window_pte, cpu) = lookup_address(window_address(cpu), &level);
	exmem_flush_tlb_kernel_range((unsigned long)windows,
				     (unsigned long)windows + nr * PAGE_SIZE);
	err = 0;

free_page:
	__free_page(page);
free_pages:
	kfree(pages);
	return err;
}

void exmem_window_exit(void)
{
	vunmap(windows);
}
