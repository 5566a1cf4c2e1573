// SPDX-License-Identifier: GPL-2.0
/*
 * The layout of a view: ranges that do not overlap, in a tree. Every change
 * takes out what an interval holds and puts other ranges there, at once.
 */
#include <linux/slab.h>

#include "view.h"

static struct exmem_view_range *range_of(struct rb_node *node)
{
	return rb_entry_safe(node, struct exmem_view_range, node);
}

/**
 * exmem_view_range_new() - a range that is in no layout yet
 * @source: gets a user more
 * @start: first page of the view
 * @end: one past the last
 * @offset: page offset in the source
 * @flags: MEMVIEW_MAP_READ, WRITE, EXEC and YIELD
 *
 * Return: the range, or NULL.
 */
struct exmem_view_range *exmem_view_range_new(struct exmem_view_source *source,
					      pgoff_t start, pgoff_t end,
					      pgoff_t offset, u32 flags)
{
	struct exmem_view_range *range;

	range = kzalloc(sizeof(*range), GFP_KERNEL_ACCOUNT);
	if (!range)
		return NULL;
	INIT_LIST_HEAD(&range->list);
	range->start = start;
	range->end = end;
	range->offset = offset;
	range->by_source.start = offset;
	range->by_source.last = offset + (end - start) - 1;
	range->flags = flags;
	range->source = source;
	atomic_inc(&source->users);
	return range;
}

/**
 * exmem_view_ranges_free() - free ranges that are in no layout
 * @ranges: list of them
 */
void exmem_view_ranges_free(struct list_head *ranges)
{
	struct exmem_view_range *range, *next;

	list_for_each_entry_safe(range, next, ranges, list) {
		list_del(&range->list);
		exmem_view_source_put(range->source);
		kfree(range);
		cond_resched();
	}
}

/**
 * exmem_view_range_after() - the first range that ends after a page
 * @view: the view, locked, or its control
 * @pgoff: page of the view
 *
 * Return: the range, which may have the page, or NULL.
 */
struct exmem_view_range *exmem_view_range_after(struct exmem_view *view,
						pgoff_t pgoff)
{
	struct rb_node *node = view->ranges.rb_node;
	struct exmem_view_range *found = NULL;

	while (node) {
		struct exmem_view_range *range = range_of(node);

		if (pgoff < range->end) {
			found = range;
			node = node->rb_left;
		} else {
			node = node->rb_right;
		}
	}
	return found;
}

/**
 * exmem_view_range_next() - the next range of the view
 * @range: a range of a layout
 *
 * Return: the range, or NULL.
 */
struct exmem_view_range *exmem_view_range_next(struct exmem_view_range *range)
{
	return range_of(rb_next(&range->node));
}

static bool range_less(struct rb_node *a, const struct rb_node *b)
{
	return range_of(a)->start < rb_entry(b, struct exmem_view_range, node)->start;
}

static void link_range(struct exmem_view *view, struct exmem_view_range *range)
{
	struct exmem_view_source *source = range->source;

	list_del_init(&range->list);
	rb_add(&range->node, &view->ranges, range_less);
	interval_tree_insert(&range->by_source, &source->ranges);
	if (!(range->flags & MEMVIEW_MAP_YIELD))
		source->firm++;
	view->nr_ranges++;
	exmem_count(EXMEM_VIEW_RANGES, 1);
}

static void unlink_range(struct exmem_view *view, struct exmem_view_range *range)
{
	struct exmem_view_source *source = range->source;

	rb_erase(&range->node, &view->ranges);
	interval_tree_remove(&range->by_source, &source->ranges);
	if (!(range->flags & MEMVIEW_MAP_YIELD))
		source->firm--;
	view->nr_ranges--;
	exmem_count(EXMEM_VIEW_RANGES, -1);
}

/**
 * exmem_view_add_piece() - a part of a range, as a range of its own
 * @range: a range of a layout
 * @start: page of the view; the part begins here, or where @range does
 * @end: page of the view; the part ends before, or where @range does
 * @source: of the part, with the pages of @range's
 * @flags: of the part
 * @pieces: list to which it is added, unless it is empty
 *
 * Return: 0 or -ENOMEM.
 */
int exmem_view_add_piece(struct exmem_view_range *range, pgoff_t start,
			 pgoff_t end, struct exmem_view_source *source, u32 flags,
			 struct list_head *pieces)
{
	struct exmem_view_range *piece;

	start = max(start, range->start);
	end = min(end, range->end);
	if (start >= end)
		return 0;
	piece = exmem_view_range_new(source, start, end,
				     range->offset + (start - range->start), flags);
	if (!piece)
		return -ENOMEM;
	list_add_tail(&piece->list, pieces);
	return 0;
}

/* What sticks out of [start, end) of the ranges there. */
static int add_remains(struct exmem_view *view, pgoff_t start, pgoff_t end,
		       struct list_head *pieces)
{
	struct exmem_view_range *range;
	int err;

