// SPDX-License-Identifier: GPL-2.0
/*
 * The ioctls of /dev/memory-view. Arguments are checked here, and changes made
 * one at a time.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/err.h>
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/mount.h>
#include <linux/uaccess.h>

#include "view.h"
#include "compat/compat.h"

#define MAP_FD_FLAGS	(EXMEM_VIEW_ACCESS | MEMVIEW_MAP_REPLACE | \
			 MEMVIEW_MAP_YIELD)
#define MAP_MEM_FLAGS	(EXMEM_VIEW_ACCESS | MEMVIEW_MAP_REPLACE)

/* What a range remembers of the flags it was mapped with. */
#define RANGE_FLAGS	(EXMEM_VIEW_ACCESS | MEMVIEW_MAP_YIELD)

/* How many ranges are copied to user space at a time. */
#define LIST_BATCH	32

static long ioctl_set_size(struct exmem_view *view, const void __user *arg)
{
	u64 size;

	if (copy_from_user(&size, arg, sizeof(size)))
		return -EFAULT;
	if (!size || !PAGE_ALIGNED(size) || size > MAX_LFS_FILESIZE)
		return -EINVAL;
	mutex_lock(&view->control);
	if (!view->size) {
		WRITE_ONCE(view->size, size);
		i_size_write(view->inode, size);
		size = 0;
	}
	mutex_unlock(&view->control);
	return size ? -EINVAL : 0;
}

static int check_interval(struct exmem_view *view, u64 offset, u64 size)
{
	/* It changes once, from 0. */
	u64 end = READ_ONCE(view->size);

	if (!size || !PAGE_ALIGNED(offset | size) || offset > end ||
	    size > end - offset)
		return -EINVAL;
	return 0;
}

/* With the view's control held. */
static int check_free(struct exmem_view *view, u64 offset, u64 size, u32 flags)
{
	struct exmem_view_range *range;

	if (flags & MEMVIEW_MAP_REPLACE)
		return 0;
	range = exmem_view_range_after(view, offset >> PAGE_SHIFT);
	return range && range->start < (offset + size) >> PAGE_SHIFT ? -EEXIST : 0;
}

/*
 * Let an interval show one range, which goes on from @offset of the source. With
 * the view's control held.
 */
static int show(struct exmem_view *view, struct exmem_view_source *source,
		u64 mem_offset, u64 size, u64 offset, u32 flags)
{
	struct exmem_view_range *range;
	pgoff_t start = mem_offset >> PAGE_SHIFT;
	pgoff_t end = (mem_offset + size) >> PAGE_SHIFT;
	LIST_HEAD(ranges);
	int err;

	range = exmem_view_range_new(source, start, end, offset >> PAGE_SHIFT,
				     flags & RANGE_FLAGS);
	if (!range)
		return -ENOMEM;
	list_add(&range->list, &ranges);
	err = exmem_view_replace(view, start, end, &ranges);
	if (err)
		exmem_view_ranges_free(&ranges);
	return err;
}

/* The same for a source that was made without control, of which this is done. */
static int show_if_free(struct exmem_view *view, struct exmem_view_source *source,
			u64 mem_offset, u64 size, u64 offset, u32 flags)
{
	int err;

	mutex_lock(&view->control);
	err = check_free(view, mem_offset, size, flags) ?:
	      show(view, source, mem_offset, size, offset, flags);
	mutex_unlock(&view->control);
	exmem_view_source_put(source);
	return err;
}

static bool is_noexec(struct file *file)
{
	return file->f_path.mnt->mnt_flags & MNT_NOEXEC ||
	       file->f_path.mnt->mnt_sb->s_iflags & SB_I_NOEXEC;
}

/**
 * exmem_view_check_access() - may a range of this file have these flags?
 * @file: the source
 * @flags: MEMVIEW_MAP_READ, WRITE and EXEC
 *
 * Return: 0, -EACCES or -EPERM.
 */
int exmem_view_check_access(struct file *file, u32 flags)
{
	if (!(file->f_mode & FMODE_READ))
		return -EACCES;
	if (flags & MEMVIEW_MAP_WRITE && !(file->f_mode & FMODE_WRITE))
		return -EACCES;
	if (flags & MEMVIEW_MAP_EXEC && (is_noexec(file) || exmem_file_object(file)))
		return -EPERM;
	return 0;
}

static int check_file(struct file *file)
{
	/* A view of itself, sooner or later. */
	if (file->f_op == &exmem_view_control_fops || file->f_op == &exmem_view_fops)
		return -ELOOP;
	if (!S_ISREG(file_inode(file)->i_mode) && !exmem_file_object(file))
		return -ENODEV;
	return 0;
}

