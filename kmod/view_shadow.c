// SPDX-License-Identifier: GPL-2.0
/*
 * The address space in which the files of a view are mapped.
 *
 * Only an address space is told when a file's page is taken away: truncated,
 * written back, migrated, reclaimed. The owner's is not the place: its
 * mappings are its own business, and a view may outlive it. So each view has one
 * that belongs to no process. It is changed by a kernel thread that borrows it.
 */
#include <linux/completion.h>
#include <linux/cred.h>
#include <linux/kthread.h>
#include <linux/memcontrol.h>
#include <linux/mman.h>
#include <linux/sched/mm.h>
#include <linux/sched/task.h>
#include <linux/slab.h>

#include "view.h"
#include "compat/compat.h"
#include "compat/symbols.h"

/**
 * struct exmem_shadow - an address space of nobody
 * @mm: the address space
 * @owner: whose memory cgroup pays for what a file needs
 * @lock: an address that was found is free until something is mapped there
 */
struct exmem_shadow {
	struct mm_struct *mm;
	struct task_struct *owner;
	struct mutex lock;
};

struct shadow_job {
	struct work_struct work;
	struct mm_struct *mm;
	struct mem_cgroup *memcg;
	const struct cred *cred;
	int (*run)(struct shadow_job *job);
	int err;

	struct file *file;
	pgoff_t pgoff;
	unsigned long addr;
	unsigned long len;
	u32 access;
};

/**
 * exmem_shadow_create() - an empty address space
 *
 * Return: the address space, or ERR_PTR(-ENOMEM).
 */
struct exmem_shadow *exmem_shadow_create(void)
{
	struct exmem_shadow *shadow;

	shadow = kzalloc(sizeof(*shadow), GFP_KERNEL_ACCOUNT);
	if (!shadow)
		return ERR_PTR(-ENOMEM);
	shadow->mm = exmem_mm_alloc();
	if (!shadow->mm) {
		kfree(shadow);
		return ERR_PTR(-ENOMEM);
	}
	exmem_mm_init_layout(shadow->mm);
	mutex_init(&shadow->lock);
	shadow->owner = get_task_struct(current->group_leader);
	exmem_mm_set_owner(shadow->mm, shadow->owner);
	return shadow;
}

/**
 * exmem_shadow_free() - give an address space back, with all that is mapped
 * @shadow: may be NULL
 */
void exmem_shadow_free(struct exmem_shadow *shadow)
{
	if (!shadow)
		return;
	/* Others may keep the address space for a while: khugepaged. */
	exmem_mm_set_owner(shadow->mm, NULL);
	synchronize_rcu();
	mmput(shadow->mm);
	put_task_struct(shadow->owner);
	mutex_destroy(&shadow->lock);
	kfree(shadow);
}

/**
 * exmem_shadow_mm() - the address space itself
 * @shadow: the address space
 */
struct mm_struct *exmem_shadow_mm(struct exmem_shadow *shadow)
{
	return shadow->mm;
}

static void run_job(struct work_struct *work)
{
	struct shadow_job *job = container_of(work, struct shadow_job, work);
	const struct cred *old = job->cred ? override_creds(job->cred) : NULL;
	struct mem_cgroup *memcg = set_active_memcg(job->memcg);

	kthread_use_mm(job->mm);
	job->err = job->run(job);
	kthread_unuse_mm(job->mm);
	set_active_memcg(memcg);
	if (old)
		revert_creds(old);
}

static int run_in(struct exmem_shadow *shadow, struct shadow_job *job)
{
	job->mm = shadow->mm;
	INIT_WORK_ONSTACK(&job->work, run_job);
	queue_work(exmem_shadow_wq, &job->work);
	flush_work(&job->work);
	destroy_work_on_stack(&job->work);
	return job->err;
}

/*
 * Large pages of a file need its offset and the address to agree. Mappings never
 * touch, lest they become one area.
 */
