// SPDX-License-Identifier: GPL-2.0
/*
 * Mirrors: files, and process memory, as sources of a view.
 */
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/hugetlb.h>
#include <linux/sched/mm.h>
#include <linux/shmem_fs.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include "view_mirror.h"

/* How long a source is kept that no range uses: the next one may. */
#define SOURCE_LINGERS	msecs_to_jiffies(20)

/* Files up to this size are mapped as a whole. */
#define WHOLE_FILE_SIZE	SZ_1T
#define FILE_GRANULE	SZ_1G

/* The worker forgets what is dead. */
static void mirror_forget(struct exmem_view_source *source, pgoff_t first,
			  pgoff_t last)
{
	XA_STATE(xas, &source->pages, first);
	unsigned int nr = 0;
	void *entry;

	xas_lock(&xas);
	xas_for_each(&xas, entry, last) {
		if (exmem_mirror_is_dead(&xas) ||
		    exmem_view_shows(source, xas.xa_index))
			continue;
		if (entry_is_writable(entry))
			exmem_mirror_mark_stored(entry_to_page(entry));
		xas_store(&xas, NULL);
		if (++nr % XA_CHECK_SCHED)
			continue;
		xas_pause(&xas);
		xas_unlock(&xas);
		cond_resched();
		xas_lock(&xas);
	}
	xas_unlock(&xas);
}

/* A fault may be the last user: what is to be done may have to wait. */
static void mirror_put(struct exmem_view_source *source)
{
	struct exmem_view *view = source->view;

	if (!atomic_dec_and_lock(&source->users, &view->spin))
		return;
	if (list_empty(&source->idle))
		list_add_tail(&source->idle, &view->idle);
	kref_get(&view->ref);
	spin_unlock(&view->spin);

	/* From here on, the source may be gone. */
	if (!queue_delayed_work(exmem_view_wq, &view->reap,
				READ_ONCE(view->closed) ? 0 : SOURCE_LINGERS))
		exmem_view_put(view);
}

static const struct exmem_view_source_ops mirror_ops = {
	.find = exmem_mirror_find,
	.refuse = exmem_mirror_refuse,
	.resolve = exmem_mirror_resolve,
	.forget = mirror_forget,
	.put = mirror_put,
};

/* In nobody's reach. */
static void release_mirror(struct exmem_mirror *mirror)
{
	struct exmem_view_source *source = &mirror->source;

	mmu_interval_notifier_remove(&mirror->notifier);
	/* Nothing dies any more. */
	flush_work(&source->view->zap);
	while (xa_marked(&source->pages, EXMEM_PAGE_LATE)) {
		cancel_delayed_work_sync(&mirror->late);
		exmem_mirror_store_late(&mirror->late.work);
		cond_resched();
	}
	cancel_delayed_work_sync(&mirror->late);

	if (source->file) {
		exmem_shadow_unmap(source->view->shadow, mirror->addr,
				   mirror->nr << PAGE_SHIFT);
		fput(source->file);
	} else {
		mmdrop(mirror->mm);
	}
	exmem_view_source_fini(source);
	kfree(mirror);
}

/* The next source that has no user, and gets none any more. */
static struct exmem_view_source *take_idle(struct exmem_view *view)
{
	struct exmem_view_source *source, *next, *taken = NULL;

	spin_lock(&view->spin);
	list_for_each_entry_safe(source, next, &view->idle, idle) {
		list_del_init(&source->idle);
		if (atomic_read(&source->users))
			continue;
		hash_del(&source->by_file);
		taken = source;
		break;
	}
	spin_unlock(&view->spin);
	return taken;
}

/**
 * exmem_mirror_reap() - release the sources that nobody uses
 * @work: of the view
 */
void exmem_mirror_reap(struct work_struct *work)
{
	struct exmem_view *view = container_of(to_delayed_work(work),
					       struct exmem_view, reap);
	struct exmem_view_source *source;

	while ((source = take_idle(view)))
		release_mirror(mirror_of(source));
	/* Of kernel threads, files are closed later; who calls SYNC waits for it. */
	flush_delayed_fput();
	exmem_view_put(view);
}

static struct exmem_mirror *new_mirror(struct exmem_view *view, u32 kind,
				       pgoff_t first, unsigned long nr)
{
	struct exmem_mirror *mirror;

	mirror = kzalloc(sizeof(*mirror), GFP_KERNEL_ACCOUNT);
	if (!mirror)
		return NULL;
	exmem_view_source_init(&mirror->source, &mirror_ops, view, kind);
	INIT_LIST_HEAD(&mirror->dead);
	INIT_DELAYED_WORK(&mirror->late, exmem_mirror_store_late);
	mirror->first = first;
	mirror->nr = nr;
	return mirror;
}

/* Learn of changes from here on. The registration gives way to any signal. */
static int watch(struct exmem_mirror *mirror)
{
	int err = mmu_interval_notifier_insert(&mirror->notifier, mirror->mm,
					       mirror->addr,
					       mirror->nr << PAGE_SHIFT,
					       &exmem_mirror_notifier_ops);

	return err == -EINTR ? -ERESTARTSYS : err;
}

static void free_new_mirror(struct exmem_mirror *mirror)
{
	exmem_view_source_fini(&mirror->source);
	kfree(mirror);
}

/*
 * A file that was sealed against future writers still has those it had: a new
 * range is asked for anew, lest it becomes one of them.
 */
static bool is_sealed(struct file *file)
{
	struct inode *inode = file_inode(file);
	unsigned int seals = 0;

	if (inode->i_sb->s_magic == TMPFS_MAGIC)
		seals = SHMEM_I(inode)->seals;
	else if (exmem_view_is_hugetlb(file))
		seals = HUGETLBFS_I(inode)->seals;
	return seals & F_SEAL_FUTURE_WRITE;
}

