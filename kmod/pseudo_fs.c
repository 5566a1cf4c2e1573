// SPDX-License-Identifier: GPL-2.0
/*
 * The file system of restricted memfds and view fds. It is mounted nowhere, and
 * its inodes have no way to be opened: a file is what its maker gave out.
 */
#include <linux/file.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pseudo_fs.h>

#include "exmem.h"

#define EXMEM_MAGIC	0x45584d4d	/* "EXMM" */

/* Mounted while there are inodes, and the mount holds the module. */
static struct vfsmount *exmem_mnt;
static int exmem_mnt_count;
static struct file_system_type exmem_fs;

/**
 * exmem_inode_new() - a new inode, of no type yet
 *
 * Return: the inode, for exmem_inode_put(), or an ERR_PTR.
 */
struct inode *exmem_inode_new(void)
{
	struct inode *inode;
	int err;

	err = simple_pin_fs(&exmem_fs, &exmem_mnt, &exmem_mnt_count);
	if (err)
		return ERR_PTR(err);
	inode = alloc_anon_inode(exmem_mnt->mnt_sb);
	if (IS_ERR(inode))
		simple_release_fs(&exmem_mnt, &exmem_mnt_count);
	return inode;
}

/**
 * exmem_inode_put() - the maker of an inode is done with it
 * @inode: lives on in its files
 */
void exmem_inode_put(struct inode *inode)
{
	iput(inode);
	simple_release_fs(&exmem_mnt, &exmem_mnt_count);
}

/**
 * exmem_file_new() - open an inode
 * @inode: of exmem_inode_new(), and a regular file by now
 * @name: what /proc/PID/fd shows after a slash
 * @fops: this module's
 *
 * Return: the file, which holds the inode, the mount and the module, or an
 * ERR_PTR.
 */
struct file *exmem_file_new(struct inode *inode, const char *name,
			    const struct file_operations *fops)
{
	struct file *file;

	/* The last fput() drops it. */
	__module_get(THIS_MODULE);
	ihold(inode);
	file = alloc_file_pseudo(inode, exmem_mnt, name, O_RDWR | O_LARGEFILE, fops);
	if (IS_ERR(file)) {
		iput(inode);
		module_put(THIS_MODULE);
	}
	return file;
}

/* "/NAME": such files are in no directory, and were not deleted either. */
static char *exmem_dname(struct dentry *dentry, char *buffer, int buflen)
{
	int len = dentry->d_name.len + 2;

	if (len > buflen)
		return ERR_PTR(-ENAMETOOLONG);
	buffer += buflen - len;
	snprintf(buffer, len, "/%s", dentry->d_name.name);
	return buffer;
}

static const struct dentry_operations exmem_dops = {
	.d_dname = exmem_dname,
};

static int exmem_init_fs_context(struct fs_context *fc)
{
	struct pseudo_fs_context *ctx = init_pseudo(fc, EXMEM_MAGIC);

	if (!ctx)
		return -ENOMEM;
	ctx->dops = &exmem_dops;
	return 0;
}

static struct file_system_type exmem_fs = {
	.owner = THIS_MODULE,
	.name = "exclusive_memory",
	.init_fs_context = exmem_init_fs_context,
	.kill_sb = kill_anon_super,
};
