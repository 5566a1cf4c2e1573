// SPDX-License-Identifier: GPL-2.0
/* G2: EXMEM_POPULATE brings the initial image, and EXMEM_SEAL ends that. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "guest.h"
#include "process.h"
#include "system.h"

#define RW (PROT_READ | PROT_WRITE)
#define PAGES 8
#define SIZE (PAGES * PAGE)

#define CONTENT EXMEM_STATE_CONTENT_SEALED
#define LAYOUT EXMEM_STATE_LAYOUT_SEALED

static int fd;
static char *source;

/* An object of known bytes, and others to bring. */
static void begin_of(uint32_t flags)
{
	fd = make_memfd_flags(SIZE, flags);
	populate_filled(fd, 0, SIZE, 1);
	source = plain_memory(SIZE);
	fill(source, SIZE, 2);
}

static void begin(void)
{
	begin_of(GUEST);
}

static void expect_unchanged(void)
{
	check(object_holds(fd, SIZE, 1), "the bytes changed");
}

/* ---- what it brings ---- */

TEST("G2 POPULATE of the whole, of a page, of a byte")
{
	char *bytes = plain_memory(SIZE), *expected = plain_memory(SIZE);

	begin();
	expect_unchanged();
	fill(expected, SIZE, 1);
	memcpy(expected + 2 * PAGE, source, PAGE);
	expect_equal(0, populate(fd, 2 * PAGE, PAGE, source));
	expected[0] = source[7];
	expect_equal(0, populate(fd, 0, 1, source + 7));
	expected[SIZE - 1] = source[9];
	expect_equal(0, populate(fd, SIZE - 1, 1, source + 9));
	memcpy(expected + 5 * PAGE - 3, source + 1, 6);
	expect_equal(0, populate(fd, 5 * PAGE - 3, 6, source + 1));
	read_object(fd, bytes, SIZE);
	check(!memcmp(bytes, expected, SIZE), "other bytes");
}

/* Any offset, any length, any alignment: as memcpy(3) does it. */
static void compare_with_memcpy(uint32_t flags, size_t size, int rounds, bool mapped)
{
	char *bytes = plain_memory(size), *expected = plain_memory(size), *p = NULL;
	unsigned int seed = size;

	source = plain_memory(size + 8);
	fill(source, size + 8, 3);
	fd = make_memfd_flags(size, flags);
	if (mapped)
		p = expect_ok(mmap(NULL, size, flags == GUEST ? PROT_NONE : RW, MAP_SHARED, fd, 0));
	for (int i = 0; i < rounds; i++) {
		uint64_t offset = rand_r(&seed) % size;
		uint64_t most = size - offset;
		uint64_t length = 1 + rand_r(&seed) % (i % 2 && most > 100 ? 100 : most);
		uint64_t from = rand_r(&seed) % (size - length + 1);

		expect_equal(0, populate(fd, offset, length, source + from));
		memcpy(expected + offset, source + from, length);
	}
	if (p)
		read_physical(p, bytes, size);
	else
		read_object(fd, bytes, size);
	check(!memcmp(bytes, expected, size), "other bytes than memcpy(3) leaves");
	if (p && flags != GUEST)
		check(!memcmp(p, expected, size), "the mapping shows other bytes");
}

TEST("G2 POPULATE is memcpy, with an object that nobody has mapped")
{
	compare_with_memcpy(GUEST, SIZE, 300, false);
}

TEST("G2 so it is while it is mapped")
{
	compare_with_memcpy(GUEST, SIZE, 300, true);
}

TEST("G2 and for a size that is no whole page, or one byte")
{
	compare_with_memcpy(GUEST, 3 * PAGE + 123, 300, true);
	compare_with_memcpy(GUEST, 1, 3, false);
}

TEST("G2 and over several blocks", .seconds = 120)
{
	compare_with_memcpy(GUEST, 2 * BLOCK + 5 * PAGE, 40, false);
}

TEST("G2 and with HOST_ACCESS, whose mapping has it at once")
{
	compare_with_memcpy(HOST_ACCESS, SIZE, 300, false);
	compare_with_memcpy(HOST_ACCESS, SIZE, 300, true);
}

