// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/exclusive_memory, /dev/exclusive_guest, restricted memfds, and the ioctls
 * of all.
 *
 * Every object has an inode on the pseudo file system. A restricted
 * memfd is a file of that inode. An open device file has the device's inode,
 * and borrows the address space of the object's, so that each object's mapping
 * can be found and revoked by itself.
 */
#include <linux/anon_inodes.h>
#include <linux/compat.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/hrtimer.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>

#include "exmem.h"
#include "compat/compat.h"

#define MEMFD_PREFIX	"restricted_memfd:"

#define CREATE_FLAGS	(EXMEM_CREATE_GUEST | EXMEM_CREATE_HUGE | \
			 EXMEM_CREATE_HOST_ACCESS)

static const struct file_operations exmem_memfd_fops;

static int exmem_memfd_setattr(struct exmem_idmap *idmap, struct dentry *dentry,
			       struct iattr *attr)
{
	struct exmem_object *obj = d_inode(dentry)->i_private;

	if (attr->ia_valid & ATTR_SIZE)
		return exmem_object_set_size(obj, attr->ia_size);
	return simple_setattr(idmap, dentry, attr);
}

static const struct inode_operations exmem_memfd_iops = {
	.setattr = exmem_memfd_setattr,
};

static struct exmem_object *object_of(struct file *file)
{
	return file->private_data;
}

static int exmem_release(struct inode *inode, struct file *file)
{
	exmem_object_free(object_of(file));
	return 0;
}

static int exmem_device_release(struct inode *inode, struct file *file)
{
	struct inode *obj_inode = object_of(file)->inode;

	exmem_object_free(object_of(file));
	file->f_mapping = inode->i_mapping;
	exmem_inode_put(obj_inode);
	return 0;
}

static int device_open(struct file *file, u32 flags)
{
	struct exmem_object *obj;
	struct inode *obj_inode;

	obj_inode = exmem_inode_new();
	if (IS_ERR(obj_inode))
		return PTR_ERR(obj_inode);
	obj = exmem_object_create(obj_inode, flags);
	if (IS_ERR(obj)) {
		exmem_inode_put(obj_inode);
		return PTR_ERR(obj);
	}
	file->private_data = obj;
	file->f_mapping = obj_inode->i_mapping;
	return 0;
}

static int exmem_device_open(struct inode *inode, struct file *file)
{
	return device_open(file, 0);
}

static int exmem_guest_device_open(struct inode *inode, struct file *file)
{
	return device_open(file, EXMEM_CREATE_GUEST | EXMEM_CREATE_HOST_ACCESS);
}

static loff_t exmem_llseek(struct file *file, loff_t offset, int whence)
{
	return fixed_size_llseek(file, offset, whence,
				 READ_ONCE(object_of(file)->size));
}

static __poll_t exmem_poll(struct file *file, poll_table *wait)
{
	struct exmem_object *obj = object_of(file);
	__poll_t mask = 0;

	poll_wait(file, &obj->idle, wait);
	if (exmem_object_idle(obj))
		mask |= EPOLLOUT | EPOLLWRNORM;
	if (READ_ONCE(obj->destroyed))
		mask |= EPOLLERR;
	return mask;
}

static int exmem_file_mmap(struct file *file, struct vm_area_struct *vma)
{
	return exmem_mmap(object_of(file), vma);
}

static unsigned long exmem_file_unmapped_area(struct file *file,
					      unsigned long addr, unsigned long len,
					      unsigned long pgoff,
					      unsigned long flags)
{
	return exmem_get_unmapped_area(object_of(file), file, addr, len, pgoff,
				       flags);
}

/* With the object's lock held. */
static void object_info(struct exmem_object *obj, struct exmem_info *info)
{
	memset(info, 0, sizeof(*info));
	info->size = obj->size;
	info->flags = obj->flags;
	info->references = obj->references;
	info->notifiers = READ_ONCE(obj->nr_notifiers);
	if (obj->mapped)
		info->state |= EXMEM_STATE_MAPPED;
	if (obj->destroyed)
		info->state |= EXMEM_STATE_DESTROYED;
	if (obj->pages) {
		info->resident = (u64)obj->nr_pages << PAGE_SHIFT;
		if (obj->guest ? exmem_guest_direct_map_lost(obj) :
				 exmem_direct_map_lost(obj->pages, obj->nr_pages))
			info->state |= EXMEM_STATE_DIRECT_MAP_REMOVED;
	}
	if (obj->guest) {
		info->shared = (u64)obj->guest->nr_shared << PAGE_SHIFT;
		info->state |= obj->guest->sealed;
		if (obj->guest->vm)
			info->state |= EXMEM_STATE_BOUND;
	}
}

