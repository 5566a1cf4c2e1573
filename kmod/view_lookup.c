// SPDX-License-Identifier: GPL-2.0
/*
 * Mirrored pages are looked up in the page table of their source.
 */
#include <linux/backing-dev.h>
#include <linux/hmm.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>

#include "view_mirror.h"

/* How long, in jiffies, a failure that could not be told is remembered. */
#define FAILURE_LASTS	2

/* How long to wait for the worker with a viewer's lock held. */
#define WORKER_PATIENCE	msecs_to_jiffies(20)

static unsigned long address_of(struct exmem_mirror *mirror, pgoff_t index)
{
	return mirror->addr + ((index - mirror->first) << PAGE_SHIFT);
}

static bool is_past_end(struct exmem_view_source *source, pgoff_t index)
{
	loff_t size;

	if (!source->file)
		return false;
	size = i_size_read(source->file->f_mapping->host);
	return index >= DIV_ROUND_UP_ULL(size, PAGE_SIZE);
}

/* What a page is from a source's point of view, whatever the page table says. */
static unsigned long bits_of(struct exmem_view_source *source,
			     struct vm_area_struct *vma)
{
	unsigned long bits = EXMEM_FOUND_PAGE;

	/* What lies on a noexec mount is no code. Of files, ranges know that. */
	if (source->file || vma->vm_flags & VM_EXEC)
		bits |= EXMEM_FOUND_EXEC;
	if (vma->vm_file && mapping_can_writeback(vma->vm_file->f_mapping))
		bits |= EXMEM_FOUND_WRITEBACK;
	return bits;
}

/* What the page table says of an address, for exmem_view_source.pages. */
static unsigned long found_of(unsigned long hmm_pfn, unsigned long bits)
{
	unsigned long found;

	if ((hmm_pfn & (HMM_PFN_VALID | HMM_PFN_ERROR)) != HMM_PFN_VALID)
		return 0;
	found = (hmm_pfn & ~HMM_PFN_FLAGS) << EXMEM_FOUND_SHIFT | bits;
	if (hmm_pfn & HMM_PFN_WRITE)
		found |= EXMEM_FOUND_WRITABLE;
	if (hmm_pfn_to_map_order(hmm_pfn) >= EXMEM_BLOCK_ORDER)
		found |= EXMEM_FOUND_HUGE;
	return found;
}

/**
 * struct look - a look at a page table
 * @range: for hmm
 * @pfns: what it says
 * @first: page of the source with which it begins
 * @bits: of all pages that were looked at
 */
struct look {
	struct hmm_range range;
	unsigned long *pfns;
	pgoff_t first;
	unsigned long bits;
};

/*
 * Remember what was found, unless the page table has changed since (-EBUSY) or
 * the worker is still busy with the last change (-EAGAIN).
 */
static int remember(struct exmem_mirror *mirror, struct look *look, pgoff_t wanted)
{
	unsigned long nr = (look->range.end - look->range.start) >> PAGE_SHIFT;
	XA_STATE(xas, &mirror->source.pages, look->first);
	unsigned long i, found;
	void *old;
	int err;

	do {
		err = 0;
		xas_lock(&xas);
		if (mmu_interval_read_retry(&mirror->notifier,
					    look->range.notifier_seq)) {
			xas_unlock(&xas);
			return -EBUSY;
		}
		for (i = 0; i < nr; i++) {
			found = found_of(look->pfns[i], look->bits);
			if (!found)
				continue;
			xas_set(&xas, look->first + i);
			old = xas_load(&xas);
			if (old && exmem_mirror_is_dead(&xas)) {
				if (look->first + i == wanted)
					err = -EAGAIN;
				continue;
			}
			/* It cannot have lost the permission unnoticed. */
			if (old && entry_is_writable(old))
				continue;
			xas_store(&xas, xa_mk_value(found));
			if (xas_error(&xas))
				break;
		}
		xas_unlock(&xas);
	} while (xas_nomem(&xas, GFP_KERNEL_ACCOUNT));
	return xas_error(&xas) ?: err;
}

/* The window of some size around a page, within its area. */
static int walk(struct exmem_mirror *mirror, pgoff_t wanted, unsigned long size,
		struct look *look)
{
	unsigned long addr = address_of(mirror, wanted);
	unsigned long start = mirror->addr;
	unsigned long end = start + (mirror->nr << PAGE_SHIFT);
	struct vm_area_struct *vma = vma_lookup(mirror->mm, addr);
	pgoff_t first = round_down(wanted, size);

	if (!vma)
		return -EFAULT;
	start = max(start, vma->vm_start);
	end = min(end, vma->vm_end);
	look->range.start = start;
	if (first > mirror->first)
		look->range.start = max(start, address_of(mirror, first));
	look->range.end = min(end, address_of(mirror, first + size));
	look->first = mirror->first +
		      ((look->range.start - mirror->addr) >> PAGE_SHIFT);
	look->bits = bits_of(&mirror->source, vma);
	/* Nothing is asked for: what is there is told. */
	memset(look->pfns, 0, (look->range.end - look->range.start) >> PAGE_SHIFT <<
			      ilog2(sizeof(*look->pfns)));
	return hmm_range_fault(&look->range);
}

