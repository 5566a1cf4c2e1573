// SPDX-License-Identifier: GPL-2.0
/* Making objects: what is refused, and what one is told about them. */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "memory.h"
#include "system.h"

static const struct exmem_create valid = { .size = 3 * PAGE, .name = "valid" };

static int next_fd(void)
{
	int fd = expect_ok(dup(STDIN_FILENO));

	close(fd);
	return fd;
}

#define expect_refused(expected, create)					\
	do {									\
		int next_ = next_fd();						\
										\
		expect_errno(expected, create_ioctl(create));			\
		expect_equal(next_, next_fd());					\
	} while (0)

TEST("ABI the version is the header's")
{
	expect_equal(EXMEM_API_VERSION, ioctl(open_device(), EXMEM_GET_VERSION));
}

TEST("ABI each unknown flag of EXMEM_CREATE is EINVAL")
{
	const uint32_t known = EXMEM_CREATE_GUEST | EXMEM_CREATE_HUGE | EXMEM_CREATE_HOST_ACCESS;

	for (int bit = 0; bit < 32; bit++) {
		struct exmem_create create = valid;

		create.flags = 1U << bit;
		if (!(create.flags & known))
			expect_refused(EINVAL, create);
	}
}

TEST("ABI each fd flag but O_CLOEXEC is EINVAL")
{
	for (int bit = 0; bit < 32; bit++) {
		struct exmem_create create = valid;

		create.fd_flags = 1U << bit;
		if (create.fd_flags != O_CLOEXEC)
			expect_refused(EINVAL, create);
		create.fd_flags |= O_CLOEXEC;
		if (create.fd_flags != O_CLOEXEC)
			expect_refused(EINVAL, create);
	}
}

TEST("ABI EXMEM_CREATE_HOST_ACCESS without EXMEM_CREATE_GUEST is EINVAL")
{
	struct exmem_create create = valid;

	create.flags = EXMEM_CREATE_HOST_ACCESS;
	expect_refused(EINVAL, create);
	create.flags |= EXMEM_CREATE_HUGE;
	expect_refused(EINVAL, create);
}

TEST("ABI a name without its NUL is EINVAL")
{
	struct exmem_create create = valid;

	memset(create.name, 'n', sizeof(create.name));
	expect_refused(EINVAL, create);
}

static void expect_shown_name(const char *name)
{
	struct exmem_create create = { .size = PAGE };
	char path[32], shown[100] = "", wanted[64];
	int fd;

	memcpy(create.name, name, strlen(name));
	fd = expect_ok(create_ioctl(create));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	snprintf(wanted, sizeof(wanted), "/restricted_memfd:%s", name);
	expect_ok(readlink(path, shown, sizeof(shown) - 1));
	check(!strcmp(shown, wanted), "expected \"%s\", got \"%s\"", wanted, shown);
}

TEST("ABI the name is shown in /proc/PID/fd")
{
	expect_shown_name("session key");
	expect_shown_name("");
	expect_shown_name("1234567890123456789012345678901");
}

TEST("ABI two objects may have one name")
{
	int a = make_memfd(PAGE), b = make_memfd(PAGE);
	struct stat stat_a, stat_b;

	expect_ok(fstat(a, &stat_a));
	expect_ok(fstat(b, &stat_b));
	check(stat_a.st_ino != stat_b.st_ino, "two objects have the inode number %lu",
	      (unsigned long)stat_a.st_ino);
}

TEST("ABI a restricted memfd is a regular file, open for reading and writing")
{
	int fd = make_memfd(3 * PAGE);
	struct stat stat;

	expect_ok(fstat(fd, &stat));
	check(S_ISREG(stat.st_mode), "its mode is 0%o", stat.st_mode);
	expect_equal(O_RDWR, fcntl(fd, F_GETFL) & O_ACCMODE);
}

TEST("ABI O_CLOEXEC is set if it was asked for")
{
	struct exmem_create create = valid;

	expect_equal(0, fcntl(expect_ok(create_ioctl(create)), F_GETFD));
	create.fd_flags = O_CLOEXEC;
	expect_equal(FD_CLOEXEC, fcntl(expect_ok(create_ioctl(create)), F_GETFD));
}