static int map_file(struct exmem_view *view, struct file *file,
		    const struct memview_map_fd_info *info)
{
	struct exmem_view_source *source;
	int err;

	mutex_lock(&view->control);
	err = check_free(view, info->mem_offset, info->size, info->flags);
	mutex_unlock(&view->control);
	if (err)
		return err;
	source = exmem_mirror_file(view, file, info->fd_offset >> PAGE_SHIFT,
				   (info->fd_offset + info->size - 1) >> PAGE_SHIFT,
				   info->flags);
	if (IS_ERR(source))
		return PTR_ERR(source);
	return show_if_free(view, source, info->mem_offset, info->size,
			    info->fd_offset, info->flags);
}

/* With the view's control held. */
static int unmap(struct exmem_view *view, u64 offset, u64 size)
{
	LIST_HEAD(nothing);

	return exmem_view_replace(view, offset >> PAGE_SHIFT,
				  (offset + size) >> PAGE_SHIFT, &nothing);
}

/* Without control: this waits for the mmap lock of whoever has a slot. */
static int fill_slots(struct exmem_view *view, u64 offset, u64 size)
{
	return exmem_view_fill_slots(view, offset >> PAGE_SHIFT,
				     (offset + size) >> PAGE_SHIFT);
}

/* What cannot be shown to guests is not shown to anybody. */
static void unmap_unless_changed(struct exmem_view *view, u64 offset, u64 size,
				 unsigned long changes)
{
	mutex_lock(&view->control);
	if (view->changes == changes)
		unmap(view, offset, size);
	mutex_unlock(&view->control);
}

static int map_exclusive(struct exmem_view *view, struct file *file,
			 const struct memview_map_fd_info *info)
{
	struct exmem_view_source *source;
	unsigned long changes = 0;
	int err;

	mutex_lock(&view->control);
	err = check_free(view, info->mem_offset, info->size, info->flags);
	if (err)
		goto unlock;
	source = exmem_view_exclusive(view, file, info->flags & MEMVIEW_MAP_YIELD);
	if (IS_ERR(source)) {
		err = PTR_ERR(source);
		goto unlock;
	}
	err = show(view, source, info->mem_offset, info->size, info->fd_offset,
		   info->flags);
	exmem_view_exclusive_settle(source);
	exmem_view_source_put(source);
	changes = view->changes;
unlock:
	mutex_unlock(&view->control);
	if (err)
		return err;
	err = fill_slots(view, info->mem_offset, info->size);
	if (err)
		unmap_unless_changed(view, info->mem_offset, info->size, changes);
	return err;
}

static int check_map_file(struct exmem_view *view, struct file *file,
			  const struct memview_map_fd_info *info)
{
	unsigned long mask = exmem_view_page_size(file) - 1;
	int err;

	err = check_file(file) ?: exmem_view_check_access(file, info->flags);
	if (err)
		return err;
	if (!exmem_view_is_access(info->flags & EXMEM_VIEW_ACCESS))
		return -EINVAL;
	if (info->flags & MEMVIEW_MAP_YIELD && !exmem_file_object(file))
		return -EINVAL;
	if ((info->fd_offset | info->size | info->mem_offset) & mask ||
	    info->fd_offset > MAX_LFS_FILESIZE ||
	    info->size > MAX_LFS_FILESIZE - info->fd_offset)
		return -EINVAL;
	return check_interval(view, info->mem_offset, info->size);
}

static long ioctl_map_fd(struct exmem_view *view, unsigned int cmd,
			 const void __user *arg)
{
	struct memview_map_fd_info info;
	struct file *file;
	int err;

	err = exmem_copy_argument(&info, sizeof(info), cmd, arg);
	if (err)
		return err;
	if (info.flags & ~MAP_FD_FLAGS)
		return -EINVAL;
	file = fget(info.fd);
	if (!file)
		return -EBADF;
	err = check_map_file(view, file, &info);
	if (!err && exmem_file_object(file))
		err = map_exclusive(view, file, &info);
	else if (!err)
		err = map_file(view, file, &info);
	fput(file);
	return err;
}

static int map_mem(struct exmem_view *view, const struct memview_map_mem *mem)
{
	struct exmem_view_source *source;

	source = exmem_mirror_process(view, mem->addr, mem->size);
	if (IS_ERR(source))
		return PTR_ERR(source);
	return show_if_free(view, source, mem->mem_offset, mem->size, mem->addr,
			    mem->flags);
}

static long ioctl_map_mem(struct exmem_view *view, unsigned int cmd,
			  const void __user *arg)
{
	struct memview_map_mem mem;
	int err;

	err = exmem_copy_argument(&mem, sizeof(mem), cmd, arg);
	if (err)
		return err;
	if (mem.flags & ~MAP_MEM_FLAGS || mem.reserved ||
	    !exmem_view_is_access(mem.flags & EXMEM_VIEW_ACCESS))
		return -EINVAL;
	if (!PAGE_ALIGNED(mem.addr) || mem.addr > TASK_SIZE_MAX ||
	    mem.size > TASK_SIZE_MAX - mem.addr)
		return -EINVAL;
	err = check_interval(view, mem.mem_offset, mem.size);
	if (err)
		return err;
	if (exmem_anon_is_watched()) {
		pr_warn_once("process memory cannot be shown in a view: the kernel was booted with page_table_check=on\n");
		return -EOPNOTSUPP;
	}
	return map_mem(view, &mem);
}

