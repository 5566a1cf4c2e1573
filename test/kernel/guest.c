// SPDX-License-Identifier: GPL-2.0
#include <stdlib.h>
#include <string.h>

#include "guest.h"
#include "test_module.h"

int open_guest_device(void)
{
	return expect_ok(open(GUEST_DEVICE, O_RDWR | O_CLOEXEC));
}

void *try_map_none(int fd, size_t size)
{
	return mmap(NULL, size, PROT_NONE, MAP_SHARED, fd, 0);
}

char *map_none(int fd, size_t size)
{
	return expect_ok(try_map_none(fd, size));
}

int populate(int fd, uint64_t offset, uint64_t size, const void *from)
{
	struct exmem_populate argument = { .offset = offset, .len = size, .src = (uintptr_t)from };

	return ioctl(fd, EXMEM_POPULATE, &argument);
}

int seal(int fd, uint32_t bits)
{
	__u32 argument = bits;

	return ioctl(fd, EXMEM_SEAL, &argument);
}

int set_shared(int fd, uint64_t offset, uint64_t size, uint32_t flags)
{
	struct exmem_share argument = { .offset = offset, .len = size, .flags = flags };

	return ioctl(fd, EXMEM_SET_SHARED, &argument);
}

int make_shared(int fd, uint64_t offset, uint64_t size)
{
	return set_shared(fd, offset, size, EXMEM_SHARE_SHARED);
}

int make_private(int fd, uint64_t offset, uint64_t size)
{
	return set_shared(fd, offset, size, 0);
}

int bind_vm(int fd, int vm)
{
	__s32 argument = vm;

	return ioctl(fd, EXMEM_BIND_VM, &argument);
}

char *plain_memory(size_t size)
{
	return expect_ok(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

void populate_filled(int fd, uint64_t offset, size_t size, uint64_t seed)
{
	char *bytes = plain_memory(size);

	fill(bytes, size, seed);
	expect_equal(0, populate(fd, offset, size, bytes));
	unmap(bytes, size);
}

void read_physical(const void *address, void *bytes, size_t size)
{
	need_test_module();
	for (size_t offset = 0; offset < size; offset += PAGE) {
		uint64_t pfn = pfn_of((const char *)address + offset);
		size_t rest = size - offset;
		char page[PAGE];

		memset(page, 0, PAGE);
		if (pfn)
			expect_ok(read_page_content(pfn, page));
		memcpy((char *)bytes + offset, page, rest < PAGE ? rest : PAGE);
	}
}

static bool finds(const void *address, size_t size, bool filled, uint64_t seed)
{
	char *bytes = plain_memory(size);
	bool found;

	read_physical(address, bytes, size);
	found = filled ? is_filled(bytes, size, seed) : is_zero(bytes, size);
	unmap(bytes, size);
	return found;
}

bool holds(const void *address, size_t size, uint64_t seed)
{
	return finds(address, size, true, seed);
}

bool holds_zeros(const void *address, size_t size)
{
	return finds(address, size, false, 0);
}

void read_object(int fd, void *bytes, size_t size)
{
	char *p = map_none(fd, size);

	read_physical(p, bytes, size);
	unmap(p, size);
}

bool object_holds(int fd, size_t size, uint64_t seed)
{
	char *p = map_none(fd, size);
	bool found = holds(p, size, seed);

	unmap(p, size);
	return found;
}

bool pfn_is_out_of_direct_map(uint64_t pfn)
{
	struct page_reads reads = read_page(pfn);

	return direct_map_pfn(pfn) != pfn && (!reads.has_image_address || reads.image == -EFAULT);
}

bool is_out_of_direct_map(const void *address)
{
	uint64_t pfn = pfn_of(address);

	check(pfn, "there is no page at %p", address);
	return pfn_is_out_of_direct_map(pfn);
}
