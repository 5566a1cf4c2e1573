// SPDX-License-Identifier: GPL-2.0
/*
 * What an access to a view finds.
 *
 * Entries are special, so that nobody takes a reference through them: what has
 * been zapped is gone.
 */
#include <linux/file.h>
#include <linux/mmap_lock.h>

#include "view.h"
#include "compat/compat.h"

static struct exmem_view *view_of(struct vm_area_struct *vma)
{
	return vma->vm_private_data;
}

/* What the mapping and the view fd leave of a range's flags. */
static u32 allowed_by(struct vm_area_struct *vma, u32 flags)
{
	u32 allowed = exmem_view_cap(vma->vm_file);

	/* The processor cannot give one of the other two without reading. */
	if (!(vma->vm_flags & (VM_READ | VM_WRITE | VM_EXEC)))
		return 0;
	if (!(vma->vm_flags & VM_WRITE))
		allowed &= ~MEMVIEW_MAP_WRITE;
	if (!(vma->vm_flags & VM_EXEC))
		allowed &= ~MEMVIEW_MAP_EXEC;
	allowed &= flags;
	return allowed & MEMVIEW_MAP_READ ? allowed : 0;
}

static u32 access_of(struct vm_fault *vmf)
{
	if (vmf->flags & FAULT_FLAG_INSTRUCTION)
		return MEMVIEW_MAP_EXEC;
	return vmf->flags & FAULT_FLAG_WRITE ? MEMVIEW_MAP_WRITE : MEMVIEW_MAP_READ;
}

static pgprot_t protection(struct vm_area_struct *vma, u32 allowed)
{
	unsigned long flags = vma->vm_flags | VM_READ | VM_SHARED;

	if (!(allowed & MEMVIEW_MAP_WRITE))
		flags &= ~VM_WRITE;
	if (!(allowed & MEMVIEW_MAP_EXEC))
		flags &= ~VM_EXEC;
	return vm_get_page_prot(flags);
}

/*
 * One window of a range into the page table of a viewer. Only the page that is
 * wanted is worth an error.
 */
static vm_fault_t insert_window(struct exmem_view_range *range,
				struct vm_area_struct *vma, pgoff_t first,
				pgoff_t last, pgoff_t wanted, u32 allowed,
				u32 access, bool *huge)
{
	struct exmem_view_source *source = range->source;
	unsigned long found[EXMEM_VIEW_WINDOW] = {};
	unsigned long delta = range->offset - range->start;
	vm_fault_t ret, wanted_ret = VM_FAULT_NOPAGE;
	pgoff_t pgoff;

	ret = source->ops->find(source, first + delta, last + delta,
				wanted + delta, access, found);
	if (ret)
		return ret;

	for (pgoff = first; pgoff <= last; pgoff++) {
		unsigned long entry = found[pgoff - first];
		u32 given = allowed;

		if (!entry)
			continue;
		if (!(entry & EXMEM_FOUND_WRITABLE))
			given &= ~MEMVIEW_MAP_WRITE;
		if (!(entry & EXMEM_FOUND_EXEC))
			given &= ~MEMVIEW_MAP_EXEC;
		ret = exmem_insert_pfn(vma, vma->vm_start +
				       ((pgoff - vma->vm_pgoff) << PAGE_SHIFT),
				       entry >> EXMEM_FOUND_SHIFT,
				       protection(vma, given),
				       given & MEMVIEW_MAP_WRITE);
		if (pgoff == wanted) {
			wanted_ret = ret;
			*huge = entry & EXMEM_FOUND_HUGE;
		}
		if (ret & VM_FAULT_ERROR)
			break;
	}
	return wanted_ret;
}

/* The window, clipped to the range and to the mapping. */
static vm_fault_t insert_around(struct exmem_view_range *range,
				struct vm_fault *vmf, u32 allowed)
{
	struct vm_area_struct *vma = vmf->vma;
	pgoff_t wanted = vmf->pgoff;
	pgoff_t lowest = max(range->start, vma->vm_pgoff);
	pgoff_t highest = min(range->end, vma->vm_pgoff + vma_pages(vma)) - 1;
	pgoff_t first = max(lowest, round_down(wanted, EXMEM_VIEW_WINDOW));
	pgoff_t last = min(highest, round_down(wanted, EXMEM_VIEW_WINDOW) +
				    EXMEM_VIEW_WINDOW - 1);
	unsigned long delta = range->offset - range->start;
	bool huge = false;
	pgoff_t at, end;
	vm_fault_t ret;