TEST("G2 what nobody populated is zeros")
{
	char *bytes = plain_memory(SIZE);

	fd = make_memfd_flags(SIZE, GUEST);
	populate_filled(fd, 3 * PAGE, PAGE, 1);
	read_object(fd, bytes, SIZE);
	expect_zero(bytes, 3 * PAGE);
	expect_filled(bytes + 3 * PAGE, PAGE, 1);
	expect_zero(bytes + 4 * PAGE, SIZE - 4 * PAGE);
}

TEST("G2 64 MiB in one call", .seconds = 120)
{
	static const size_t size = 64 << 20;
	char *bytes = plain_memory(BLOCK), *p;

	fd = make_memfd_flags(size, GUEST);
	source = plain_memory(size);
	for (size_t offset = 0; offset < size; offset += BLOCK)
		fill(source + offset, BLOCK, offset);
	expect_equal(0, populate(fd, 0, size, source));
	p = map_none(fd, size);
	for (size_t offset = 0; offset < size; offset += 8 * BLOCK) {
		read_physical(p + offset, bytes, BLOCK);
		expect_filled(bytes, BLOCK, offset);
	}
}

TEST("G2 a process that was sent the descriptor can populate, and in a size set later")
{
	int sockets[2];
	pid_t pid;

	make_socket_pair(sockets);
	pid = start_child();
	if (!pid) {
		int received = expect_ok(receive_fd(sockets[1]));

		expect_ok(ftruncate(received, SIZE));
		populate_filled(received, 0, SIZE, 4);
		succeed();
	}
	fd = make_memfd_flags(0, GUEST);
	expect_ok(send_fd(sockets[0], fd));
	expect_success(pid);
	check(object_holds(fd, SIZE, 4), "other bytes");
}

TEST("G2 from a file's mapping, and from memory that has no page yet")
{
	int file = expect_ok(memfd_create("image", MFD_CLOEXEC));
	char *bytes = plain_memory(SIZE);

	begin();
	expect_equal(SIZE, write(file, source, SIZE));
	source = expect_ok(mmap(NULL, SIZE, PROT_READ, MAP_PRIVATE, file, 0));
	expect_equal(0, populate(fd, 0, SIZE, source));
	check(object_holds(fd, SIZE, 2), "other bytes");
	expect_equal(0, populate(fd, 0, PAGE, plain_memory(PAGE)));
	read_object(fd, bytes, SIZE);
	expect_zero(bytes, PAGE);
}

TEST("G2 from another object with HOST_ACCESS, and from itself without harm")
{
	int other = make_memfd_flags(SIZE, HOST_ACCESS), answer;
	char *from = map(other, SIZE), *bytes = plain_memory(SIZE);

	begin();
	fill(from, SIZE, 6);
	expect_equal(0, populate(fd, 0, SIZE, from));
	check(object_holds(fd, SIZE, 6), "other bytes");
	/* Its own page, which the call holds in some way. */
	answer = errno_of(populate(other, 2 * PAGE, PAGE, from));
	check(!answer || answer == EFAULT, "%s", errno_name(answer));
	read_physical(from, bytes, SIZE);
	check(!memcmp(bytes + 2 * PAGE, answer ? bytes + 2 * PAGE : bytes, PAGE), "other bytes");
	expect_equal(0, memcmp(bytes, from, SIZE));
}

/* ---- what it refuses ---- */

static void expect_refused(int expected, struct exmem_populate argument)
{
	expect_errno(expected, ioctl(fd, EXMEM_POPULATE, &argument));
}

