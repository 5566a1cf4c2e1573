/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the kernel does not export, and memory cannot leave the direct map, or
 * files be mirrored, without. exmem_symbols_resolve() finds all of it or the module does not load.
 */
#ifndef _EXMEM_COMPAT_SYMBOLS_H
#define _EXMEM_COMPAT_SYMBOLS_H

#include <linux/mm_types.h>
#include <linux/seq_file.h>
#include <linux/spinlock.h>

int exmem_symbols_resolve(void);
ssize_t exmem_symbols_show(char *buf);

/* Remove one page from, or return it to, the direct map; no TLB flush. */
int exmem_set_direct_map_invalid(struct page *page);
int exmem_set_direct_map_default(struct page *page);
/* Mark pages not present in the direct map, with a TLB flush. */
int exmem_set_memory_np(unsigned long addr, int numpages);
void exmem_flush_tlb_kernel_range(unsigned long start, unsigned long end);

/* An address space that belongs to no process; with mmput(). */
struct mm_struct *exmem_mm_alloc(void);

/*
 * Keep everybody else from changing the kernel's page tables. Nothing may be
 * allocated or waited for in between.
 */
void exmem_kernel_page_tables_lock(void);
void exmem_kernel_page_tables_unlock(void);

#endif /* _EXMEM_COMPAT_SYMBOLS_H */