static unsigned long pfn_in(struct look *look, pgoff_t wanted)
{
	return look->pfns[wanted - look->first];
}

/* With the source's mmap lock held. -ENODATA: it is not there, or not for this. */
static int walk_around(struct exmem_mirror *mirror, pgoff_t wanted, bool write,
		       struct look *look)
{
	unsigned long needed = HMM_PFN_VALID | (write ? HMM_PFN_WRITE : 0);
	int err;

	err = walk(mirror, wanted, EXMEM_VIEW_WINDOW, look);
	if (err)
		return err;
	if ((pfn_in(look, wanted) & (needed | HMM_PFN_ERROR)) != needed)
		return -ENODATA;
	if (hmm_pfn_to_map_order(pfn_in(look, wanted)) < EXMEM_BLOCK_ORDER)
		return 0;
	return walk(mirror, wanted, EXMEM_BLOCK_PAGES, look);
}

static int lock_source(struct mm_struct *mm, struct mm_struct *held)
{
	if (mm == held)
		return 0;
	if (held)
		return mmap_read_trylock(mm) ? 0 : -ENOLCK;
	return mmap_read_lock_killable(mm);
}

static void unlock_source(struct mm_struct *mm, struct mm_struct *held)
{
	if (mm != held)
		mmap_read_unlock(mm);
}

/* Find a page that is there, and its neighbours. */
static int look_up(struct exmem_mirror *mirror, pgoff_t wanted, bool write,
		   struct mm_struct *held, struct look *look)
{
	int err;

	do {
		cond_resched();
		look->range.notifier_seq = mmu_interval_read_begin(&mirror->notifier);
		err = lock_source(mirror->mm, held);
		if (err)
			return err;
		err = walk_around(mirror, wanted, write, look);
		unlock_source(mirror->mm, held);
		if (!err)
			err = remember(mirror, look, wanted);
	} while (err == -EBUSY && !fatal_signal_pending(current));
	return err;
}

/* Why can a page not be accessed at an address? 0 if it might be. */
static int reason(struct exmem_mirror *mirror, pgoff_t wanted, bool write)
{
	struct vm_area_struct *vma;

	vma = vma_lookup(mirror->mm, address_of(mirror, wanted));
	if (!vma || vma->vm_flags & (VM_IO | VM_PFNMAP) ||
	    is_past_end(&mirror->source, wanted))
		return -EFAULT;
	return vma->vm_flags & (write ? VM_WRITE : VM_READ) ? 0 : -EPERM;
}

/**
 * exmem_mirror_fault_in() - let a page be there
 * @mirror: the source
 * @wanted: page of it
 * @write: it is to be writable
 * @held: NULL, or the one address space whose mmap lock is held
 *
 * Return: 0, -EPERM, -EFAULT: there is no page, -ENOMEM, -EIO: there should be
 * one, -EINTR: the caller is being killed, -ENOLCK: another mmap lock would have
 * to be waited for.
 */
int exmem_mirror_fault_in(struct exmem_mirror *mirror, pgoff_t wanted, bool write,
			  struct mm_struct *held)
{
	unsigned int flags = FAULT_FLAG_REMOTE | (write ? FAULT_FLAG_WRITE : 0);
	struct mm_struct *mm = mirror->mm;
	bool unlocked;
	int err;

	err = lock_source(mm, held);
	if (err)
		return err;
	err = reason(mirror, wanted, write);
	if (!err) {
		err = fixup_user_fault(mm, address_of(mirror, wanted), flags,
				       held ? NULL : &unlocked);
		/* The source may have changed in between. */
		if (err && err != -ENOMEM && err != -EINTR)
			err = reason(mirror, wanted, write) ?: -EIO;
	}
	unlock_source(mm, held);
	return err;
}

static int wait_for_worker(struct exmem_view_source *source, pgoff_t wanted,
			   struct mm_struct *held)
{
	wait_queue_head_t *wq = &source->view->zapped;

	/* It may in turn be waiting for somebody who waits for the lock. */
	if (held)
		return wait_event_timeout(*wq, !exmem_mirror_has_dead(source, wanted),
					  WORKER_PATIENCE) ? 0 : -ENOLCK;
	return wait_event_killable(*wq, !exmem_mirror_has_dead(source, wanted));
}

static int find_out(struct exmem_mirror *mirror, pgoff_t wanted, bool write,
		    struct mm_struct *held, struct look *look)
{
	int err;

	for (;;) {
		err = look_up(mirror, wanted, write, held, look);
		if (err == -EAGAIN)
			err = wait_for_worker(&mirror->source, wanted, held);
		else if (err == -ENODATA)
			err = exmem_mirror_fault_in(mirror, wanted, write, held);
		else
			return err;
		if (err)
			return err;
		if (fatal_signal_pending(current))
			return -EINTR;
	}
}