TEST("G2 a range that is empty, or not inside the size, is EINVAL")
{
	static const uint64_t far[] = { SIZE, SIZE + 1, INT64_MAX, (uint64_t)INT64_MAX + 1, -PAGE, UINT64_MAX };
	uint64_t from;

	begin();
	from = (uintptr_t)source;
	for (uint64_t offset = 0; offset <= SIZE; offset += PAGE)
		expect_refused(EINVAL, (struct exmem_populate){ offset, 0, from, 0, 0 });
	for (size_t i = 0; i < ARRAY_SIZE(far); i++) {
		expect_refused(EINVAL, (struct exmem_populate){ far[i], 1, from, 0, 0 });
		expect_refused(EINVAL, (struct exmem_populate){ far[i], PAGE, from, 0, 0 });
		expect_refused(EINVAL, (struct exmem_populate){ far[i], UINT64_MAX, from, 0, 0 });
		expect_refused(EINVAL, (struct exmem_populate){ 1, far[i], from, 0, 0 });
	}
	expect_refused(EINVAL, (struct exmem_populate){ SIZE - 1, 2, from, 0, 0 });
	expect_refused(EINVAL, (struct exmem_populate){ 0, SIZE + 1, from, 0, 0 });
	/* Whose end is 0, or inside again. */
	expect_refused(EINVAL, (struct exmem_populate){ PAGE, -PAGE, from, 0, 0 });
	expect_refused(EINVAL, (struct exmem_populate){ PAGE, UINT64_MAX, from, 0, 0 });
	expect_refused(EINVAL, (struct exmem_populate){ UINT64_MAX, 2, from, 0, 0 });
	expect_unchanged();
}

TEST("G2 the size counts, and not what it is rounded up to")
{
	fd = make_memfd_flags(PAGE + 10, GUEST);
	source = plain_memory(PAGE);
	expect_equal(0, populate(fd, PAGE + 9, 1, source));
	expect_errno(EINVAL, populate(fd, PAGE + 10, 1, source));
	expect_errno(EINVAL, populate(fd, PAGE, 11, source));
	expect_errno(EINVAL, populate(fd, 11, PAGE, source));
	expect_equal(0, populate(fd, 10, PAGE, source));
}

TEST("G2 each flag, and a reserved field that is not zero, is EINVAL")
{
	begin();
	for (int bit = 0; bit < 32; bit++) {
		struct exmem_populate argument = { .len = PAGE, .src = (uintptr_t)source };

		argument.flags = 1U << bit;
		expect_refused(EINVAL, argument);
		argument.flags = 0;
		argument.reserved = 1U << bit;
		expect_refused(EINVAL, argument);
	}
	expect_unchanged();
}

TEST("G2 an object without a size is EINVAL")
{
	source = plain_memory(PAGE);
	fd = make_memfd_flags(0, GUEST);
	expect_errno(EINVAL, populate(fd, 0, 1, source));
	expect_errno(EINVAL, populate(fd, 0, 0, source));
	expect_equal(0, info_of(fd).resident);
	expect_errno(EINVAL, populate(open_guest_device(), 0, 1, source));
}