TEST("ABI EXMEM_CREATE without a free descriptor is EMFILE")
{
	int device = open_device();
	struct exmem_create create = valid;
	struct rlimit limit;
	long objects = counter("objects");

	expect_ok(getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = device + 1;
	expect_ok(setrlimit(RLIMIT_NOFILE, &limit));
	expect_errno(EMFILE, ioctl(device, EXMEM_CREATE, &create));
	limit.rlim_cur = device + 10;
	expect_ok(setrlimit(RLIMIT_NOFILE, &limit));
	expect_counter_soon(objects, "objects");
}

/* A structure of another size than the header's. */
struct grown_create {
	struct exmem_create base;
	uint64_t tail[3];
};

static unsigned long command_of_size(unsigned long command, size_t size)
{
	return _IOC(_IOC_DIR(command), _IOC_TYPE(command), _IOC_NR(command), size);
}

TEST("ABI a larger structure with zeros behind is taken")
{
	struct grown_create create = { .base = valid };
	int fd = expect_ok(ioctl(open_device(), command_of_size(EXMEM_CREATE, sizeof(create)), &create));

	expect_equal(valid.size, info_of(fd).size);
}

TEST("ABI a larger structure with anything else behind is E2BIG")
{
	int device = open_device(), next = next_fd();

	for (size_t byte = 0; byte < sizeof(((struct grown_create *)0)->tail); byte++) {
		struct grown_create create = { .base = valid };

		((char *)create.tail)[byte] = 1;
		expect_errno(E2BIG, ioctl(device, command_of_size(EXMEM_CREATE, sizeof(create)), &create));
	}
	expect_equal(next, next_fd());
}

TEST("ABI a smaller structure is EINVAL")
{
	static const size_t sizes[] = { 0, 8, 12, 16, 47 };
	struct exmem_create create = valid;
	int device = open_device();

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		expect_errno(EINVAL, ioctl(device, command_of_size(EXMEM_CREATE, sizes[i]), &create));
}

TEST("ABI structures of other calls grow and shrink by the same rules")
{
	struct { struct exmem_wait base; uint64_t tail; } wait = { .tail = 0 };
	struct { struct exmem_info base; uint64_t tail; } info = { .tail = 0 };
	int fd = make_memfd(PAGE);

	expect_ok(ioctl(fd, command_of_size(EXMEM_WAIT_IDLE, sizeof(wait)), &wait));
	expect_errno(EINVAL, ioctl(fd, command_of_size(EXMEM_WAIT_IDLE, 8), &wait));
	wait.tail = 1;
	expect_errno(E2BIG, ioctl(fd, command_of_size(EXMEM_WAIT_IDLE, sizeof(wait)), &wait));

	expect_ok(ioctl(fd, command_of_size(EXMEM_GET_INFO, sizeof(info)), &info));
	expect_equal(PAGE, info.base.size);
	expect_equal(0, info.tail);

	/* A result may be cut short, but never longer than what the caller asked for. */
	memset(&info, 0x55, sizeof(info));
	ioctl(fd, command_of_size(EXMEM_GET_INFO, 48), &info);
	expect_equal(0x5555555555555555, info.base.reserved[1]);
	expect_equal(0x5555555555555555, info.tail);
}

TEST("ABI calls that do not exist are ENOTTY")
{
	int device = open_device(), memfd = make_memfd(PAGE);
	__u64 argument[32] = { 0 };

	for (int nr = 0x0a; nr < 0x100; nr++) {
		expect_errno(ENOTTY, ioctl(device, _IOW(EXMEM_IOC_MAGIC, nr, __u64), argument));
		expect_errno(ENOTTY, ioctl(memfd, _IOW(EXMEM_IOC_MAGIC, nr, __u64), argument));
	}
	expect_errno(ENOTTY, ioctl(device, _IOW('x', 0x01, struct exmem_create), argument));
	expect_errno(ENOTTY, ioctl(device, _IOR(EXMEM_IOC_MAGIC, 0x01, struct exmem_create), argument));
	expect_errno(ENOTTY, ioctl(device, _IOWR(EXMEM_IOC_MAGIC, 0x01, struct exmem_create), argument));
	expect_errno(ENOTTY, ioctl(memfd, _IOW(EXMEM_IOC_MAGIC, 0x03, struct exmem_info), argument));
	expect_errno(ENOTTY, ioctl(memfd, _IOW(EXMEM_IOC_MAGIC, 0x05, __u64), argument));
	expect_errno(ENOTTY, ioctl(memfd, TCGETS, argument));
	expect_errno(ENOTTY, ioctl(device, TCGETS, argument));
}

TEST("ABI calls for the device file are ENOTTY on a restricted memfd")
{
	struct exmem_create create = valid;
	int memfd = make_memfd(PAGE);

	expect_errno(ENOTTY, ioctl(memfd, EXMEM_GET_VERSION));
	expect_errno(ENOTTY, ioctl(memfd, EXMEM_CREATE, &create));
}

TEST("ABI a device file that is an object in use still makes others")
{
	struct exmem_create create = valid;
	int device = open_device(), fd;
	char *p;

	expect_ok(set_size(device, 2 * PAGE));
	p = map(device, 2 * PAGE);
	fill(p, 2 * PAGE, 1);
	fd = expect_ok(ioctl(device, EXMEM_CREATE, &create));
	expect_equal(valid.size, info_of(fd).size);
	fill(map(fd, valid.size), valid.size, 2);
	expect_filled(p, 2 * PAGE, 1);
}

TEST("ABI pointers that lead nowhere are EFAULT")
{
	void *nowhere = expect_ok(mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	void *kernel = (void *)UINT64_C(0xffff888000000000);
	int device = open_device(), memfd = make_memfd(0), next = next_fd();
	void *bad[] = { NULL, nowhere, kernel, (void *)-1 };

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		expect_errno(EFAULT, ioctl(device, EXMEM_CREATE, bad[i]));
		expect_errno(EFAULT, ioctl(memfd, EXMEM_SET_SIZE, bad[i]));
		expect_errno(EFAULT, ioctl(memfd, EXMEM_GET_INFO, bad[i]));
		expect_errno(EFAULT, ioctl(memfd, EXMEM_WAIT_IDLE, bad[i]));
	}
	expect_equal(next, next_fd());
	expect_equal(0, info_of(memfd).size);
}

TEST("ABI a structure that ends in no man's land is EFAULT")
{
	char *two = expect_ok(mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	int device = open_device();

	unmap(two + PAGE, PAGE);
	for (size_t present = 1; present < sizeof(valid); present += 7) {
		char *create = two + PAGE - present;

		memcpy(create, &valid, present);
		expect_errno(EFAULT, ioctl(device, EXMEM_CREATE, create));
	}
}

TEST("ABI guest calls on an object that is not a guest's are EOPNOTSUPP")
{
	int fds[] = { make_memfd(PAGE), open_device() };
	char byte = 1;
	struct exmem_populate populate = { .len = 1, .src = (uintptr_t)&byte };
	struct exmem_share share = { .len = PAGE, .flags = EXMEM_SHARE_SHARED };
	__u32 seal = EXMEM_STATE_CONTENT_SEALED;
	__s32 vm = 0;

	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		expect_errno(EOPNOTSUPP, ioctl(fds[i], EXMEM_POPULATE, &populate));
		expect_errno(EOPNOTSUPP, ioctl(fds[i], EXMEM_SEAL, &seal));
		expect_errno(EOPNOTSUPP, ioctl(fds[i], EXMEM_SET_SHARED, &share));
		expect_errno(EOPNOTSUPP, ioctl(fds[i], EXMEM_BIND_VM, &vm));
	}
}

TEST("ABI a new object's information")
{
	struct exmem_info info = info_of(make_memfd_flags(3 * PAGE + 5, 0));

	expect_equal(3 * PAGE + 5, info.size);
	expect_equal(0, info.shared);
	expect_equal(0, info.flags);
	expect_equal(0, info.state & ~EXMEM_STATE_DIRECT_MAP_REMOVED);
	expect_equal(0, info.references);
	expect_equal(0, info.notifiers);
	expect_equal(0, info.reserved[0]);
	expect_equal(0, info.reserved[1]);
}

TEST("ABI a mapped object's information")
{
	int fd = make_memfd(3 * PAGE);
	struct exmem_info info;
	char *p = map(fd, 3 * PAGE);

	info = info_of(fd);
	check(info.resident >= 3 * PAGE, "%llu bytes are resident", info.resident);
	expect_equal(EXMEM_STATE_MAPPED | EXMEM_STATE_DIRECT_MAP_REMOVED, info.state);
	unmap(p, 3 * PAGE);
	expect_equal(0, state_of(fd) & EXMEM_STATE_MAPPED);
}

TEST("ABI EXMEM_WAIT_IDLE with a reserved field that is not zero is EINVAL")
{
	int fd = make_memfd(PAGE);

	for (int bit = 0; bit < 64; bit++) {
		struct exmem_wait wait = { .reserved = UINT64_C(1) << bit };

		expect_errno(EINVAL, ioctl(fd, EXMEM_WAIT_IDLE, &wait));
	}
}

TEST("ABI the device's node is root's alone")
{
	struct stat node;

	expect_ok(stat(DEVICE, &node));
	check(S_ISCHR(node.st_mode), "its mode is 0%o", node.st_mode);
	if (node.st_gid)
		skip("a rule has given the node to group %u", node.st_gid);
	expect_equal(0600, node.st_mode & 07777);
	expect_equal(0, node.st_uid);
}

/* As a 32-bit program calls: through the kernel's compat_ioctl path. */
static long compat_ioctl(int fd, unsigned int request, void *argument)
{
	long result;

	asm volatile("int $0x80"
		     : "=a"(result)
		     : "a"(54L), "b"((long)fd), "c"((long)request), "d"(argument)
		     : "memory", "r8", "r9", "r10", "r11");
	result = (int)result;
	if (result < 0) {
		errno = -result;
		return -1;
	}
	return result;
}

static void *low_page(void)
{
	return expect_ok(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0));
}