static long ioctl_unmap_fd(struct exmem_view *view, unsigned int cmd,
			   const void __user *arg)
{
	struct memview_unmap interval;
	int err;

	err = exmem_copy_argument(&interval, sizeof(interval), cmd, arg);
	if (err)
		return err;
	mutex_lock(&view->control);
	err = check_interval(view, interval.mem_offset, interval.size) ?:
	      unmap(view, interval.mem_offset, interval.size);
	mutex_unlock(&view->control);
	return err;
}

static long ioctl_protect(struct exmem_view *view, unsigned int cmd,
			  const void __user *arg)
{
	struct memview_protect change;
	int err;

	err = exmem_copy_argument(&change, sizeof(change), cmd, arg);
	if (err)
		return err;
	if (change.reserved || !exmem_view_is_access(change.flags))
		return -EINVAL;
	err = check_interval(view, change.mem_offset, change.size);
	if (err)
		return err;
	return exmem_view_protect(view, change.mem_offset >> PAGE_SHIFT,
				  (change.mem_offset + change.size) >> PAGE_SHIFT,
				  change.flags) ?:
	       fill_slots(view, change.mem_offset, change.size);
}

static unsigned int list_ranges(struct exmem_view *view, pgoff_t *from,
				struct memview_range *batch, unsigned int room)
{
	struct exmem_view_range *range;
	unsigned int nr = 0;

	for (range = exmem_view_range_after(view, *from); range && nr < room;
	     range = exmem_view_range_next(range)) {
		batch[nr++] = (struct memview_range){
			.mem_offset = (u64)range->start << PAGE_SHIFT,
			.size = (u64)(range->end - range->start) << PAGE_SHIFT,
			.offset = (u64)range->offset << PAGE_SHIFT,
			.flags = range->flags,
			.kind = range->source->kind,
		};
		*from = range->end;
	}
	return nr;
}

static int copy_ranges(struct exmem_view *view, struct memview_range __user *to,
		       unsigned int capacity)
{
	struct memview_range batch[LIST_BATCH];
	unsigned int nr, room;
	pgoff_t from = 0;

	while (capacity) {
		room = min_t(unsigned int, capacity, LIST_BATCH);
		nr = list_ranges(view, &from, batch, room);
		if (copy_to_user(to, batch, nr * sizeof(*batch)))
			return -EFAULT;
		if (nr < room)
			break;
		to += nr;
		capacity -= nr;
		cond_resched();
	}
	return 0;
}

static long ioctl_get_ranges(struct exmem_view *view, unsigned int cmd,
			     void __user *arg)
{
	struct memview_get_ranges get;
	int err;

	err = exmem_copy_argument(&get, sizeof(get), cmd, arg);
	if (err)
		return err;
	mutex_lock(&view->control);
	get.count = view->nr_ranges;
	err = copy_ranges(view, u64_to_user_ptr(get.ranges), get.capacity);
	mutex_unlock(&view->control);
	if (err)
		return err;
	return copy_to_user(arg, &get, sizeof(get)) ? -EFAULT : 0;
}

static long ioctl_sync(struct exmem_view *view)
{
	flush_work(&view->zap);
	/* Sources that linger go as well, so that their files are free. */
	flush_delayed_work(&view->reap);
	return 0;
}

/**
 * exmem_view_ioctl() - an ioctl on the control file
 * @file: the control file
 * @cmd: MEMVIEW_*
 * @arg: its argument
 */
long exmem_view_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct exmem_view *view = file->private_data;
	void __user *argp = (void __user *)arg;

	switch (cmd) {
	case MEMVIEW_SET_SIZE:
		return ioctl_set_size(view, argp);
	case MEMVIEW_GET_VIEWFD:
		return exmem_view_fd_new(view, arg);
	case MEMVIEW_SYNC:
		return ioctl_sync(view);
	}

	switch (EXMEM_IOC_BARE(cmd)) {
	case EXMEM_IOC_BARE(MEMVIEW_MAP_FD):
		return ioctl_map_fd(view, cmd, argp);
	case EXMEM_IOC_BARE(MEMVIEW_UNMAP_FD):
		return ioctl_unmap_fd(view, cmd, argp);
	case EXMEM_IOC_BARE(MEMVIEW_MAP_MEM):
		return ioctl_map_mem(view, cmd, argp);
	case EXMEM_IOC_BARE(MEMVIEW_PROTECT):
		return ioctl_protect(view, cmd, argp);
	case EXMEM_IOC_BARE(MEMVIEW_GET_RANGES):
		return ioctl_get_ranges(view, cmd, argp);
	}
	return -ENOTTY;
}