static bool has_span(struct exmem_mirror *mirror, pgoff_t first, pgoff_t last,
		     u32 access)
{
	return !(access & EXMEM_VIEW_ACCESS & ~mirror->access) &&
	       first >= mirror->first && last < mirror->first + mirror->nr;
}

/**
 * exmem_mirror_of() - a file that is a source already
 * @view: the view
 * @file: a regular file
 * @first: first page that is needed
 * @last: last page
 * @access: MEMVIEW_MAP_READ, WRITE and EXEC
 *
 * Return: the source, of which the caller is a user, or NULL.
 */
struct exmem_view_source *exmem_mirror_of(struct exmem_view *view,
					  struct file *file, pgoff_t first,
					  pgoff_t last, u32 access)
{
	struct exmem_view_source *source, *found = NULL;

	if (access & MEMVIEW_MAP_WRITE && is_sealed(file))
		return NULL;
	spin_lock(&view->spin);
	hash_for_each_possible(view->files, source, by_file, (unsigned long)file) {
		if (source->file == file &&
		    has_span(mirror_of(source), first, last, access)) {
			atomic_inc(&source->users);
			found = source;
			break;
		}
	}
	spin_unlock(&view->spin);
	return found;
}

/* The address space for the files, made when the first one comes. */
static struct exmem_shadow *shadow_of(struct exmem_view *view)
{
	struct exmem_shadow *shadow = READ_ONCE(view->shadow), *other;

	if (shadow)
		return shadow;
	shadow = exmem_shadow_create();
	if (IS_ERR(shadow))
		return shadow;
	other = cmpxchg(&view->shadow, NULL, shadow);
	if (other)
		exmem_shadow_free(shadow);
	return other ?: shadow;
}

/*
 * A file is mapped from its beginning, and as it is or is about to be, so that
 * ranges share what is known of its pages.
 */
static void choose_span(struct file *file, pgoff_t *first, pgoff_t *end)
{
	const pgoff_t granule = FILE_GRANULE >> PAGE_SHIFT;
	u64 size = i_size_read(file_inode(file));

	*end = round_up(*end, granule);
	if (*end <= WHOLE_FILE_SIZE >> PAGE_SHIFT && size <= WHOLE_FILE_SIZE) {
		*first = 0;
		*end = max_t(pgoff_t, *end,
			     round_up(DIV_ROUND_UP_ULL(size, PAGE_SIZE), granule));
	} else {
		*first = round_down(*first, granule);
	}
}

/**
 * exmem_mirror_file() - the pages of a file as a source
 * @view: the view; its control is not held, as this may wait for file systems
 * @file: a regular file
 * @first: first page that is needed
 * @last: last page
 * @access: MEMVIEW_MAP_READ, WRITE and EXEC; what mmap(2) would need
 *
 * Return: the source, of which the caller is a user, or an ERR_PTR as mmap(2)
 * has it.
 */
struct exmem_view_source *exmem_mirror_file(struct exmem_view *view,
					    struct file *file, pgoff_t first,
					    pgoff_t last, u32 access)
{
	struct exmem_view_source *source;
	struct exmem_shadow *shadow;
	struct exmem_mirror *mirror;
	pgoff_t end = last + 1;
	int err;

	source = exmem_mirror_of(view, file, first, last, access);
	if (source)
		return source;
	shadow = shadow_of(view);
	if (IS_ERR(shadow))
		return ERR_CAST(shadow);
	choose_span(file, &first, &end);
	mirror = new_mirror(view, MEMVIEW_KIND_FILE, first, end - first);
	if (!mirror)
		return ERR_PTR(-ENOMEM);
	source = &mirror->source;
	mirror->mm = exmem_shadow_mm(shadow);
	mirror->access = (access & EXMEM_VIEW_ACCESS) | MEMVIEW_MAP_READ;
	err = exmem_shadow_map(shadow, file, first, mirror->nr << PAGE_SHIFT,
			       mirror->access, &mirror->addr);
	if (err)
		goto free_mirror;
	err = watch(mirror);
	if (err)
		goto unmap;
	source->file = get_file(file);
	atomic_set(&source->users, 1);
	spin_lock(&view->spin);
	hash_add(view->files, &source->by_file, (unsigned long)file);
	spin_unlock(&view->spin);
	return source;

unmap:
	exmem_shadow_unmap(shadow, mirror->addr, mirror->nr << PAGE_SHIFT);
free_mirror:
	free_new_mirror(mirror);
	return ERR_PTR(err);
}

/**
 * exmem_mirror_process() - a range of the caller's address space as a source
 * @view: the view
 * @addr: where it begins, page-aligned; page offsets of the source are addresses
 * @len: bytes, page-aligned
 *
 * Return: the source, of which the caller is a user, or an ERR_PTR of
 * -ENOMEM or -ERESTARTSYS.
 */
struct exmem_view_source *exmem_mirror_process(struct exmem_view *view,
					       unsigned long addr,
					       unsigned long len)
{
	struct exmem_mirror *mirror;
	int err;

	mirror = new_mirror(view, MEMVIEW_KIND_PROCESS, addr >> PAGE_SHIFT,
			    len >> PAGE_SHIFT);
	if (!mirror)
		return ERR_PTR(-ENOMEM);
	mirror->mm = current->mm;
	mirror->addr = addr;
	err = watch(mirror);
	if (err) {
		free_new_mirror(mirror);
		return ERR_PTR(err);
	}
	mmgrab(mirror->mm);
	atomic_set(&mirror->source.users, 1);
	return &mirror->source;
}