	ret = insert_window(range, vma, first, last, wanted, allowed,
			    access_of(vmf), &huge);
	if (!huge || ret != VM_FAULT_NOPAGE)
		return ret;

	/* A large page of the source is mapped as a whole. */
	at = round_down(wanted + delta, EXMEM_BLOCK_PAGES) - delta;
	end = min(highest, at + EXMEM_BLOCK_PAGES - 1);
	if (at > wanted || at < lowest)
		at = lowest;
	for (; at <= end; at = last + 1) {
		last = min(end, at + EXMEM_VIEW_WINDOW - 1);
		if (wanted >= at && wanted <= last)
			continue;
		insert_window(range, vma, at, last, at, allowed,
			      MEMVIEW_MAP_READ, &huge);
	}
	return ret;
}

/* Under the view's lock. VM_FAULT_RETRY: the source has to be asked. */
static vm_fault_t insert_locked(struct exmem_view *view, struct vm_fault *vmf,
				struct exmem_view_range **rangep)
{
	struct exmem_view_range *range = exmem_view_range_after(view, vmf->pgoff);
	u32 allowed;

	if (!range || range->start > vmf->pgoff)
		return VM_FAULT_SIGBUS;
	allowed = allowed_by(vmf->vma, range->flags);
	if (!(allowed & access_of(vmf)))
		return VM_FAULT_SIGSEGV;
	*rangep = range;
	return insert_around(range, vmf, allowed);
}

/*
 * Ask the source for a page. The viewer's mmap lock is not held while the source
 * reads a disk, or waits for the mmap lock of another process that may be
 * looking at a view of this one: the fault is begun anew. An answer other than a
 * page can be given only with the lock held: what can be told at once is, and
 * what was found out meanwhile is, the next time.
 */
static vm_fault_t resolve(struct exmem_view_source *source, pgoff_t index,
			  struct vm_fault *vmf)
{
	const bool write = access_of(vmf) == MEMVIEW_MAP_WRITE;
	struct vm_area_struct *vma = vmf->vma;
	struct mm_struct *mm = vma->vm_mm;
	vm_fault_t ret;

	/* KVM up to 6.12 hears no error if the lock was released before. */
	ret = source->ops->refuse(source, index, write, mm,
				  vmf->flags & FAULT_FLAG_INTERRUPTIBLE);
	if (ret)
		return ret;
	if (!(vmf->flags & FAULT_FLAG_ALLOW_RETRY)) {
		source->ops->resolve(source, index, write, mm);
		return VM_FAULT_NOPAGE;
	}
	if (vmf->flags & FAULT_FLAG_RETRY_NOWAIT)
		return VM_FAULT_RETRY;

	mmap_read_unlock(mm);
	source->ops->resolve(source, index, write, NULL);
	return VM_FAULT_RETRY;
}

static vm_fault_t exmem_view_fault(struct vm_fault *vmf)
{
	struct exmem_view *view = view_of(vmf->vma);
	struct exmem_view_source *source;
	struct exmem_view_range *range;
	struct file *file;
	vm_fault_t ret;
	pgoff_t index;

	down_read(&view->lock);
	ret = insert_locked(view, vmf, &range);
	if (ret != VM_FAULT_RETRY) {
		up_read(&view->lock);
		return ret;
	}
	source = range->source;
	index = range->offset + (vmf->pgoff - range->start);
	atomic_inc(&source->users);
	up_read(&view->lock);

	/* It holds the view, when the area may be gone. */
	file = get_file(vmf->vma->vm_file);
	ret = resolve(source, index, vmf);
	exmem_view_source_put(source);
	fput(file);
	return ret;
}

/*
 * A store to a page that was put in for reading. What is there goes, and the
 * access is begun anew: who finds a writable page is found out in one place.
 */
static vm_fault_t exmem_view_pfn_mkwrite(struct vm_fault *vmf)
{
	exmem_zap_range(vmf->vma, vmf->address & PAGE_MASK, PAGE_SIZE);
	return VM_FAULT_NOPAGE;
}

/*
 * The kernel would give the entries that are there the new protection of the
 * area, which the range may not allow. They are put in anew.
 */
static int exmem_view_mprotect(struct vm_area_struct *vma, unsigned long start,
			       unsigned long end, unsigned long flags)
{
	exmem_zap_range(vma, start, end - start);
	return 0;
}

const struct vm_operations_struct exmem_view_vm_ops = {
	.fault = exmem_view_fault,
	.pfn_mkwrite = exmem_view_pfn_mkwrite,
	.mprotect = exmem_view_mprotect,
};