TEST("G2 a source that is not there is EFAULT, and nothing changed")
{
	char *two, *none = expect_ok(mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	const void *bad[] = {
		NULL, none, (void *)UINT64_C(0xffff888000000000), (void *)UINT64_C(0xffffffff81000000),
		(void *)(UINT64_C(1) << 47), (void *)UINT64_C(0x8000000000000000), (void *)-8, (void *)-1,
	};

	begin();
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		for (size_t size = 1; size <= SIZE; size *= 8) {
			expect_errno(EFAULT, populate(fd, 0, size, bad[i]));
			expect_errno(EFAULT, populate(fd, SIZE - size, size, bad[i]));
		}
	expect_unchanged();
	/* Its first bytes are there. */
	two = plain_memory(SIZE);
	fill(two, SIZE, 7);
	unmap(two + 4 * PAGE, SIZE - 4 * PAGE);
	expect_errno(EFAULT, populate(fd, 0, SIZE, two));
	expect_unchanged();
	expect_errno(EFAULT, populate(fd, PAGE - 1, 2, two + 4 * PAGE - 1));
	expect_unchanged();
	expect_errno(EFAULT, populate(fd, 0, 4 * PAGE + 1, two));
	expect_unchanged();
	expect_equal(0, populate(fd, 0, 4 * PAGE, two));
}

TEST("G2 so is a file's page behind its end, after bytes that are there")
{
	int file = expect_ok(memfd_create("image", MFD_CLOEXEC));
	char *from;

	begin();
	expect_ok(ftruncate(file, 3 * PAGE));
	from = expect_ok(mmap(NULL, SIZE, PROT_READ, MAP_SHARED, file, 0));
	expect_errno(EFAULT, populate(fd, 0, SIZE, from));
	expect_unchanged();
	expect_errno(EFAULT, populate(fd, 0, 3 * PAGE + 1, from));
	expect_unchanged();
}

TEST("G2 so is guest memory itself, this object's and another's")
{
	char *own, *other;
	int second;

	begin();
	own = map_none(fd, SIZE);
	expect_errno(EFAULT, populate(fd, 0, PAGE, own));
	second = make_memfd_flags(SIZE, GUEST);
	populate_filled(second, 0, SIZE, 8);
	other = map_none(second, SIZE);
	expect_errno(EFAULT, populate(fd, 0, PAGE, other));
	expect_errno(EFAULT, populate(fd, 0, SIZE, other));
	check(holds(own, SIZE, 1), "the bytes changed");
}

TEST("G2 arguments that lead nowhere are EFAULT, of another length as for the other calls")
{
	struct { struct exmem_populate base; uint64_t tail; } larger = { .tail = 0 };
	void *bad[] = { NULL, (void *)UINT64_C(0xffff888000000000), (void *)-1 };

	begin();
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		expect_errno(EFAULT, ioctl(fd, EXMEM_POPULATE, bad[i]));
		expect_errno(EFAULT, ioctl(fd, EXMEM_SEAL, bad[i]));
	}
	larger.base = (struct exmem_populate){ .len = SIZE, .src = (uintptr_t)source };
	expect_errno(EINVAL, ioctl(fd, _IOC(_IOC_WRITE, EXMEM_IOC_MAGIC, 0x06, sizeof(larger.base) - 8), &larger));
	larger.tail = 1;
	expect_errno(E2BIG, ioctl(fd, _IOC(_IOC_WRITE, EXMEM_IOC_MAGIC, 0x06, sizeof(larger)), &larger));
	expect_unchanged();
	larger.tail = 0;
	expect_ok(ioctl(fd, _IOC(_IOC_WRITE, EXMEM_IOC_MAGIC, 0x06, sizeof(larger)), &larger));
	check(object_holds(fd, SIZE, 2), "other bytes");
}

TEST("G2 R16 a destroyed object is ENXIO")
{
	begin();
	expect_ok(destroy(fd));
	expect_errno(ENXIO, populate(fd, 0, PAGE, source));
	expect_errno(ENXIO, seal(fd, CONTENT));
	expect_equal(0, info_of(fd).resident);
}

#define LIMIT_BYTES "/sys/module/exclusive_memory/parameters/limit_bytes"

static void populate_over_the_limit(void)
{
	long pages = counter("pages_in_use");
	int first = make_memfd_flags(3 * BLOCK, GUEST);

	source = plain_memory(3 * BLOCK);
	fd = make_memfd_flags(3 * BLOCK, GUEST);
	expect_equal(0, populate(first, 0, 3 * BLOCK, source));
	expect_errno(ENOMEM, populate(fd, 0, 3 * BLOCK, source));
	check(counter("pages_in_use") <= pages + (long)(4 * BLOCK / PAGE), "%ld pages", counter("pages_in_use"));
	expect_ok(destroy(first));
	expect_equal(0, populate(fd, 0, 3 * BLOCK, source));
}

TEST("R11 G2 POPULATE over limit_bytes is ENOMEM, and works when there is room")
{
	char before[32], limit[32];
	int status;
	pid_t pid;

	snprintf(before, sizeof(before), "%s", read_text(LIMIT_BYTES));
	snprintf(limit, sizeof(limit), "%zu", counter("pages_in_use") * PAGE + 4 * BLOCK);
	expect_ok(write_text(LIMIT_BYTES, limit));
	pid = start_child();
	if (!pid) {
		populate_over_the_limit();
		succeed();
	}
	expect_equal(pid, waitpid(pid, &status, 0));
	expect_ok(write_text(LIMIT_BYTES, before));
	check(status == 0, "a child ended with wait status 0x%x", status);
}