TEST("ABI a 32-bit caller gets all of it")
{
	struct exmem_create *create = low_page();
	struct exmem_wait *wait = low_page();
	struct exmem_info *info = low_page();
	__u64 *size = low_page();
	int device = open_device(), fd;
	char *p;

	errno = 0;
	if (compat_ioctl(device, EXMEM_GET_VERSION, NULL) < 0 && errno == ENOSYS)
		skip("this kernel takes no 32-bit calls");
	expect_equal(EXMEM_API_VERSION, compat_ioctl(device, EXMEM_GET_VERSION, NULL));

	*create = valid;
	create->size = 0;
	fd = expect_ok(compat_ioctl(device, EXMEM_CREATE, create));
	create->flags = 1U << 31;
	expect_errno(EINVAL, compat_ioctl(device, EXMEM_CREATE, create));
	expect_errno(EFAULT, compat_ioctl(device, EXMEM_CREATE, NULL));
	expect_errno(ENOTTY, compat_ioctl(fd, EXMEM_CREATE, create));

	*size = 2 * PAGE;
	expect_ok(compat_ioctl(fd, EXMEM_SET_SIZE, size));
	expect_errno(EINVAL, compat_ioctl(fd, EXMEM_SET_SIZE, size));
	p = map(fd, 2 * PAGE);
	expect_ok(compat_ioctl(fd, EXMEM_GET_INFO, info));
	expect_equal(2 * PAGE, info->size);
	expect_equal(EXMEM_STATE_MAPPED | EXMEM_STATE_DIRECT_MAP_REMOVED, info->state);
	expect_errno(ETIMEDOUT, compat_ioctl(fd, EXMEM_WAIT_IDLE, wait));
	unmap(p, 2 * PAGE);
	expect_ok(compat_ioctl(fd, EXMEM_WAIT_IDLE, wait));
	expect_ok(compat_ioctl(fd, EXMEM_DESTROY, NULL));
	expect_equal(EXMEM_STATE_DESTROYED, state_of(fd) & EXMEM_STATE_DESTROYED);
}
