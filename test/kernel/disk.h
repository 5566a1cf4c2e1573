/* SPDX-License-Identifier: GPL-2.0 */
/* File systems that end with the test. */
#ifndef EXMEM_TEST_DISK_H
#define EXMEM_TEST_DISK_H

#include "harness.h"

/* A loop device of zeros, until its descriptor and its mounts are gone; its memfd, unless NULL. */
int make_loop_device(size_t size, char name[32], int *image);

/* Mounts, in a mount namespace of this process's own. */
struct disk {
	char directory[32];
	char device[32];
	int image;	/* the memfd whose bytes are the device's */
	int loop;	/* keeps the device while it is not mounted */
};

/* Skips the test where it cannot be made. */
struct disk make_disk(size_t size);
struct disk make_mount(const char *type, unsigned long flags, const char *options);
/* -1 or 0 */
int unmount(const struct disk *disk);
void mount_again(const struct disk *disk);

int open_on(const struct disk *disk, const char *name, int flags);
int make_file_on(const struct disk *disk, const char *name, uint64_t size);

/* Where on the device a file's byte is; its file system must know by now. */
uint64_t place_of(int fd, uint64_t offset);

#endif