/* ---- seals ---- */

TEST("G2 after SEAL with CONTENT_SEALED, POPULATE is EPERM, for everybody and for good")
{
	int copy;
	pid_t pid;

	begin();
	copy = dup(fd);
	expect_ok(seal(fd, CONTENT));
	expect_equal(CONTENT, state_of(fd) & (CONTENT | LAYOUT));
	expect_errno(EPERM, populate(fd, 0, PAGE, source));
	expect_errno(EPERM, populate(copy, SIZE - 1, 1, source));
	pid = start_child();
	if (!pid) {
		expect_errno(EPERM, populate(fd, 0, SIZE, source));
		succeed();
	}
	expect_success(pid);
	expect_ok(seal(fd, CONTENT));
	expect_ok(seal(fd, LAYOUT));
	expect_equal(CONTENT | LAYOUT, state_of(fd) & (CONTENT | LAYOUT));
	expect_errno(EPERM, populate(fd, 0, PAGE, source));
	expect_unchanged();
}

TEST("G2 it seals content, and not the layout")
{
	begin();
	expect_ok(seal(fd, CONTENT));
	expect_ok(make_shared(fd, 0, PAGE));
	expect_equal(PAGE, info_of(fd).shared);
	expect_ok(make_private(fd, 0, PAGE));
	expect_unchanged();
}

TEST("G3 LAYOUT_SEALED seals the layout, and not content")
{
	begin();
	expect_ok(seal(fd, LAYOUT));
	expect_equal(LAYOUT, state_of(fd) & (CONTENT | LAYOUT));
	expect_errno(EPERM, make_shared(fd, 0, PAGE));
	expect_equal(0, populate(fd, 0, SIZE, source));
	check(object_holds(fd, SIZE, 2), "other bytes");
}

TEST("G2 both at once, before the object has a page or is mapped")
{
	source = plain_memory(SIZE);
	fd = make_memfd_flags(SIZE, GUEST);
	expect_ok(seal(fd, CONTENT | LAYOUT));
	expect_errno(EPERM, populate(fd, 0, SIZE, source));
	expect_errno(EPERM, make_shared(fd, 0, SIZE));
	check(holds_zeros(map_none(fd, SIZE), SIZE), "other bytes than zeros");
}

TEST("G2 other bits of SEAL are EINVAL, and seal nothing")
{
	begin();
	for (int bit = 0; bit < 32; bit++) {
		uint32_t other = 1U << bit;

		if (other & (CONTENT | LAYOUT))
			continue;
		expect_errno(EINVAL, seal(fd, other));
		expect_errno(EINVAL, seal(fd, other | CONTENT));
		expect_errno(EINVAL, seal(fd, other | CONTENT | LAYOUT));
	}
	expect_equal(0, state_of(fd) & (CONTENT | LAYOUT));
	expect_equal(0, populate(fd, 0, PAGE, source));
}

TEST("G2 a seal does not keep the monitor with HOST_ACCESS from storing")
{
	char *p;

	begin_of(HOST_ACCESS);
	p = map(fd, SIZE);
	expect_ok(seal(fd, CONTENT | LAYOUT));
	expect_filled(p, SIZE, 1);
	fill(p, SIZE, 9);
	expect_filled(p, SIZE, 9);
	expect_errno(EPERM, populate(fd, 0, PAGE, source));
}

/* ---- several at once ---- */

static _Atomic bool stop;
static _Atomic long calls;
static _Atomic int strange;

struct worker {
	pthread_t thread;
	char *from;
	uint64_t offset, size;
	int last;	/* the errno of its last call */
};

static void *populate_for_ever(void *argument)
{
	struct worker *self = argument;

	while (!stop) {
		self->last = errno_of(populate(fd, self->offset, self->size, self->from));
		if (self->last == EPERM || self->last == ENXIO)
			break;
		if (self->last)
			strange = self->last;
		calls++;
	}
	return NULL;
}

static struct worker workers[4];

