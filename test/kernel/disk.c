// SPDX-License-Identifier: GPL-2.0
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "disk.h"
#include "memory.h"
#include "system.h"

int make_loop_device(size_t size, char name[32], int *image)
{
	int control, index, memfd, loop;
	struct loop_config config = { 0 };

	run_program("modprobe", "-q", "loop");
	control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	if (control < 0)
		skip("no loop devices: %s", errno_name(errno));
	memfd = expect_ok(memfd_create("image", MFD_CLOEXEC));
	expect_ok(ftruncate(memfd, size));
	index = expect_ok(ioctl(control, LOOP_CTL_GET_FREE));
	close(control);
	snprintf(name, 32, "/dev/loop%d", index);
	loop = expect_ok(open(name, O_RDWR | O_CLOEXEC));
	config.fd = memfd;
	config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
	expect_ok(ioctl(loop, LOOP_CONFIGURE, &config));
	if (image)
		*image = memfd;
	return loop;
}

static struct disk make_directory(void)
{
	static bool private;
	struct disk disk = { .directory = "/dev/shm/exmem-XXXXXX", .image = -1 };

	if (!private) {
		expect_ok(unshare(CLONE_NEWNS));
		expect_ok(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
		/* What is made there goes with the namespace too. */
		expect_ok(mount("exmem-test", "/dev/shm", "tmpfs", 0, "size=90%"));
		private = true;
	}
	check(mkdtemp(disk.directory), "mkdtemp: %s", errno_name(errno));
	return disk;
}

struct disk make_mount(const char *type, unsigned long flags, const char *options)
{
	struct disk disk = make_directory();

	if (errno_of(mount("exmem-test", disk.directory, type, flags, options)))
		skip("cannot mount %s: %s", type, errno_name(errno));
	return disk;
}

void mount_again(const struct disk *disk)
{
	if (errno_of(mount(disk->device, disk->directory, "ext4", 0, NULL)))
		skip("cannot mount ext4: %s", errno_name(errno));
}

struct disk make_disk(size_t size)
{
	struct disk disk = make_directory();
	int loop = make_loop_device(size, disk.device, &disk.image);

	/* Every block holds the bytes of at most one file: no bytes of it are in the journal. */
	if (run_program("mkfs.ext4", "-q", "-F", "-b", "4096", disk.device))
		skip("mkfs.ext4 does not work");
	run_program("modprobe", "-q", "ext4");
	mount_again(&disk);
	disk.loop = loop;
	return disk;
}

int unmount(const struct disk *disk)
{
	return umount2(disk->directory, 0);
}

int open_on(const struct disk *disk, const char *name, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/%s", disk->directory, name);
	return expect_ok(open(path, flags | O_CLOEXEC, 0700));
}

int make_file_on(const struct disk *disk, const char *name, uint64_t size)
{
	int fd = open_on(disk, name, O_RDWR | O_CREAT | O_EXCL);

	expect_ok(ftruncate(fd, size));
	return fd;
}

uint64_t place_of(int fd, uint64_t offset)
{
	union {
		struct fiemap map;
		char space[sizeof(struct fiemap) + sizeof(struct fiemap_extent)];
	} u = { .map = { .fm_start = offset, .fm_length = 1, .fm_extent_count = 1 } };
	struct fiemap_extent *extent = u.map.fm_extents;

	expect_ok(ioctl(fd, FS_IOC_FIEMAP, &u));
	expect_equal(1, u.map.fm_mapped_extents);
	check(!(extent->fe_flags & (FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_UNWRITTEN)),
	      "the byte at %llu has no place on the disk, flags 0x%x", (unsigned long long)offset, extent->fe_flags);
	return extent->fe_physical + (offset - extent->fe_logical);
}