static unsigned long find_address(struct shadow_job *job)
{
	unsigned long align = max(PMD_SIZE, exmem_view_page_size(job->file));
	unsigned long addr;

	mmap_write_lock(job->mm);
	addr = exmem_default_unmapped_area(NULL, 0, PAGE_SIZE + job->len + align, 0, 0);
	mmap_write_unlock(job->mm);
	if (IS_ERR_VALUE(addr))
		return addr;
	addr += PAGE_SIZE;
	return addr + (((job->pgoff << PAGE_SHIFT) - addr) & (align - 1));
}

/*
 * What mmap(2) would not do: look at a file in some other way than by its pages.
 * And hugetlbfs lets a file grow when it is mapped for writing, which it is only
 * after that, therefore.
 */
static int check_area(struct shadow_job *job)
{
	struct vm_area_struct *vma;
	int err = 0;

	mmap_write_lock(job->mm);
	vma = vma_lookup(job->mm, job->addr);
	if (!vma || vma->vm_flags & (VM_IO | VM_PFNMAP | VM_MIXEDMAP)) {
		err = -ENODEV;
	} else if (job->access & MEMVIEW_MAP_WRITE && !(vma->vm_flags & VM_WRITE)) {
		if (!(vma->vm_flags & VM_MAYWRITE)) {
			err = -EPERM;
		} else {
			exmem_vm_flags_set(vma, VM_WRITE);
			vma->vm_page_prot = vm_get_page_prot(vma->vm_flags);
		}
	}
	mmap_write_unlock(job->mm);
	return err;
}

static int map_file(struct shadow_job *job)
{
	const bool huge = exmem_view_is_hugetlb(job->file);
	unsigned long prot = PROT_READ;
	unsigned long flags = MAP_FIXED | MAP_NORESERVE;
	int err;

	/*
	 * Privately, a file is read from the same pages, and is not taken to be
	 * mapped by someone who may write: it can be sealed. But hugetlbfs would
	 * fill a hole with a page of our own.
	 */
	flags |= huge || job->access & MEMVIEW_MAP_WRITE ? MAP_SHARED : MAP_PRIVATE;
	if (job->access & MEMVIEW_MAP_WRITE && !huge)
		prot |= PROT_WRITE;
	if (job->access & MEMVIEW_MAP_EXEC)
		prot |= PROT_EXEC;

	job->addr = find_address(job);
	if (IS_ERR_VALUE(job->addr))
		return job->addr;
	job->addr = vm_mmap(job->file, job->addr, job->len, prot, flags,
			    job->pgoff << PAGE_SHIFT);
	if (IS_ERR_VALUE(job->addr))
		return job->addr;
	err = check_area(job);
	if (err)
		vm_munmap(job->addr, job->len);
	return err;
}

/**
 * exmem_shadow_map() - map a part of a file
 * @shadow: where
 * @file: the file
 * @pgoff: page offset in it; the file may be shorter
 * @len: bytes
 * @access: MEMVIEW_MAP_READ, WRITE and EXEC
 * @addr: the address
 *
 * Return: 0, or what mmap(2) would fail with.
 */
int exmem_shadow_map(struct exmem_shadow *shadow, struct file *file,
		     pgoff_t pgoff, unsigned long len, u32 access,
		     unsigned long *addr)
{
	struct shadow_job job = {
		.run = map_file,
		/* Security modules shall see who wants this. */
		.cred = current_cred(),
		.file = file,
		.pgoff = pgoff,
		.len = len,
		.access = access,
	};
	int err;

	job.memcg = get_mem_cgroup_from_mm(current->mm);
	mutex_lock(&shadow->lock);
	err = run_in(shadow, &job);
	mutex_unlock(&shadow->lock);
	mem_cgroup_put(job.memcg);
	*addr = job.addr;
	return err;
}

static int unmap_file(struct shadow_job *job)
{
	return vm_munmap(job->addr, job->len);
}

/**
 * exmem_shadow_unmap() - undo exmem_shadow_map()
 * @shadow: where
 * @addr: the address
 * @len: bytes
 */
void exmem_shadow_unmap(struct exmem_shadow *shadow, unsigned long addr,
			unsigned long len)
{
	struct shadow_job job = { .run = unmap_file, .addr = addr, .len = len };

	/* It needs a little memory. */
	while (run_in(shadow, &job) == -ENOMEM)
		schedule_timeout_uninterruptible(1);
}
