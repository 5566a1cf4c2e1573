/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between kernels. No file outside compat/ knows about versions;
 * compat/Kbuild says which kernels there are.
 */
#ifndef _EXMEM_COMPAT_H
#define _EXMEM_COMPAT_H

#include <linux/fs.h>
#include <linux/memcontrol.h>
#include <linux/mm.h>
#include <linux/page_table_check.h>
#include <linux/sched.h>

#ifndef CONFIG_X86_64
#error "exclusive_memory supports x86-64 kernels only"
#endif

/* 6.3 turned the user namespace of a mount into an idmap. */
#define exmem_idmap user_namespace

static inline void exmem_vm_flags_set(struct vm_area_struct *vma,
				      unsigned long flags)
{
	vma->vm_flags |= flags;
}

static inline void exmem_vm_flags_clear(struct vm_area_struct *vma,
					unsigned long flags)
{
	vma->vm_flags &= ~flags;
}

/*
 * What an area is whose pages nobody may take a reference to. get_user_pages()
 * and hmm refuse VM_PFNMAP with EFAULT (for a special entry of VM_MIXEDMAP it
 * is EEXIST), VFIO follows it to reserved pages only, and KVM up to 6.12 takes
 * no page whose reference count is 0. A kernel whose KVM does take it must not
 * have VM_PFNMAP here.
 */
#define EXMEM_VM_UNPINNABLE VM_PFNMAP

/*
 * Map a page by an entry that nobody takes a reference through. A writable one
 * is dirty from the start: nobody asks, and the CPU need not set it at the first
 * store.
 */
static inline vm_fault_t exmem_insert_pfn(struct vm_area_struct *vma,
					  unsigned long addr, unsigned long pfn,
					  pgprot_t prot, bool writable)
{
	if (writable)
		prot = __pgprot(pgprot_val(prot) | _PAGE_DIRTY);
	return vmf_insert_pfn_prot(vma, addr, pfn, prot);
}

static inline vm_fault_t exmem_insert_page(struct vm_area_struct *vma,
					   unsigned long addr, struct page *page)
{
	return exmem_insert_pfn(vma, addr, page_to_pfn(page), vma->vm_page_prot,
				vma->vm_flags & VM_WRITE);
}

/*
 * Map a page by an entry that the processor takes for absent and KVM for present:
 * nobody else has the page here. The area must be PROT_NONE as well.
 */
static inline vm_fault_t exmem_insert_hidden_pfn(struct vm_area_struct *vma,
						 unsigned long addr,
						 unsigned long pfn, bool writable)
{
	pgprot_t prot = __pgprot(_PAGE_PROTNONE | _PAGE_ACCESSED | _PAGE_DIRTY |
				 (writable ? _PAGE_RW : 0) |
				 (_PAGE_NX & __supported_pte_mask));

	return vmf_insert_pfn_prot(vma, addr, pfn, prot);
}

/* Needs the mmap lock, or an area that nobody else can find any more. */
static inline void exmem_zap_range(struct vm_area_struct *vma,
				   unsigned long addr, unsigned long len)
{
	zap_vma_ptes(vma, addr, len);
}

static inline void exmem_zap_vma(struct vm_area_struct *vma)
{
	exmem_zap_range(vma, vma->vm_start, vma->vm_end - vma->vm_start);
}

/*
 * Has mmap(2) made the area known to its address space, so that
 * unmap_mapping_range() finds it? Its node of the interval tree is zero until
 * then, and never again.
 */
static inline bool exmem_vma_linked(struct vm_area_struct *vma)
{
	return READ_ONCE(vma->shared.rb.__rb_parent_color);
}

static inline unsigned long
exmem_default_unmapped_area(struct file *file, unsigned long addr,
			    unsigned long len, unsigned long pgoff,
			    unsigned long flags)
{
	return current->mm->get_unmapped_area(file, addr, len, pgoff, flags);
}

/*
 * Does the kernel watch over anonymous memory being writable in one page table
 * only (page_table_check=on)? It would take a view of it for corruption.
 */
static inline bool exmem_anon_is_watched(void)
{
#ifdef CONFIG_PAGE_TABLE_CHECK
	return !static_branch_likely(&page_table_check_disabled);
#else
	return false;
#endif
}

/* What execve(2) sets up in an address space, as far as mmap(2) needs it. */
static inline void exmem_mm_init_layout(struct mm_struct *mm)
{
	mm->get_unmapped_area = current->mm->get_unmapped_area;
	mm->mmap_base = current->mm->mmap_base;
	mm->task_size = TASK_SIZE_MAX;
}

/* The task must live until RCU readers have seen another one. */
static inline void exmem_mm_set_owner(struct mm_struct *mm,
				      struct task_struct *task)
{
#ifdef CONFIG_MEMCG
	rcu_assign_pointer(mm->owner, task);
#endif
}

/*
 * The memory cgroup that __GFP_ACCOUNT charges, NULL for the root or where
 * kernel memory is not accounted. For comparison only; call under RCU.
 */
static inline struct mem_cgroup *exmem_current_memcg(void)
{
#ifdef CONFIG_MEMCG
	struct mem_cgroup *memcg;

	if (!memcg_kmem_enabled())
		return NULL;
	memcg = mem_cgroup_from_task(current);
	if (memcg && memcg->css.parent)
		return memcg;
#endif
	return NULL;
}

#endif /* _EXMEM_COMPAT_H */
