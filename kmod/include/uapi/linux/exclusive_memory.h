/* SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR MIT) */
/*
 * Exclusive memory: memory that only its intended user can see.
 *
 * /dev/exclusive_memory	an open file is one exclusive memory object
 * restricted memfd		the same object, as a file descriptor that
 *				EXMEM_CREATE returns
 * /dev/memory-view		an open file is the control file of one memory
 *				view; MEMVIEW_GET_VIEWFD makes view fds
 *
 * An object is mapped whole (offset 0, length equal to its size), shared, and
 * by one mapping at a time on the whole machine. The mapping cannot be split,
 * moved, resized or inherited by fork(2). Its pages are not in the kernel's
 * direct map, and no other process, nor the kernel on its behalf, can read
 * them.
 *
 * A memory view is a window of virtual size. Whoever holds its control file
 * decides, page range by page range and at any time, what whoever maps a view
 * fd finds there, and can take it back. A page's protection is the AND of the
 * mapping's, the view fd's cap and the range's flags. Where nothing is mapped,
 * or the source has no such page, access is SIGBUS; where the permission is
 * missing, SIGSEGV.
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

/*
 * What a range of a view, or a view fd, allows. WRITE and EXEC need READ: the
 * processor cannot give one without the other. 0 allows nothing.
 */
#define MEMVIEW_MAP_READ	(1U << 0)
#define MEMVIEW_MAP_WRITE	(1U << 1)
#define MEMVIEW_MAP_EXEC	(1U << 2)
/* Atomically replace what the range holds, rather than fail with EEXIST. */
#define MEMVIEW_MAP_REPLACE	(1U << 3)
/*
 * Only for exclusive memory: give way while user space has it mapped, rather
 * than refuse that mapping. The view's holders get SIGBUS for as long.
 */
#define MEMVIEW_MAP_YIELD	(1U << 4)

#define MEMVIEW_KIND_FILE	1 /* memfd, tmpfs, hugetlbfs or page-cache file */
#define MEMVIEW_KIND_EXCLUSIVE	2 /* exclusive memory object or restricted memfd */
#define MEMVIEW_KIND_PROCESS	3 /* a range of the owner's own address space */

/**
 * struct memview_map_fd_info - argument of MEMVIEW_MAP_FD
 * @fd: the source; open for reading, and for writing if @flags has WRITE
 * @flags: MEMVIEW_MAP_*
 * @fd_offset: bytes, aligned to the pages of the source
 * @size: bytes, aligned to the pages of the source
 * @mem_offset: byte offset in the view, aligned to the pages of the source
 */
struct memview_map_fd_info {
	__s32 fd;
	__u32 flags;
	__u64 fd_offset;
	__u64 size;
	__u64 mem_offset;
};

/**
 * struct memview_map_mem - argument of MEMVIEW_MAP_MEM
 * @addr: address in the caller's address space, page-aligned
 * @size: bytes, page-aligned
 * @mem_offset: byte offset in the view, page-aligned
 * @flags: MEMVIEW_MAP_*, but not YIELD
 * @reserved: zero
 */
struct memview_map_mem {
	__u64 addr;
	__u64 size;
	__u64 mem_offset;
	__u32 flags;
	__u32 reserved;
};

/**
 * struct memview_unmap - argument of MEMVIEW_UNMAP_FD
 * @mem_offset: byte offset in the view, page-aligned
 * @size: bytes, page-aligned
 */
struct memview_unmap {
	__u64 mem_offset;
	__u64 size;
};

/**
 * struct memview_protect - argument of MEMVIEW_PROTECT
 * @mem_offset: byte offset in the view, page-aligned
 * @size: bytes, page-aligned
 * @flags: MEMVIEW_MAP_READ, WRITE and EXEC, or 0
 * @reserved: zero
 */
struct memview_protect {
	__u64 mem_offset;
	__u64 size;
	__u32 flags;
	__u32 reserved;
};

/**
 * struct memview_range - one range of a view
 * @mem_offset: byte offset in the view
 * @size: bytes
 * @offset: byte offset in the source; for a process, the address
 * @flags: MEMVIEW_MAP_READ, WRITE, EXEC and YIELD
 * @kind: MEMVIEW_KIND_*
 */
struct memview_range {
	__u64 mem_offset;
	__u64 size;
	__u64 offset;
	__u32 flags;
	__u32 kind;
};

/**
 * struct memview_get_ranges - argument and result of MEMVIEW_GET_RANGES
 * @ranges: user address of an array of struct memview_range, filled in order
 * @capacity: how many fit there
 * @count: result: how many there are, which may be more
 */
struct memview_get_ranges {
	__u64 ranges;
	__u32 capacity;
	__u32 count;
};

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

/* For the control file of a memory view. A view fd has no ioctl. */
#define MEMVIEW_SET_SIZE	_IOW(EXMEM_IOC_MAGIC, 0x20, __u64)
#define MEMVIEW_MAP_FD		_IOW(EXMEM_IOC_MAGIC, 0x21, struct memview_map_fd_info)
#define MEMVIEW_UNMAP_FD	_IOW(EXMEM_IOC_MAGIC, 0x22, struct memview_unmap)
/* The argument is a cap, MEMVIEW_MAP_READ | ..., 0 for none. Returns a view fd. */
#define MEMVIEW_GET_VIEWFD	_IO(EXMEM_IOC_MAGIC, 0x23)
#define MEMVIEW_MAP_MEM		_IOW(EXMEM_IOC_MAGIC, 0x24, struct memview_map_mem)
#define MEMVIEW_PROTECT		_IOW(EXMEM_IOC_MAGIC, 0x25, struct memview_protect)
#define MEMVIEW_GET_RANGES	_IOWR(EXMEM_IOC_MAGIC, 0x26, struct memview_get_ranges)
/* When it returns, every change of a source so far has reached every mapping. */
#define MEMVIEW_SYNC		_IO(EXMEM_IOC_MAGIC, 0x27)

#endif /* _UAPI_LINUX_EXCLUSIVE_MEMORY_H */