/*
 * Why there is no page is found out with the viewer's lock released, when it
 * cannot be told. It is told if the same task asks again.
 */
static void set_failure(struct exmem_mirror *mirror, pgoff_t wanted,
			vm_fault_t fault)
{
	struct exmem_view *view = mirror->source.view;

	spin_lock(&view->spin);
	mirror->failure.task = current;
	mirror->failure.wanted = wanted;
	mirror->failure.fault = fault;
	mirror->failure.until = jiffies + FAILURE_LASTS;
	spin_unlock(&view->spin);
}

static vm_fault_t last_failure(struct exmem_mirror *mirror, pgoff_t wanted,
			       bool final)
{
	struct exmem_view *view = mirror->source.view;
	vm_fault_t fault = 0;

	spin_lock(&view->spin);
	if (mirror->failure.task == current && mirror->failure.wanted == wanted &&
	    time_before(jiffies, mirror->failure.until)) {
		fault = mirror->failure.fault;
		if (final)
			mirror->failure.task = NULL;
	}
	spin_unlock(&view->spin);
	return fault;
}

/**
 * exmem_mirror_resolve() - @resolve of struct exmem_view_source_ops
 * @source: a mirror
 * @wanted: page of it
 * @write: it is to be writable
 * @held: NULL, or the one address space whose mmap lock is held
 */
void exmem_mirror_resolve(struct exmem_view_source *source, pgoff_t wanted,
			  bool write, struct mm_struct *held)
{
	struct exmem_mirror *mirror = mirror_of(source);
	struct look look = { .range.notifier = &mirror->notifier };
	int err = -ENOMEM;

	look.pfns = kmalloc_array(EXMEM_BLOCK_PAGES, sizeof(*look.pfns), GFP_KERNEL);
	if (look.pfns) {
		look.range.hmm_pfns = look.pfns;
		err = -EFAULT;
		if (mmget_not_zero(mirror->mm)) {
			err = find_out(mirror, wanted, write, held, &look);
			mmput_async(mirror->mm);
		}
		kfree(look.pfns);
	}
	/* Other failures are plain to see. */
	if (err == -ENOMEM)
		set_failure(mirror, wanted, VM_FAULT_OOM);
	else if (err == -EIO)
		set_failure(mirror, wanted, VM_FAULT_SIGBUS);
}

/* Has a process nothing at an address, or nothing for this? 0, if it cannot be told now. */
static vm_fault_t refusal_of_process(struct exmem_mirror *mirror, pgoff_t wanted,
				     bool write, struct mm_struct *held)
{
	struct mm_struct *mm = mirror->mm;
	int err = 0;

	if (!mmget_not_zero(mm))
		return VM_FAULT_SIGBUS;
	if (!lock_source(mm, held)) {
		err = reason(mirror, wanted, write);
		unlock_source(mm, held);
	}
	mmput_async(mm);
	if (!err)
		return 0;
	return err == -EPERM ? VM_FAULT_SIGSEGV : VM_FAULT_SIGBUS;
}

/**
 * exmem_mirror_refuse() - @refuse of struct exmem_view_source_ops
 * @source: a mirror
 * @wanted: page of it
 * @write: it would have to be writable
 * @held: the one address space whose mmap lock is held
 * @final: who asks will not ask again for the same reason
 */
vm_fault_t exmem_mirror_refuse(struct exmem_view_source *source, pgoff_t wanted,
			       bool write, struct mm_struct *held, bool final)
{
	struct exmem_mirror *mirror = mirror_of(source);
	vm_fault_t fault = last_failure(mirror, wanted, final);

	if (fault)
		return fault;
	if (is_past_end(source, wanted))
		return VM_FAULT_SIGBUS;
	return source->file ? 0 : refusal_of_process(mirror, wanted, write, held);
}

/**
 * exmem_mirror_find() - @find of struct exmem_view_source_ops
 * @source: a mirror
 * @first: first page of the window
 * @last: last page
 * @wanted: page that must be there
 * @access: for this
 * @found: what may be put into a page table
 */
vm_fault_t exmem_mirror_find(struct exmem_view_source *source, pgoff_t first,
			     pgoff_t last, pgoff_t wanted, u32 access,
			     unsigned long *found)
{
	XA_STATE(xas, &source->pages, first);
	unsigned long entry;
	void *value;

	xas_lock(&xas);
	xas_for_each(&xas, value, last) {
		if (!exmem_mirror_is_dead(&xas))
			found[xas.xa_index - first] = entry_to_found(value);
	}
	xas_unlock(&xas);

	entry = found[wanted - first];
	if (!entry)
		return VM_FAULT_RETRY;
	if (access == MEMVIEW_MAP_WRITE && !(entry & EXMEM_FOUND_WRITABLE))
		return VM_FAULT_RETRY;
	if (access == MEMVIEW_MAP_EXEC && !(entry & EXMEM_FOUND_EXEC))
		return VM_FAULT_SIGSEGV;
	return 0;
}