static void exmem_show_fdinfo(struct seq_file *m, struct file *file)
{
	struct exmem_object *obj = object_of(file);
	struct exmem_info info;

	/* Whoever asks is not to wait for a large mapping that is being made. */
	if (!mutex_trylock(&obj->lock))
		return;
	object_info(obj, &info);
	mutex_unlock(&obj->lock);
	seq_printf(m, "exmem-size:\t%llu\nexmem-resident:\t%llu\nexmem-flags:\t0x%x\nexmem-state:\t0x%x\nexmem-references:\t%u\n",
		   info.size, info.resident, info.flags, info.state,
		   info.references);
}

static int create_memfd(const struct exmem_create *create)
{
	char name[sizeof(MEMFD_PREFIX) + EXMEM_NAME_SIZE];
	struct exmem_object *obj;
	struct inode *inode;
	struct file *file;
	int fd, err;

	fd = get_unused_fd_flags(create->fd_flags);
	if (fd < 0)
		return fd;

	inode = exmem_inode_new();
	if (IS_ERR(inode)) {
		err = PTR_ERR(inode);
		goto put_fd;
	}
	inode->i_mode |= S_IFREG;
	inode->i_op = &exmem_memfd_iops;

	obj = exmem_object_create(inode, create->flags);
	if (IS_ERR(obj)) {
		err = PTR_ERR(obj);
		goto put_inode;
	}
	inode->i_private = obj;
	if (create->size) {
		err = exmem_object_set_size(obj, create->size);
		if (err)
			goto free_object;
	}

	snprintf(name, sizeof(name), MEMFD_PREFIX "%s", create->name);
	file = exmem_file_new(inode, name, &exmem_memfd_fops);
	if (IS_ERR(file)) {
		err = PTR_ERR(file);
		goto free_object;
	}
	file->private_data = obj;
	exmem_inode_put(inode);
	fd_install(fd, file);
	return fd;

free_object:
	exmem_object_free(obj);
put_inode:
	exmem_inode_put(inode);
put_fd:
	put_unused_fd(fd);
	return err;
}

static long ioctl_create(unsigned int cmd, const void __user *arg)
{
	struct exmem_create create;
	int err;

	err = exmem_copy_argument(&create, sizeof(create), cmd, arg);
	if (err)
		return err;
	if (create.flags & ~CREATE_FLAGS || create.fd_flags & ~O_CLOEXEC)
		return -EINVAL;
	if (create.flags & EXMEM_CREATE_HOST_ACCESS &&
	    !(create.flags & EXMEM_CREATE_GUEST))
		return -EINVAL;
	if (strnlen(create.name, sizeof(create.name)) == sizeof(create.name))
		return -EINVAL;
	return create_memfd(&create);
}

static long ioctl_set_size(struct exmem_object *obj, const void __user *arg)
{
	u64 size;

	if (copy_from_user(&size, arg, sizeof(size)))
		return -EFAULT;
	return exmem_object_set_size(obj, size);
}

static long ioctl_get_info(struct exmem_object *obj, unsigned int cmd,
			   void __user *arg)
{
	size_t size = _IOC_SIZE(cmd);
	struct exmem_info info;

	if (size < sizeof(info))
		return -EINVAL;
	if (mutex_lock_killable(&obj->lock))
		return -EINTR;
	object_info(obj, &info);
	mutex_unlock(&obj->lock);
	if (copy_to_user(arg, &info, sizeof(info)) ||
	    clear_user(arg + sizeof(info), size - sizeof(info)))
		return -EFAULT;
	return 0;
}

