// SPDX-License-Identifier: GPL-2.0
/* V4, V5: who may do what with a page of a view's mapping. */
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "process.h"
#include "system.h"
#include "view.h"

#define PAGES 16
#define SIZE (PAGES * PAGE)

static int view, file;
static char *source, *p;

/* A file whose pages are functions that return, each byte of it. */
static void begin(void)
{
	file = make_file(SIZE);
	source = map(file, SIZE);
	memset(source, 0xc3, SIZE);
	view = make_view(2 * SIZE);
}

/* ---- mapping x cap x range ---- */

/* What a plain mapping with this protection allows: the processor gives some without being asked. */
struct allowed {
	bool load, store, call;
};

static struct allowed plain_mapping_allows(int protection)
{
	char *q = expect_ok(mmap(NULL, PAGE, protection, MAP_SHARED, file, 0));
	struct allowed a = { !signal_of_load(q), !signal_of_zero(q), false };

	*source = 0xc3;
	a.call = !signal_of_call(q);
	unmap(q, PAGE);
	return a;
}

static int signal_for(bool allowed)
{
	return allowed ? 0 : SIGSEGV;
}

/* The accesses in some order: the first one finds no entry, the others what it left. */
static void expect_and(int fd, int protection, uint32_t cap, uint32_t flags, int turn)
{
	uint32_t both = cap & flags;
	struct allowed plain = plain_mapping_allows(protection);
	char *q = expect_ok(mmap(NULL, PAGE, protection, MAP_SHARED, fd, 0));

	for (int i = 0; i < 6; i++) {
		bool may;
		int got;

		*source = 0xc3;
		switch ((i + turn) % 3) {
		case 0:
			may = plain.load && both & MEMVIEW_MAP_READ;
			got = signal_of_load(q);
			/* A page that can be written or executed can be read, or not: not if the mapping says so. */
			if (may && !(protection & PROT_READ))
				may = !got;
			break;
		case 1:
			may = plain.store && both & MEMVIEW_MAP_WRITE;
			got = signal_of_zero(q);
			expect_equal(got ? (char)0xc3 : 0, *source);
			break;
		default:
			may = plain.call && both & MEMVIEW_MAP_EXEC;
			got = signal_of_call(q);
			break;
		}
		if (got != signal_for(may))
			fail("mapping %d, cap %u, range %u, access %d: signal %d", protection, cap, flags, (i + turn) % 3, got);
	}
	unmap(q, PAGE);
}

TEST("V5 the protection is the AND of mapping, cap and range: each combination", .seconds = 300)
{
	static const uint32_t allowed[] = { 0, VIEW_R, VIEW_RW, VIEW_RX, VIEW_RWX };
	int combinations = 0;

	begin();
	for (size_t cap = 0; cap < ARRAY_SIZE(allowed); cap++) {
		int fd = expect_ok(view_fd(view, allowed[cap]));

		for (size_t range = 0; range < ARRAY_SIZE(allowed); range++) {
			expect_ok(view_map(view, file, 0, PAGE, 0, allowed[range] | MEMVIEW_MAP_REPLACE));
			for (int protection = 0; protection < 8; protection++)
				for (int turn = 0; turn < 3; turn++, combinations++)
					expect_and(fd, protection, allowed[cap] ?: VIEW_RWX, allowed[range], turn);
		}
		close(fd);
	}
	diag("%d combinations", combinations);
}

TEST("V5 PROTECT changes what is in the page table, and what comes there")
{
	static const uint32_t flags[] = { VIEW_RWX, VIEW_RW, VIEW_RX, VIEW_R, 0 };

	begin();
	expect_ok(view_map(view, file, 0, SIZE, 0, VIEW_RWX));
	p = map_view(view, 0, 0, RWX);
	for (int i = 0; i < 200; i++) {
		uint32_t now = flags[i * 7 % ARRAY_SIZE(flags)];
		char *touched = p, *fresh = p + (1 + i % (PAGES - 1)) * PAGE;

		expect_ok(view_protect(view, 0, SIZE, now));
		for (int j = 0; j < 2; j++) {
			char *page = j ? fresh : touched;

			expect_signal(signal_for(now & MEMVIEW_MAP_EXEC), signal_of_call(page));
			expect_signal(signal_for(now & MEMVIEW_MAP_READ), signal_of_load(page));
			expect_signal(signal_for(now & MEMVIEW_MAP_WRITE), signal_of_store(page));
		}
	}
}

/* ---- mprotect ---- */

