// SPDX-License-Identifier: GPL-2.0
/*
 * MEMVIEW_PROTECT: ranges get other flags. A file that is mapped for reading may
 * have to be mapped for writing now.
 */
#include <linux/err.h>
#include <linux/file.h>
#include <linux/mm.h>

#include "view.h"

/**
 * struct wanted_source - a file that has to be mapped differently
 * @file: of which this holds a reference, or NULL
 * @first: first page that is needed
 * @last: last page
 * @flags: MEMVIEW_MAP_READ, WRITE and EXEC
 */
struct wanted_source {
	struct file *file;
	pgoff_t first;
	pgoff_t last;
	u32 flags;
};

/*
 * The source for a range that gets other flags, of which the caller is a user:
 * that which it has, unless its file has to be mapped differently for them. If it
 * is not yet, that is -EAGAIN.
 */
static struct exmem_view_source *source_for(struct exmem_view_range *range,
					    u32 flags, struct wanted_source *wanted)
{
	struct exmem_view_source *source = range->source;
	int err;

	if (!(flags & ~range->flags) || !source->file) {
		atomic_inc(&source->users);
		return source;
	}
	err = exmem_view_check_access(source->file, flags);
	if (err)
		return ERR_PTR(err);
	if (source->kind != MEMVIEW_KIND_FILE) {
		atomic_inc(&source->users);
		return source;
	}
	source = exmem_mirror_of(source->view, source->file, range->offset,
				 range->by_source.last, flags);
	if (source)
		return source;
	wanted->file = get_file(range->source->file);
	wanted->first = range->offset;
	wanted->last = range->by_source.last;
	wanted->flags = flags;
	return ERR_PTR(-EAGAIN);
}

/* The part of a range in [start, end) with other flags. */
static int add_changed(struct exmem_view_range *range, pgoff_t start, pgoff_t end,
		       u32 access, struct list_head *changed,
		       struct wanted_source *wanted)
{
	u32 flags = (range->flags & ~EXMEM_VIEW_ACCESS) | access;
	struct exmem_view_source *source;
	int err;

	source = source_for(range, flags, wanted);
	if (IS_ERR(source))
		return PTR_ERR(source);
	err = exmem_view_add_piece(range, start, end, source, flags, changed);
	exmem_view_source_put(source);
	return err;
}

/* With the view's control held. */
static int try_protect(struct exmem_view *view, pgoff_t start, pgoff_t end,
		       u32 access, struct wanted_source *wanted)
{
	struct exmem_view_range *range;
	LIST_HEAD(changed);
	int err = 0;

	for (range = exmem_view_range_after(view, start);
	     range && range->start < end && !err;
	     range = exmem_view_range_next(range))
		err = add_changed(range, start, end, access, &changed, wanted);
	if (!err)
		err = exmem_view_replace(view, start, end, &changed);
	exmem_view_ranges_free(&changed);
	return err;
}

/* A range that is in no layout keeps a source. */
static int keep_source(struct exmem_view *view, struct wanted_source *wanted,
		       struct list_head *kept)
{
	struct exmem_view_source *source;
	struct exmem_view_range *range;

	source = exmem_mirror_file(view, wanted->file, wanted->first, wanted->last,
				   wanted->flags);
	fput(wanted->file);
	wanted->file = NULL;
	if (IS_ERR(source))
		return PTR_ERR(source);
	range = exmem_view_range_new(source, 0, 1, 0, 0);
	exmem_view_source_put(source);
	if (!range)
		return -ENOMEM;
	list_add(&range->list, kept);
	return 0;
}

/**
 * exmem_view_protect() - change what an interval allows, where it shows something
 * @view: the view
 * @start: first page
 * @end: one past the last
 * @access: MEMVIEW_MAP_READ, WRITE and EXEC, or 0
 *
 * A source that has to be made is not made with the view's control held: that may
 * take its time, and who takes something back does not wait for it.
 *
 * Return: 0, -EACCES or -EPERM if a source does not allow it, an error as mmap(2)
 * has it, or -ENOMEM; then nothing has changed.
 */
int exmem_view_protect(struct exmem_view *view, pgoff_t start, pgoff_t end,
		       u32 access)
{
	struct wanted_source wanted = {};
	LIST_HEAD(kept);
	int err;

	do {
		mutex_lock(&view->control);
		err = try_protect(view, start, end, access, &wanted);
		mutex_unlock(&view->control);
		if (!wanted.file)
			break;
		err = keep_source(view, &wanted, &kept);
	} while (!err);
	exmem_view_ranges_free(&kept);
	return err;
}
