// SPDX-License-Identifier: GPL-2.0
#include <setjmp.h>
#include <signal.h>
#include <string.h>

#include "guest.h"
#include "memory.h"
#include "test_module.h"

bool is_host_access(void)
{
	static const char prefix[] = "host_access_";

	return !strncmp(program_invocation_short_name, prefix, strlen(prefix));
}

int open_device(void)
{
	return expect_ok(open(is_host_access() ? GUEST_DEVICE : DEVICE, O_RDWR | O_CLOEXEC));
}

int create_ioctl(struct exmem_create create)
{
	int device = expect_ok(open(DEVICE, O_RDWR | O_CLOEXEC));
	int fd = ioctl(device, EXMEM_CREATE, &create);
	int err = errno;

	close(device);
	errno = err;
	return fd;
}

int make_memfd_flags(uint64_t size, uint32_t flags)
{
	if (is_host_access())
		flags |= HOST_ACCESS;
	return expect_ok(create_ioctl((struct exmem_create){
		.size = size, .flags = flags, .fd_flags = O_CLOEXEC, .name = "test",
	}));
}

int make_memfd(uint64_t size)
{
	return make_memfd_flags(size, 0);
}

struct exmem_info info_of(int fd)
{
	struct exmem_info info;

	memset(&info, 0xff, sizeof(info));
	expect_ok(ioctl(fd, EXMEM_GET_INFO, &info));
	return info;
}

uint32_t state_of(int fd)
{
	return info_of(fd).state;
}

int set_size(int fd, uint64_t size)
{
	__u64 argument = size;

	return ioctl(fd, EXMEM_SET_SIZE, &argument);
}

int destroy(int fd)
{
	return ioctl(fd, EXMEM_DESTROY);
}

int wait_idle(int fd, int64_t timeout_ns)
{
	struct exmem_wait wait = { .timeout_ns = timeout_ns };

	return ioctl(fd, EXMEM_WAIT_IDLE, &wait);
}

void *try_map(int fd, size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

char *map(int fd, size_t size)
{
	return expect_ok(try_map(fd, size));
}

void unmap(void *address, size_t size)
{
	expect_ok(munmap(address, size));
}

/* splitmix64: every 8 bytes are different. */
static uint64_t word(uint64_t seed, uint64_t index)
{
	uint64_t z = (seed << 32) + (index + 1) * UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

void fill(void *address, size_t size, uint64_t seed)
{
	volatile uint64_t *words = address;

	for (size_t i = 0; i < size / sizeof(*words); i++)
		words[i] = word(seed, i);
}

bool is_filled(const void *address, size_t size, uint64_t seed)
{
	const volatile uint64_t *words = address;

	for (size_t i = 0; i < size / sizeof(*words); i++)
		if (words[i] != word(seed, i))
			return false;
	return true;
}

bool is_zero(const void *address, size_t size)
{
	const volatile uint64_t *words = address;

	for (size_t i = 0; i < size / sizeof(*words); i++)
		if (words[i])
			return false;
	return true;
}

bool contains_piece(const void *buffer, size_t length, const void *pieces, size_t size)
{
	const char *begin = buffer, *wanted = pieces;

	for (size_t piece = 0; piece + 64 <= size; piece += 64)
		for (size_t i = 0; i + 64 <= length; i += 8)
			if (!memcmp(begin + i, wanted + piece, 64))
				return true;
	return false;
}

static __thread sigjmp_buf signal_escape;
static __thread volatile int signal_code_seen;

static void on_signal(int number, siginfo_t *info, void *context)
{
	(void)context;
	signal_code_seen = info->si_code;
	siglongjmp(signal_escape, number);
}

/* An access is a function of an address. */
typedef void access_fn(volatile char *address);

static void load_byte(volatile char *address)
{
	(void)*address;
}

static void store_loaded(volatile char *address)
{
	char byte = *address;

	*address = byte;
}

static void store_zero(volatile char *address)
{
	*address = 0;
}

static void call_it(volatile char *address)
{
	((void (*)(void))(uintptr_t)address)();
}

static int signal_of(access_fn *access, const void *address)
{
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
	struct sigaction old_segv, old_bus;
	int number;

	signal_code_seen = 0;
	sigaction(SIGSEGV, &action, &old_segv);
	sigaction(SIGBUS, &action, &old_bus);
	number = sigsetjmp(signal_escape, 1);
	if (!number)
		access((volatile char *)address);
	sigaction(SIGSEGV, &old_segv, NULL);
	sigaction(SIGBUS, &old_bus, NULL);
	return number;
}

int signal_of_load(const void *address)
{
	return signal_of(load_byte, address);
}

int signal_of_store(void *address)
{
	return signal_of(store_loaded, address);
}

int signal_of_zero(void *address)
{
	return signal_of(store_zero, address);
}

int signal_of_call(const void *code)
{
	return signal_of(call_it, code);
}

void catch_access_signals(void)
{
	struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER };

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

int try_load(const volatile uint64_t *address, uint64_t *value)
{
	int number = sigsetjmp(signal_escape, 0);

	if (!number)
		*value = *address;
	return number;
}

int try_store(volatile uint64_t *address, uint64_t value)
{
	int number = sigsetjmp(signal_escape, 0);

	if (!number)
		*address = value;
	return number;
}

int try_call(const void *code)
{
	int number = sigsetjmp(signal_escape, 0);

	if (!number)
		call_it((volatile char *)code);
	return number;
}

int try_run(void (*run)(void *), void *argument)
{
	int number = sigsetjmp(signal_escape, 0);

	if (!number)
		run(argument);
	return number;
}

int signal_code(void)
{
	return signal_code_seen;
}

uint64_t pfn_of(const void *address)
{
	int fd = expect_ok(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
	uint64_t entry = 0;

	expect_equal(8, pread(fd, &entry, 8, (uintptr_t)address / PAGE * 8));
	close(fd);
	/* bit 63: present; bits 0 to 54: the page's number, for who has CAP_SYS_ADMIN */
	if (entry >> 63)
		return entry & ((UINT64_C(1) << 55) - 1);
	/* There are areas of which that file does not tell. */
	return unpinnable_pfn_of(address);
}