TEST("V5 mprotect to more than the mapping began with is EACCES")
{
	begin();
	expect_ok(view_map(view, file, 0, SIZE, 0, VIEW_RWX));
	for (int protection = 0; protection < 8; protection++) {
		p = map_view(view, 0, SIZE, protection);
		for (int more = 0; more < 8; more++) {
			if (more & ~protection)
				expect_errno(EACCES, mprotect(p, SIZE, more));
			else
				expect_ok(mprotect(p, SIZE, more));
		}
		unmap(p, SIZE);
	}
}

/* A signal's handler begins with all keys but the first denied, and ours never returns. */
static void use_key(int key)
{
	if (key >= 0)
		expect_ok(pkey_set(key, 0));
}

/* Takes a permission away and gives it back, with the page in the page table, and without. */
static void expect_no_escalation(uint32_t flags, int protection, int less, int key)
{
	begin();
	expect_ok(view_map(view, file, 0, SIZE, 0, flags));
	p = map_view(view, 0, SIZE, protection);
	for (int i = 0; i < 3; i++) {
		for (size_t page = 0; page < 4; page++) {
			char *at = p + page * PAGE;

			use_key(key);
			/* Page 0 is read all the time, page 1 is written, page 2 is called, page 3 is left alone. */
			if (page == 0 && less & PROT_READ)
				expect_signal(0, signal_of_load(at));
			if (page == 1)
				expect_signal(signal_for(flags & protection & PROT_WRITE), signal_of_store(at));
			if (page == 2)
				expect_signal(signal_for(flags & protection & PROT_EXEC), signal_of_call(at));
		}
		if (key < 0) {
			expect_ok(mprotect(p, SIZE, less));
			expect_ok(mprotect(p, SIZE, protection));
		} else {
			expect_ok(syscall(SYS_pkey_mprotect, p, SIZE, less, key));
			expect_ok(syscall(SYS_pkey_mprotect, p, SIZE, protection, key));
		}
		for (size_t page = 0; page < PAGES; page++) {
			char *at = p + page * PAGE;

			use_key(key);
			expect_signal(signal_for(flags & protection & PROT_WRITE), signal_of_zero(at));
			use_key(key);
			*(volatile unsigned char *)(source + page * PAGE) = 0xc3;
			expect_signal(signal_for(flags & protection & PROT_EXEC), signal_of_call(at));
		}
	}
}

/* The bits of PROT_* and MEMVIEW_MAP_* are the same. */
_Static_assert(PROT_READ == MEMVIEW_MAP_READ && PROT_WRITE == MEMVIEW_MAP_WRITE && PROT_EXEC == MEMVIEW_MAP_EXEC,
	       "bits");

TEST("V5 a round trip of mprotect gives nothing that the range does not")
{
	static const uint32_t flags[] = { VIEW_R, VIEW_RW, VIEW_RX, VIEW_RWX };
	static const int protections[] = { RW, RX, RWX, PROT_READ };
	static const int less[] = { PROT_NONE, PROT_READ };

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		for (size_t j = 0; j < ARRAY_SIZE(protections); j++)
			for (size_t k = 0; k < ARRAY_SIZE(less); k++) {
				expect_no_escalation(flags[i], protections[j], less[k], -1);
				unmap(p, SIZE);
				unmap(source, SIZE);
				close(file);
				close(view);
			}
}

TEST("V5 nor does a round trip of pkey_mprotect")
{
	int key = syscall(SYS_pkey_alloc, 0, 0);

	if (key < 0)
		skip("no protection keys: %s", errno_name(errno));
	expect_no_escalation(VIEW_R, RWX, PROT_READ, key);
	expect_ok(pkey_set(key, PKEY_DISABLE_ACCESS));
	expect_signal(SIGSEGV, signal_of_load(p));
	expect_ok(pkey_set(key, PKEY_DISABLE_WRITE));
	expect_signal(0, signal_of_load(p));
	expect_ok(pkey_set(key, 0));
	expect_signal(SIGSEGV, signal_of_zero(p));
}

TEST("V5 nor does mprotect of a part, nor of a part of a part")
{
	begin();
	expect_ok(view_map(view, file, 0, SIZE, 0, VIEW_R));
	p = map_view(view, 0, SIZE, RWX);
	for (size_t page = 0; page < PAGES; page++)
		expect_signal(0, signal_of_load(p + page * PAGE));
	expect_ok(mprotect(p + 2 * PAGE, 8 * PAGE, PROT_NONE));
	expect_ok(mprotect(p + 4 * PAGE, 2 * PAGE, RWX));
	expect_signal(SIGSEGV, signal_of_load(p + 3 * PAGE));
	expect_signal(0, signal_of_load(p + 4 * PAGE));
	expect_ok(mprotect(p, SIZE, RWX));
	for (size_t page = 0; page < PAGES; page++) {
		expect_signal(0, signal_of_load(p + page * PAGE));
		expect_signal(SIGSEGV, signal_of_zero(p + page * PAGE));
		expect_signal(SIGSEGV, signal_of_call(p + page * PAGE));
	}
}

