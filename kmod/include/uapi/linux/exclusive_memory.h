/* SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR MIT) */
/*
 * Exclusive memory: memory that only its intended user can see.
 *
 * /dev/exclusive_memory	an open file is one exclusive memory object
 * restricted memfd		the same object, as a file descriptor that
 *				EXMEM_CREATE returns
 *
 * An object is mapped whole (offset 0, length equal to its size), shared, and
 * by one mapping at a time on the whole machine. The mapping cannot be split,
 * moved, resized or inherited by fork(2). Its pages are not in the kernel's
 * direct map, and no other process, nor the kernel on its behalf, can read
 * them.
 *
 * Every reserved field and every unknown flag bit must be zero, or the call
 * fails with EINVAL. Structures grow only at the end: a caller that passes a
 * longer structure than the kernel knows gets E2BIG, unless the rest is zero.
 */
#ifndef _UAPI_LINUX_EXCLUSIVE_MEMORY_H
#define _UAPI_LINUX_EXCLUSIVE_MEMORY_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define EXMEM_API_VERSION 1

#define EXMEM_NAME_SIZE 32

/**
 * struct exmem_create - argument of EXMEM_CREATE
 * @size: bytes; 0 if ftruncate(2) or EXMEM_SET_SIZE sets it later
 * @flags: EXMEM_CREATE_*
 * @fd_flags: 0 or O_CLOEXEC
 * @name: NUL-terminated; shown in /proc/PID/fd as "/restricted_memfd:NAME"
 */
struct exmem_create {
	__u64 size;
	__u32 flags;
	__u32 fd_flags;
	__u8  name[EXMEM_NAME_SIZE];
};

/* Memory for a KVM guest: host mappings are PROT_NONE only. */
#define EXMEM_CREATE_GUEST		(1U << 0)
/* Whole 2 MiB blocks; ENOMEM rather than falling back to single pages. */
#define EXMEM_CREATE_HUGE		(1U << 1)
/* Only with GUEST: the monitor may read and write the memory too. */
#define EXMEM_CREATE_HOST_ACCESS	(1U << 2)

/**
 * struct exmem_info - result of EXMEM_GET_INFO
 * @size: bytes; 0 while it is not set
 * @resident: bytes of physical memory held
 * @shared: bytes of a guest object that are in the shared state
 * @flags: EXMEM_CREATE_* that the object was made with
 * @state: EXMEM_STATE_*
 * @references: outstanding in-kernel page references
 * @notifiers: in-kernel users bound to the object
 * @reserved: zero
 */
struct exmem_info {
	__u64 size;
	__u64 resident;
	__u64 shared;
	__u32 flags;
	__u32 state;
	__u32 references;
	__u32 notifiers;
	__u64 reserved[2];
};

#define EXMEM_STATE_MAPPED		(1U << 0)
#define EXMEM_STATE_DESTROYED		(1U << 1)
#define EXMEM_STATE_CONTENT_SEALED	(1U << 2)
#define EXMEM_STATE_LAYOUT_SEALED	(1U << 3)
#define EXMEM_STATE_BOUND		(1U << 4)
/* Pages are resident, and every private one is out of the direct map. */
#define EXMEM_STATE_DIRECT_MAP_REMOVED	(1U << 5)

/**
 * struct exmem_wait - argument of EXMEM_WAIT_IDLE
 * @timeout_ns: nanoseconds; negative: for ever, 0: only look
 * @reserved: zero
 */
struct exmem_wait {
	__s64 timeout_ns;
	__u64 reserved;
};

/**
 * struct exmem_populate - argument of EXMEM_POPULATE
 * @offset: byte offset in the object
 * @len: bytes
 * @src: user address of the bytes to copy in
 * @flags: zero
 * @reserved: zero
 */
struct exmem_populate {
	__u64 offset;
	__u64 len;
	__u64 src;
	__u32 flags;
	__u32 reserved;
};

/**
 * struct exmem_share - argument of EXMEM_SET_SHARED
 * @offset: byte offset in the object, page-aligned
 * @len: bytes, page-aligned
 * @flags: EXMEM_SHARE_*
 * @reserved: zero
 */
struct exmem_share {
	__u64 offset;
	__u64 len;
	__u32 flags;
	__u32 reserved;
};

#define EXMEM_SHARE_SHARED	(1U << 0) /* set: make shared; clear: make private */
#define EXMEM_SHARE_WIPE	(1U << 1) /* zero the range during the conversion */

#define EXMEM_IOC_MAGIC		0xEC

/* For the device file. */
#define EXMEM_GET_VERSION	_IO(EXMEM_IOC_MAGIC, 0x00)
#define EXMEM_CREATE		_IOW(EXMEM_IOC_MAGIC, 0x01, struct exmem_create)

/* For an object: an open device file, or a restricted memfd. */
#define EXMEM_SET_SIZE		_IOW(EXMEM_IOC_MAGIC, 0x02, __u64)
#define EXMEM_GET_INFO		_IOR(EXMEM_IOC_MAGIC, 0x03, struct exmem_info)
#define EXMEM_WAIT_IDLE		_IOW(EXMEM_IOC_MAGIC, 0x04, struct exmem_wait)
#define EXMEM_DESTROY		_IO(EXMEM_IOC_MAGIC, 0x05)
#define EXMEM_POPULATE		_IOW(EXMEM_IOC_MAGIC, 0x06, struct exmem_populate)
#define EXMEM_SEAL		_IOW(EXMEM_IOC_MAGIC, 0x07, __u32)
#define EXMEM_SET_SHARED	_IOW(EXMEM_IOC_MAGIC, 0x08, struct exmem_share)
#define EXMEM_BIND_VM		_IOW(EXMEM_IOC_MAGIC, 0x09, __s32)

#endif /* _UAPI_LINUX_EXCLUSIVE_MEMORY_H */