static long ioctl_wait_idle(struct exmem_object *obj, unsigned int cmd,
			    const void __user *arg)
{
	struct exmem_wait wait;
	int err;

	err = exmem_copy_argument(&wait, sizeof(wait), cmd, arg);
	if (err)
		return err;
	if (wait.reserved)
		return -EINVAL;

	if (wait.timeout_ns < 0)
		return wait_event_interruptible(obj->idle, exmem_object_idle(obj));
	if (!wait.timeout_ns)
		return exmem_object_idle(obj) ? 0 : -ETIMEDOUT;

	err = wait_event_interruptible_hrtimeout(obj->idle, exmem_object_idle(obj),
						 ns_to_ktime(wait.timeout_ns));
	if (err == -ETIME)
		return -ETIMEDOUT;
	/* Restarted, it would wait for the whole time again. */
	return err == -ERESTARTSYS ? -EINTR : err;
}

static long object_ioctl(struct file *file, unsigned int cmd, void __user *arg)
{
	struct exmem_object *obj = object_of(file);

	switch (cmd) {
	case EXMEM_SET_SIZE:
		return ioctl_set_size(obj, arg);
	case EXMEM_DESTROY:
		return exmem_object_destroy(obj);
	}

	switch (EXMEM_IOC_BARE(cmd)) {
	case EXMEM_IOC_BARE(EXMEM_GET_INFO):
		return ioctl_get_info(obj, cmd, arg);
	case EXMEM_IOC_BARE(EXMEM_WAIT_IDLE):
		return ioctl_wait_idle(obj, cmd, arg);
	}
	return exmem_guest_ioctl(obj, file->f_mode, cmd, arg);
}

static long exmem_memfd_ioctl(struct file *file, unsigned int cmd,
			      unsigned long arg)
{
	return object_ioctl(file, cmd, (void __user *)arg);
}

static long exmem_device_ioctl(struct file *file, unsigned int cmd,
			       unsigned long arg)
{
	if (cmd == EXMEM_GET_VERSION)
		return EXMEM_API_VERSION;
	if (EXMEM_IOC_BARE(cmd) == EXMEM_IOC_BARE(EXMEM_CREATE))
		return ioctl_create(cmd, (void __user *)arg);
	return object_ioctl(file, cmd, (void __user *)arg);
}

static const struct file_operations exmem_memfd_fops = {
	.owner = THIS_MODULE,
	.release = exmem_release,
	.llseek = exmem_llseek,
	.poll = exmem_poll,
	.mmap = exmem_file_mmap,
	.get_unmapped_area = exmem_file_unmapped_area,
	.unlocked_ioctl = exmem_memfd_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.show_fdinfo = exmem_show_fdinfo,
};

static const struct file_operations exmem_device_fops = {
	.owner = THIS_MODULE,
	.open = exmem_device_open,
	.release = exmem_device_release,
	.llseek = exmem_llseek,
	.poll = exmem_poll,
	.mmap = exmem_file_mmap,
	.get_unmapped_area = exmem_file_unmapped_area,
	.unlocked_ioctl = exmem_device_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.show_fdinfo = exmem_show_fdinfo,
};

static const struct file_operations exmem_guest_device_fops = {
	.owner = THIS_MODULE,
	.open = exmem_guest_device_open,
	.release = exmem_device_release,
	.llseek = exmem_llseek,
	.poll = exmem_poll,
	.mmap = exmem_file_mmap,
	.get_unmapped_area = exmem_file_unmapped_area,
	.unlocked_ioctl = exmem_device_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.show_fdinfo = exmem_show_fdinfo,
};

/**
 * exmem_file_object() - the object behind a file
 * @file: any file
 *
 * Return: the object, or NULL if @file is something else.
 */
struct exmem_object *exmem_file_object(struct file *file)
{
	if (file->f_op == &exmem_memfd_fops || file->f_op == &exmem_device_fops ||
	    file->f_op == &exmem_guest_device_fops)
		return object_of(file);
	return NULL;
}

static struct miscdevice exmem_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "exclusive_memory",
	.fops = &exmem_device_fops,
	.mode = 0600,
};

static struct miscdevice exmem_guest_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "exclusive_guest",
	.fops = &exmem_guest_device_fops,
	.mode = 0600,
};

int exmem_device_init(void)
{
	int err;

	err = misc_register(&exmem_device);
	if (err)
		return err;
	err = misc_register(&exmem_guest_device);
	if (err)
		misc_deregister(&exmem_device);
	return err;
}

void exmem_device_exit(void)
{
	misc_deregister(&exmem_guest_device);
	misc_deregister(&exmem_device);
}