	range = exmem_view_range_after(view, start);
	if (range && range->start < start) {
		err = exmem_view_add_piece(range, 0, start, range->source,
					   range->flags, pieces);
		if (err)
			return err;
	}
	range = exmem_view_range_after(view, end - 1);
	if (range && range->start < end)
		return exmem_view_add_piece(range, end, ULONG_MAX, range->source,
					    range->flags, pieces);
	return 0;
}

static void zap(struct exmem_view *view, pgoff_t start, pgoff_t nr)
{
	unmap_mapping_pages(view->inode->i_mapping, start, nr, true);
}

static void forget(struct exmem_view_range *range, pgoff_t start, pgoff_t end)
{
	pgoff_t from = max(range->start, start), to = min(range->end, end);
	pgoff_t first = range->offset + (from - range->start);

	range->source->ops->forget(range->source, first, first + (to - from) - 1);
}

/**
 * exmem_view_replace() - change what an interval of a view shows
 * @view: the view, whose control the caller holds
 * @start: first page
 * @end: one past the last
 * @ranges: what it shows from now on; list of ranges within the interval, which
 *	is empty afterwards
 *
 * No process finds a gap, and when this returns nobody can use what was there. In
 * slots, exmem_view_fill_slots() puts what is new.
 *
 * Return: 0, or -ENOMEM, and nothing has changed.
 */
int exmem_view_replace(struct exmem_view *view, pgoff_t start, pgoff_t end,
		       struct list_head *ranges)
{
	struct exmem_view_range *range, *next;
	LIST_HEAD(remains);
	LIST_HEAD(gone);
	int err;

	err = add_remains(view, start, end, &remains);
	if (err) {
		exmem_view_ranges_free(&remains);
		return err;
	}

	view->changes++;
	down_write(&view->lock);
	range = exmem_view_range_after(view, start);
	while (range && range->start < end) {
		next = exmem_view_range_next(range);
		unlink_range(view, range);
		list_add_tail(&range->list, &gone);
		range = next;
		cond_resched();
	}
	list_splice_init(&remains, ranges);
	list_for_each_entry_safe(range, next, ranges, list)
		link_range(view, range);
	if (!list_empty(&gone)) {
		zap(view, start, end - start);
		exmem_view_zap_slots(view, start, end - start);
	}
	list_for_each_entry(range, &gone, list) {
		forget(range, start, end);
		cond_resched();
	}
	up_write(&view->lock);

	exmem_view_ranges_free(&gone);
	return 0;
}

/**
 * exmem_view_zap_source() - take pages of a source out of all page tables
 * @source: the source, whose view is locked for writing
 * @first: first page of the source
 * @last: last page
 */
void exmem_view_zap_source(struct exmem_view_source *source, pgoff_t first,
			   pgoff_t last)
{
	struct interval_tree_node *node;

	for (node = interval_tree_iter_first(&source->ranges, first, last); node;
	     node = interval_tree_iter_next(node, first, last)) {
		struct exmem_view_range *range =
			container_of(node, struct exmem_view_range, by_source);
		pgoff_t from = max(first, node->start), to = min(last, node->last);

		zap(source->view, range->start + (from - node->start),
		    to - from + 1);
	}
}

/**
 * exmem_view_zap_source_slots() - take a source from all guests
 * @source: the source, whose view is locked for writing
 */
void exmem_view_zap_source_slots(struct exmem_view_source *source)
{
	struct interval_tree_node *node;

	for (node = interval_tree_iter_first(&source->ranges, 0, ULONG_MAX); node;
	     node = interval_tree_iter_next(node, 0, ULONG_MAX)) {
		struct exmem_view_range *range =
			container_of(node, struct exmem_view_range, by_source);

		exmem_view_zap_slots(source->view, range->start,
				     range->end - range->start);
	}
}

/**
 * exmem_view_source_has_slot() - may another address space have pages in a slot
 * @source: the source, whose view is locked for writing
 * @except: other than this
 */
bool exmem_view_source_has_slot(struct exmem_view_source *source,
				struct mm_struct *except)
{
	struct interval_tree_node *node;

	for (node = interval_tree_iter_first(&source->ranges, 0, ULONG_MAX); node;
	     node = interval_tree_iter_next(node, 0, ULONG_MAX)) {
		struct exmem_view_range *range =
			container_of(node, struct exmem_view_range, by_source);

		if (exmem_view_has_slot(source->view, range->start, range->end,
					except))
			return true;
	}
	return false;
}

/**
 * exmem_view_shows() - does a range show this page
 * @source: the source, whose view is locked
 * @index: page of the source
 */
bool exmem_view_shows(struct exmem_view_source *source, pgoff_t index)
{
	return interval_tree_iter_first(&source->ranges, index, index);
}