TEST("V5 a PROT_NONE mapping has nothing, whatever the range")
{
	begin();
	expect_ok(view_map(view, file, 0, SIZE, 0, VIEW_RWX));
	p = map_view(view, 0, 0, PROT_NONE);
	for (size_t page = 0; page < 2 * PAGES; page++) {
		expect_signal(SIGSEGV, signal_of_load(p + page * PAGE));
		expect_signal(SIGSEGV, signal_of_zero(p + page * PAGE));
	}
	expect_errno(EACCES, mprotect(p, SIZE, PROT_READ));
}

/* ---- pages, and how they come ---- */

TEST("V5 a page that was read can be written, and the source has it")
{
	begin();
	expect_ok(view_map(view, file, 0, SIZE, 0, VIEW_RW));
	p = map_view(view, 0, 0, RW);
	for (size_t page = 0; page < PAGES; page++) {
		expect_equal((char)0xc3, *(volatile char *)(p + page * PAGE));
		*(volatile char *)(p + page * PAGE + 1) = page;
		expect_equal((char)page, *(volatile char *)(source + page * PAGE + 1));
		*(volatile char *)(source + page * PAGE + 2) = ~page;
		expect_equal((char)~page, *(volatile char *)(p + page * PAGE + 2));
	}
}

TEST("V5 a page that the source does not have is SIGBUS, until it has it")
{
	begin();
	expect_ok(ftruncate(file, 4 * PAGE + 100));
	/* The last page of the file has a rest of zeros. */
	expect_ok(view_map(view, file, 0, SIZE, 0, VIEW_RW));
	p = map_view(view, 0, 0, RW);
	expect_signal(0, signal_of_store(p + 4 * PAGE));
	expect_zero(p + 4 * PAGE + 104, PAGE - 104);
	for (size_t page = 5; page < 2 * PAGES; page++) {
		expect_signal(SIGBUS, signal_of_load(p + page * PAGE));
		expect_equal(BUS_ADRERR, signal_code());
		expect_signal(SIGBUS, signal_of_zero(p + page * PAGE));
		expect_equal(BUS_ADRERR, signal_code());
	}
	expect_ok(ftruncate(file, 8 * PAGE));
	expect_zero(p + 5 * PAGE, 3 * PAGE);
	expect_signal(SIGBUS, signal_of_load(p + 8 * PAGE));
	/* Nor can a range that begins behind its end be anything else. */
	expect_ok(view_map(view, file, 1 * GIB, PAGE, SIZE, VIEW_RW));
	expect_signal(SIGBUS, signal_of_load(p + SIZE));
}

TEST("V4 parts are mapped many times, and all are one memory")
{
	char *parts[PAGES];

	begin();
	expect_ok(view_map(view, file, 0, SIZE, 0, VIEW_RW));
	for (size_t i = 0; i < PAGES; i++)
		parts[i] = map_view(view, i * PAGE, (2 * PAGES - i) * PAGE, i % 2 ? PROT_READ : RW);
	for (size_t i = 0; i < PAGES; i += 2)
		for (size_t page = i; page < PAGES; page++) {
			*(volatile char *)(parts[i] + (page - i) * PAGE) = i + page;
			for (size_t j = 0; j <= page; j++)
				expect_equal((char)(i + page), *(volatile char *)(parts[j] + (page - j) * PAGE));
		}
	expect_ok(view_unmap(view, 0, SIZE));
	for (size_t i = 0; i < PAGES; i++)
		expect_signal(SIGBUS, signal_of_load(parts[i]));
	expect_ok(view_map(view, file, 0, PAGE, (PAGES - 1) * PAGE, VIEW_R));
	for (size_t i = 0; i < PAGES; i++)
		expect_signal(0, signal_of_load(parts[i] + (PAGES - 1 - i) * PAGE));
}

TEST("V4 a mapping outlives its descriptor, and can be unmapped in parts")
{
	begin();
	expect_ok(view_map(view, file, 0, SIZE, 0, VIEW_RW));
	p = map_view(view, 0, 0, RW);
	expect_ok(munmap(p + 3 * PAGE, 2 * PAGE));
	expect_signal(SIGSEGV, signal_of_load(p + 3 * PAGE));
	expect_signal(0, signal_of_store(p + 2 * PAGE));
	expect_signal(0, signal_of_store(p + 5 * PAGE));
	expect_ok(view_unmap(view, 5 * PAGE, PAGE));
	expect_signal(SIGBUS, signal_of_load(p + 5 * PAGE));
	expect_signal(0, signal_of_store(p + 6 * PAGE));
}