static void start_workers(bool apart)
{
	calls = 0;
	stop = false;
	for (size_t i = 0; i < ARRAY_SIZE(workers); i++) {
		struct worker *w = &workers[i];

		w->size = apart ? SIZE / ARRAY_SIZE(workers) : SIZE;
		w->offset = apart ? i * w->size : 0;
		w->from = plain_memory(SIZE);
		fill(w->from, SIZE, 20 + i);
		w->last = 0;
		expect_equal(0, pthread_create(&w->thread, NULL, populate_for_ever, w));
	}
}

static void join_workers(int expected)
{
	for (size_t i = 0; i < ARRAY_SIZE(workers); i++) {
		pthread_join(workers[i].thread, NULL);
		expect_equal(expected, workers[i].last);
		unmap(workers[i].from, SIZE);
	}
	expect_equal(0, strange);
}

TEST("G2 several threads populate parts of their own", .seconds = 120)
{
	char *bytes = plain_memory(SIZE);
	size_t part = SIZE / ARRAY_SIZE(workers);

	begin();
	start_workers(true);
	check(eventually(calls > 1000), "%ld calls", calls);
	stop = true;
	join_workers(0);
	read_object(fd, bytes, SIZE);
	for (size_t i = 0; i < ARRAY_SIZE(workers); i++)
		expect_filled(bytes + i * part, part, 20 + i);
}

TEST("G2 when SEAL has returned no byte changes any more, whoever was populating", .seconds = 180)
{
	char *first = plain_memory(SIZE), *second = plain_memory(SIZE);

	for (int round = 0; round < 40; round++) {
		begin();
		start_workers(round % 2);
		check(eventually(calls > round), "nobody populates");
		expect_ok(seal(fd, CONTENT));
		read_object(fd, first, SIZE);
		join_workers(EPERM);
		read_object(fd, second, SIZE);
		expect_equal(0, memcmp(first, second, SIZE));
		unmap(source, SIZE);
		close(fd);
	}
}

TEST("G2 R16 EXMEM_DESTROY while others populate", .seconds = 180)
{
	long pages = counter("pages_in_use");

	for (int round = 0; round < 40; round++) {
		begin();
		start_workers(round % 2);
		check(eventually(calls > round), "nobody populates");
		expect_ok(destroy(fd));
		expect_equal(0, info_of(fd).resident);
		join_workers(ENXIO);
		expect_equal(0, info_of(fd).resident);
		unmap(source, SIZE);
		close(fd);
	}
	expect_counter_soon(pages, "pages_in_use");
}

/* ---- a source that makes the call wait ---- */

#define UFFD_API 0xAA

/* Three pages, the last of which is there when give_page() was called. */
static int uffd;
static char *slow;

static void make_slow_source(void)
{
	struct { uint64_t api, features, ioctls; } api = { .api = UFFD_API };
	struct { uint64_t start, len, mode, ioctls; } range = { .len = PAGE, .mode = 1 };

	uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (uffd < 0)
		skip("no userfaultfd: %s", errno_name(errno));
	expect_ok(ioctl(uffd, _IOWR(UFFD_API, 0x3F, api), &api));
	slow = plain_memory(3 * PAGE);
	fill(slow, 2 * PAGE, 5);
	range.start = (uintptr_t)slow + 2 * PAGE;
	expect_ok(ioctl(uffd, _IOWR(UFFD_API, 0x00, range), &range));
}

static void wait_for_fault(void)
{
	char message[32];

	expect_equal(sizeof(message), read(uffd, message, sizeof(message)));
}

static void give_page(const char *bytes)
{
	struct { uint64_t dst, src, len, mode; int64_t copied; } copy = {
		.dst = (uintptr_t)slow + 2 * PAGE, .src = (uintptr_t)bytes, .len = PAGE,
	};

	expect_ok(ioctl(uffd, _IOWR(UFFD_API, 0x03, copy), &copy));
}

static _Atomic int slow_answer, other_answer;

static void *populate_slowly(void *unused)
{
	(void)unused;
	slow_answer = errno_of(populate(fd, 0, 3 * PAGE, slow));
	return NULL;
}

