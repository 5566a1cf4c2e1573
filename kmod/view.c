// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/memory-view, and the life of a view.
 */
#include <linux/compat.h>
#include <linux/err.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "view.h"

/*
 * Work that may wait for file systems, the jobs in shadows that it waits for,
 * and, apart from both, what reclaim may be glad of.
 */
struct workqueue_struct *exmem_view_wq;
struct workqueue_struct *exmem_shadow_wq;
struct workqueue_struct *exmem_zap_wq;

static void free_view(struct kref *ref)
{
	struct exmem_view *view = container_of(ref, struct exmem_view, ref);

	WARN_ON(view->nr_ranges || work_pending(&view->zap));
	exmem_shadow_free(view->shadow);
	exmem_inode_put(view->slot_inode);
	exmem_inode_put(view->inode);
	mmdrop(view->owner);
	mutex_destroy(&view->control);
	kfree(view);
	exmem_count(EXMEM_VIEWS, -1);
}

/**
 * exmem_view_put() - drop a reference
 * @view: may be freed; the last reference may have to wait
 */
void exmem_view_put(struct exmem_view *view)
{
	kref_put(&view->ref, free_view);
}

/**
 * exmem_view_source_init() - what all sources have
 * @source: zeroed; without a user
 * @ops: of its kind
 * @view: gets a reference more
 * @kind: MEMVIEW_KIND_*
 */
void exmem_view_source_init(struct exmem_view_source *source,
			    const struct exmem_view_source_ops *ops,
			    struct exmem_view *view, u32 kind)
{
	kref_get(&view->ref);
	source->ops = ops;
	source->view = view;
	source->kind = kind;
	INIT_HLIST_NODE(&source->by_file);
	INIT_LIST_HEAD(&source->idle);
	atomic_set(&source->users, 0);
	source->ranges = RB_ROOT_CACHED;
	xa_init(&source->pages);
}

/**
 * exmem_view_source_fini() - undo exmem_view_source_init()
 * @source: without a user or a range
 */
void exmem_view_source_fini(struct exmem_view_source *source)
{
	xa_destroy(&source->pages);
	exmem_view_put(source->view);
}

/**
 * exmem_view_source_put() - a user is gone
 * @source: may be freed
 */
void exmem_view_source_put(struct exmem_view_source *source)
{
	source->ops->put(source);
}

static struct inode *inode_new(void)
{
	struct inode *inode = exmem_inode_new();

	if (!IS_ERR(inode)) {
		inode->i_mode |= S_IFREG;
		inode->i_op = &exmem_view_iops;
	}
	return inode;
}

static int exmem_view_open(struct inode *inode, struct file *file)
{
	struct exmem_view *view;
	int err;

	view = kzalloc(sizeof(*view), GFP_KERNEL_ACCOUNT);
	if (!view)
		return -ENOMEM;
	view->inode = inode_new();
	if (IS_ERR(view->inode)) {
		err = PTR_ERR(view->inode);
		goto free_view;
	}
	view->slot_inode = inode_new();
	if (IS_ERR(view->slot_inode)) {
		err = PTR_ERR(view->slot_inode);
		goto put_inode;
	}

	mmgrab(current->mm);
	view->owner = current->mm;
	kref_init(&view->ref);
	mutex_init(&view->control);
	hash_init(view->exclusives);
	INIT_DELAYED_WORK(&view->reap, exmem_mirror_reap);
	init_rwsem(&view->lock);
	view->ranges = RB_ROOT;
	spin_lock_init(&view->spin);
	INIT_LIST_HEAD(&view->slots);
	hash_init(view->files);
	INIT_LIST_HEAD(&view->idle);
	INIT_LIST_HEAD(&view->dead);
	init_waitqueue_head(&view->zapped);
	INIT_WORK(&view->zap, exmem_mirror_zap);
	file->private_data = view;
	exmem_count(EXMEM_VIEWS, 1);
	return 0;

put_inode:
	exmem_inode_put(view->inode);
free_view:
	kfree(view);
	return err;
}

/* Nobody is left who could decide: nothing is shown any more. */
static int exmem_view_release(struct inode *inode, struct file *file)
{
	struct exmem_view *view = file->private_data;
	LIST_HEAD(nothing);

	mutex_lock(&view->control);
	WRITE_ONCE(view->closed, true);
	if (view->size)
		WARN_ON(exmem_view_replace(view, 0, view->size >> PAGE_SHIFT,
					   &nothing));
	mutex_unlock(&view->control);

	kref_get(&view->ref);
	if (mod_delayed_work(exmem_view_wq, &view->reap, 0))
		exmem_view_put(view);
	exmem_view_put(view);
	return 0;
}

const struct file_operations exmem_view_control_fops = {
	.owner = THIS_MODULE,
	.open = exmem_view_open,
	.release = exmem_view_release,
	.llseek = no_llseek,
	.unlocked_ioctl = exmem_view_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

static struct miscdevice exmem_view_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "memory-view",
	.fops = &exmem_view_control_fops,
	.mode = 0600,
};

int exmem_view_init(void)
{
	int err = -ENOMEM;

	exmem_view_wq = alloc_workqueue("exmem_view", WQ_UNBOUND, 0);
	if (!exmem_view_wq)
		return -ENOMEM;
	exmem_shadow_wq = alloc_workqueue("exmem_shadow", WQ_UNBOUND, 0);
	if (!exmem_shadow_wq)
		goto destroy_view_wq;
	exmem_zap_wq = alloc_workqueue("exmem_zap",
				       WQ_UNBOUND | WQ_HIGHPRI | WQ_MEM_RECLAIM, 0);
	if (!exmem_zap_wq)
		goto destroy_shadow_wq;
	err = misc_register(&exmem_view_device);
	if (err)
		goto destroy_zap_wq;
	return 0;

destroy_zap_wq:
	destroy_workqueue(exmem_zap_wq);
destroy_shadow_wq:
	destroy_workqueue(exmem_shadow_wq);
destroy_view_wq:
	destroy_workqueue(exmem_view_wq);
	return err;
}

void exmem_view_exit(void)
{
	misc_deregister(&exmem_view_device);
	/* The last work of a view may outlive its files. */
	destroy_workqueue(exmem_view_wq);
	destroy_workqueue(exmem_shadow_wq);
	destroy_workqueue(exmem_zap_wq);
}
