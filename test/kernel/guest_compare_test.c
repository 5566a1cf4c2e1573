// SPDX-License-Identifier: GPL-2.0
/* What a guest's first store to each page costs, compared with ordinary memory. */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "guest.h"
#include "kvm.h"
#include "process.h"
#include "system.h"

KEEP_A_MACHINE

#define SIZE ((size_t)64 << 20)
#define ROUNDS 7
/* Where it is; the guest's code and tables are in ordinary memory. */
#define MEMORY_AT ((uint64_t)128 << 20)
#define TABLES_AT 0x1000
#define CODE_AT 0x8000
#define LOW_SIZE 0x10000

/* di: from there, cx: how many pages */
GUEST_CODE(touch_pages, 64,
	"1: movq $1, (%rdi)\n"
	"add $4096, %rdi\n"
	"dec %rcx\n"
	"jnz 1b\n"
	"out %al, $0x80\n");

static char *plain(int advice)
{
	char *p = plain_memory(SIZE + BLOCK);

	p = (char *)(((uintptr_t)p + BLOCK - 1) & ~(BLOCK - 1));
	expect_ok(madvise(p, SIZE, advice));
	return p;
}

static char *small_pages(void)
{
	return plain(MADV_NOHUGEPAGE);
}

static char *large_pages(void)
{
	return plain(MADV_HUGEPAGE);
}

static char *private_memory(void)
{
	int fd = make_memfd_flags(SIZE, GUEST);
	char *p = map_none(fd, SIZE);

	close(fd);
	return p;
}

static char *host_access(void)
{
	int fd = make_memfd_flags(SIZE, HOST_ACCESS);
	char *p = map(fd, SIZE);

	close(fd);
	return p;
}

static struct kind {
	const char *name;
	char *(*make)(void);
	uint64_t times[ROUNDS];
	long long exits;
	long faults;
} kinds[] = {
	{ .name = "ordinary memory, pages of 4 KiB", .make = small_pages },
	{ .name = "private memory", .make = private_memory },
	{ .name = "memory with host access", .make = host_access },
	{ .name = "ordinary memory, pages of 2 MiB", .make = large_pages },
};

enum { SMALL_PAGES, PRIVATE, HOST, LARGE_PAGES };

static long faults_so_far(void)
{
	struct rusage usage;

	expect_ok(getrusage(RUSAGE_SELF, &usage));
	return usage.ru_minflt;
}

static long long exits_so_far(void)
{
	return atoll(read_text("/sys/kernel/debug/kvm/exits"));
}

/* In a process of its own, as all that the last one had has to go. */
static void measure(struct kind *kind, int round)
{
	struct processor processor;
	uint64_t start;
	char *low, *p;

	make_machine();
	processor = first_processor();
	offer_all_features(vcpu);
	low = plain_memory(LOW_SIZE);
	make_tables(low + TABLES_AT, TABLES_AT);
	memcpy(low + CODE_AT, touch_pages, SIZE_OF_CODE(touch_pages));
	p = kind->make();
	expect_ok(set_slot(0, 0, low, LOW_SIZE));
	expect_ok(set_slot(1, MEMORY_AT, p, SIZE));
	/* The first time in the first page: what it needs once is there then. */
	for (size_t pages = 1; pages <= SIZE / PAGE; pages += SIZE / PAGE - 1) {
		start_in_long_mode(vcpu, TABLES_AT, CODE_AT);
		expect_ok(ioctl(vcpu, KVM_SET_REGS, &(struct kvm_regs){
			.rip = CODE_AT, .rflags = 2, .rdi = MEMORY_AT, .rcx = pages,
		}));
		kind->exits = exits_so_far();
		kind->faults = faults_so_far();
		start = now_ns();
		expect_exit(KVM_EXIT_IO, processor);
		kind->times[round] = now_ns() - start;
		kind->exits = exits_so_far() - kind->exits;
		kind->faults = faults_so_far() - kind->faults;
	}
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t median(struct kind *kind)
{
	qsort(kind->times, ROUNDS, sizeof(kind->times[0]), by_value);
	return kind->times[ROUNDS / 2];
}

TEST("G1 a guest's first stores to 64 MiB take no longer than in ordinary memory: the pages are there", .seconds = 300)
{
	struct kind *shared = expect_ok(mmap(NULL, sizeof(kinds), PROT_READ | PROT_WRITE,
					     MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	uint64_t medians[ARRAY_SIZE(kinds)];

	memcpy(shared, kinds, sizeof(kinds));
	close(open_kvm());
	for (int round = 0; round < ROUNDS; round++) {
		for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
			pid_t pid = start_child();

			if (!pid) {
				measure(&shared[i], round);
				succeed();
			}
			expect_success(pid);
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		medians[i] = median(&shared[i]);
		diag("%s: %llu us (%.2f), %lld exits, %ld page faults", kinds[i].name,
		     (unsigned long long)medians[i] / 1000, (double)medians[i] / medians[SMALL_PAGES],
		     shared[i].exits, shared[i].faults);
	}
	check(medians[PRIVATE] <= medians[SMALL_PAGES], "private memory takes longer");
	/* The kernel has to find no page for the guest. */
	check(shared[PRIVATE].faults < (long)(SIZE / PAGE / 100), "%ld page faults", shared[PRIVATE].faults);
}