static void *seal_meanwhile(void *unused)
{
	(void)unused;
	other_answer = errno_of(seal(fd, CONTENT));
	return NULL;
}

static void *destroy_meanwhile(void *unused)
{
	(void)unused;
	other_answer = errno_of(destroy(fd));
	return NULL;
}

/* The other call waits for this one, or it does not, and then this one comes too late. */
static bool meet(void *(*meanwhile)(void *))
{
	pthread_t slow_thread, other_thread;
	char *page = plain_memory(PAGE);
	bool waits;

	make_slow_source();
	fill(page, PAGE, 6);
	slow_answer = other_answer = -1;
	expect_equal(0, pthread_create(&slow_thread, NULL, populate_slowly, NULL));
	wait_for_fault();
	expect_equal(0, pthread_create(&other_thread, NULL, meanwhile, NULL));
	sleep_ms(300);
	waits = other_answer == -1;
	diag("the other call %s", waits ? "waits" : "does not wait");
	give_page(page);
	pthread_join(slow_thread, NULL);
	pthread_join(other_thread, NULL);
	expect_equal(0, other_answer);
	return waits;
}

TEST("G2 SEAL while POPULATE waits for its source")
{
	char *bytes = plain_memory(SIZE);

	begin();
	meet(seal_meanwhile);
	read_object(fd, bytes, SIZE);
	if (slow_answer) {
		expect_equal(EPERM, slow_answer);
		expect_filled(bytes, SIZE, 1);
	} else {
		expect_filled(bytes, 2 * PAGE, 5);
		expect_filled(bytes + 2 * PAGE, PAGE, 6);
	}
	expect_errno(EPERM, populate(fd, 0, PAGE, source));
}

TEST("G2 R16 EXMEM_DESTROY while POPULATE waits for its source")
{
	long pages = counter("pages_in_use");

	begin();
	meet(destroy_meanwhile);
	check(!slow_answer || slow_answer == ENXIO, "%s", errno_name(slow_answer));
	expect_equal(0, info_of(fd).resident);
	expect_counter_soon(pages, "pages_in_use");
}

TEST("G2 mmap, munmap, EXMEM_GET_INFO and SET_SHARED do not wait for ever for a POPULATE that does")
{
	pthread_t thread;
	char *page = plain_memory(PAGE);
	pid_t pid;

	begin();
	make_slow_source();
	expect_equal(0, pthread_create(&thread, NULL, populate_slowly, NULL));
	wait_for_fault();
	/* Others may have to wait until the source is there, but they can be killed. */
	pid = start_child();
	if (!pid) {
		char *p = try_map_none(fd, SIZE);

		info_of(fd);
		if (p != MAP_FAILED)
			munmap(p, SIZE);
		make_shared(fd, 0, PAGE);
		make_private(fd, 0, PAGE);
		succeed();
	}
	sleep_ms(300);
	kill(pid, SIGKILL);
	for (int i = 0; i < 2000 && !waitpid(pid, NULL, WNOHANG); i++) {
		check(i < 1999, "a process that waits cannot be killed");
		sleep_ms(5);
	}
	give_page(page);
	pthread_join(thread, NULL);
	expect_equal(0, slow_answer);
}

TEST("L1 G2 a SIGKILL while POPULATE waits for its source")
{
	long pages = counter("pages_in_use"), objects = counter("objects");
	int waiting = make_gate();
	pid_t pid = start_child();

	if (!pid) {
		pthread_t thread;

		fd = make_memfd_flags(SIZE, GUEST);
		make_slow_source();
		expect_equal(0, pthread_create(&thread, NULL, populate_slowly, NULL));
		wait_for_fault();
		open_gate(waiting);
		pause();
	}
	/* A child that was skipped has no fault. */
	if (errno_of(syscall(SYS_userfaultfd, O_CLOEXEC)))
		skip("no userfaultfd");
	wait_at_gate(waiting);
	kill(pid, SIGKILL);
	expect_killed(SIGKILL, pid);
	expect_counter_soon(objects, "objects");
	expect_counter_soon(pages, "pages_in_use");
}