TEST("V4 a view fd can be passed on, and a user without capabilities can use it")
{
	struct peer b = start_peer();
	int sockets[2], fd;
	pid_t pid;

	make_socket_pair(sockets);
	pid = start_child();
	if (!pid) {
		drop_privileges();
		expect_errno(EACCES, open(VIEW_DEVICE, O_RDWR));
		fd = expect_ok(receive_fd(sockets[1]));
		p = expect_ok(mmap(NULL, SIZE, RW, MAP_SHARED, fd, 0));
		expect_signal(0, signal_of_load(p));
		expect_signal(SIGSEGV, signal_of_store(p));
		expect_ok(send_fd(sockets[1], fd));
		succeed();
	}
	begin();
	expect_ok(view_map(view, file, 0, SIZE, 0, VIEW_RW));
	expect_ok(send_fd(sockets[0], expect_ok(view_fd(view, VIEW_R))));
	expect_success(pid);
	/* Its cap goes with it. */
	fd = expect_ok(receive_fd(sockets[0]));
	expect_equal(0, give_view_fd(&b, fd, 0, SIZE, RW));
	expect_access(0, peer_load(&b, PAGE));
	expect_access(SIGSEGV, peer_store(&b, PAGE, 1));
	expect_ok(view_unmap(view, 0, SIZE));
	expect_access(SIGBUS, peer_load(&b, PAGE));
	end_peer(&b);
}

TEST("V3 a child by fork sees the view, and loses it too")
{
	int forked = make_gate(), revoked = make_gate(), seen = make_gate();
	pid_t pid;

	begin();
	expect_ok(view_map(view, file, 0, SIZE, 0, VIEW_RW));
	p = map_view(view, 0, 0, RW);
	expect_signal(0, signal_of_store(p));
	pid = start_child();
	if (!pid) {
		close(view);
		expect_signal(0, signal_of_store(p));
		expect_signal(0, signal_of_store(p + PAGE));
		*(volatile char *)(p + 2 * PAGE) = 5;
		open_gate(forked);
		wait_at_gate(revoked);
		expect_signal(SIGBUS, signal_of_load(p));
		expect_signal(SIGSEGV, signal_of_store(p + PAGE));
		expect_signal(0, signal_of_load(p + PAGE));
		expect_errno(EACCES, mprotect(p, SIZE, RWX));
		open_gate(seen);
		succeed();
	}
	wait_at_gate(forked);
	expect_equal(5, *(volatile char *)(p + 2 * PAGE));
	expect_ok(view_unmap(view, 0, PAGE));
	expect_ok(view_protect(view, PAGE, PAGE, VIEW_R));
	open_gate(revoked);
	wait_at_gate(seen);
	expect_success(pid);
}

TEST("V3 a mapping that was moved by mremap sees the view, and loses it too")
{
	char *moved, *there = expect_ok(mmap(NULL, 4 * SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));

	begin();
	expect_ok(view_map(view, file, 0, SIZE, 0, VIEW_R));
	p = map_view(view, 0, 0, RW);
	expect_signal(0, signal_of_load(p + PAGE));
	moved = expect_ok(mremap(p, 2 * SIZE, 2 * SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, there));
	expect_signal(SIGSEGV, signal_of_load(p + PAGE));
	expect_signal(0, signal_of_load(moved + PAGE));
	expect_signal(0, signal_of_load(moved + 2 * PAGE));
	expect_signal(SIGSEGV, signal_of_zero(moved + PAGE));
	expect_ok(view_unmap(view, PAGE, PAGE));
	expect_signal(SIGBUS, signal_of_load(moved + PAGE));
	expect_signal(0, signal_of_load(moved + 2 * PAGE));
	/* It does not grow beyond what was mapped, be it by moving. */
	check((long)mremap(moved, 2 * SIZE, 3 * SIZE, 0) == -1, "it grew");
	check((long)mremap(moved, 2 * SIZE, 3 * SIZE, MREMAP_MAYMOVE) == -1, "it grew");
	check((long)mremap(moved, 0, 3 * SIZE, MREMAP_MAYMOVE) == -1, "it grew");
	expect_signal(0, signal_of_load(moved + 2 * PAGE));
	/* A part that is moved away is what it was. */
	moved = expect_ok(mremap(moved + 2 * PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, there + 3 * SIZE));
	expect_signal(0, signal_of_load(moved));
	expect_ok(view_unmap(view, 2 * PAGE, PAGE));
	expect_signal(SIGBUS, signal_of_load(moved));
}
