// SPDX-License-Identifier: GPL-2.0
/* L1, L2: guest memory is counted, and goes, wiped, whatever ends it. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "guest.h"
#include "process.h"
#include "system.h"
#include "test_module.h"
#include "view.h"

#define PAGES 8
#define SIZE (PAGES * PAGE)

static const char *const names[] = {
	"pages_in_use", "pages_single", "pages_quarantined", "objects", "mappings", "views", "view_ranges",
};

static long before[ARRAY_SIZE(names)];

static void begin_counting(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		before[i] = counter(names[i]);
}

static void expect_all_as_before(void)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		expect_counter_soon(before[i], names[i]);
}

TEST("L1 pages, objects and mappings are counted, and go")
{
	char *p;
	int fd;

	begin_counting();
	fd = make_memfd_flags(2 * BLOCK, GUEST);
	expect_counter(before[3] + 1, "objects");
	populate_filled(fd, 0, 2 * BLOCK, 1);
	check(counter("pages_in_use") >= before[0] + (long)(2 * BLOCK / PAGE), "%ld pages", counter("pages_in_use"));
	expect_equal(2 * BLOCK, info_of(fd).resident);
	p = map_none(fd, 2 * BLOCK);
	expect_counter(before[4] + 1, "mappings");
	expect_ok(make_shared(fd, PAGE, 600 * PAGE));
	expect_equal(2 * BLOCK, info_of(fd).resident);
	unmap(p, 2 * BLOCK);
	expect_counter(before[4], "mappings");
	check(counter("pages_in_use") >= before[0] + (long)(2 * BLOCK / PAGE), "%ld pages", counter("pages_in_use"));
	expect_ok(destroy(fd));
	expect_equal(0, info_of(fd).resident);
	close(fd);
	expect_all_as_before();
}

/* The pages behind the object's own, decoys and tables, are the machine's again. */
TEST("L1 a thousand guest objects leave no memory behind", .seconds = 300)
{
	long long free_before = 0, lost;

	write_text("/sys/module/exclusive_memory/parameters/keep_blocks", "0");
	begin_counting();
	for (int round = 0; round < 1100; round++) {
		int fd;

		/* What is kept once, for good, is not counted. */
		if (round == 100) {
			write_text("/proc/sys/vm/drop_caches", "3");
			free_before = field("/proc/meminfo", "MemAvailable");
		}
		fd = make_memfd_flags(round % 2 ? SIZE : BLOCK + PAGE, round % 3 ? GUEST : HOST_ACCESS);
		populate_filled(fd, 0, PAGE, round);
		expect_ok(make_shared(fd, round % PAGES * PAGE, PAGE));
		if (round % 5 == 0)
			expect_ok(make_private(fd, 0, SIZE));
		close(fd);
	}
	expect_all_as_before();
	write_text("/proc/sys/vm/drop_caches", "3");
	check(eventually((lost = free_before - field("/proc/meminfo", "MemAvailable")) < 24 << 10),
	      "%lld KiB are gone", lost);
	diag("%lld KiB less than before", lost);
}

/* ---- nothing of its content is left ---- */

enum end { CLOSE, DESTROY, EXIT, KILL, UNMAP_LAST, NR_ENDS };

static const char *const end_names[] = { "close", "EXMEM_DESTROY", "exit", "SIGKILL", "munmap" };

struct content {
	uint64_t pfns[PAGES];
};

static void use_and_end(struct content *content, uint32_t flags, int shared_pages, enum end end)
{
	int fd = make_memfd_flags(SIZE, flags);
	char *p;

	populate_filled(fd, 0, SIZE, 1);
	p = map_none(fd, SIZE);
	for (size_t page = 0; page < PAGES; page++)
		content->pfns[page] = pfn_of(p + page * PAGE);
	for (int page = 0; page < shared_pages; page++)
		expect_ok(make_shared(fd, page * PAGE, PAGE));
	check(holds(p, SIZE, 1), "the bytes changed");
	switch (end) {
	case CLOSE:
		unmap(p, SIZE);
		close(fd);
		break;
	case UNMAP_LAST:
		close(fd);
		unmap(p, SIZE);
		break;
	case DESTROY:
		expect_ok(destroy(fd));
		break;
	case EXIT:
		break;
	default:
		raise(SIGKILL);
	}
	succeed();
}

static void expect_wiped(const struct content *content, const char *what, int shared_pages)
{
	char bytes[PAGE], *original = plain_memory(SIZE);

	fill(original, SIZE, 1);
	for (size_t page = 0; page < PAGES; page++) {
		check(eventually(direct_map_pfn(content->pfns[page]) == content->pfns[page]),
		      "%s, %d pages shared: page %zu is not back in the direct map", what, shared_pages, page);
		expect_ok(read_page_content(content->pfns[page], bytes));
		check(!contains_piece(bytes, PAGE, original, SIZE), "%s, %d pages shared: page %zu has bytes of it", what,
		      shared_pages, page);
	}
	unmap(original, SIZE);
}

TEST("R9 L1 no byte is left in a page that went back, whatever ended the object", .seconds = 180)
{
	struct content *content = expect_ok(mmap(NULL, sizeof(*content), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	static const uint32_t flags[] = { GUEST, HOST_ACCESS };

	need_test_module();
	write_text("/sys/module/exclusive_memory/parameters/keep_blocks", "0");
	begin_counting();
	for (size_t i = 0; i < ARRAY_SIZE(flags); i++)
		for (int shared_pages = 0; shared_pages <= PAGES; shared_pages += 4)
			for (enum end end = 0; end < NR_ENDS; end++) {
				pid_t pid = start_child();

				if (!pid)
					use_and_end(content, flags[i], shared_pages, end);
				if (end == KILL)
					expect_killed(SIGKILL, pid);
				else
					expect_success(pid);
				expect_all_as_before();
				expect_wiped(content, end_names[end], shared_pages);
			}
}

TEST("R9 a block that the module keeps for the next object is wiped and out of the direct map", .seconds = 60)
{
	struct content content;
	char bytes[PAGE], *p;
	int fd;

	need_test_module();
	write_text("/sys/module/exclusive_memory/parameters/keep_blocks", "16");
	fd = make_memfd_flags(SIZE, GUEST);
	populate_filled(fd, 0, SIZE, 1);
	p = map_none(fd, SIZE);
	for (size_t page = 0; page < PAGES; page++)
		content.pfns[page] = pfn_of(p + page * PAGE);
	expect_ok(make_shared(fd, 0, 2 * PAGE));
	unmap(p, SIZE);
	close(fd);
	for (size_t page = 0; page < PAGES; page++) {
		uint64_t pfn = content.pfns[page], at;

		check(eventually(!read_page_content(pfn, bytes) && is_zero(bytes, PAGE)), "page %zu is not wiped", page);
		/* Itself or nothing: the decoy was the former object's. */
		at = direct_map_pfn(pfn);
		check(at == pfn || !at, "the place of page %zu has a page that is not its own", page);
	}
}

/* ---- death ---- */

struct step {
	int fd, view;
	size_t size;
	char *p, *window, *image;
};

static void renew(struct step *s, unsigned int *seed)
{
	static const size_t sizes[] = { PAGE, SIZE, 100 * PAGE, BLOCK, BLOCK + PAGE };
	static const uint32_t flags[] = { GUEST, HOST_ACCESS, GUEST | EXMEM_CREATE_HUGE };
	struct exmem_create create = { .flags = flags[rand_r(seed) % ARRAY_SIZE(flags)], .name = "short-lived" };
	int device = open(rand_r(seed) % 4 ? DEVICE : GUEST_DEVICE, O_RDWR | O_CLOEXEC);

	if (s->p)
		munmap(s->p, s->size);
	if (s->window)
		munmap(s->window, s->size);
	s->p = s->window = NULL;
	close(s->fd);
	close(s->view);
	create.size = s->size = sizes[rand_r(seed) % ARRAY_SIZE(sizes)];
	s->fd = rand_r(seed) % 4 ? ioctl(device, EXMEM_CREATE, &create) : dup(device);
	close(device);
	s->view = open(VIEW_DEVICE, O_RDWR | O_CLOEXEC);
	view_set_size(s->view, s->size);
}

static char *mapping_of(int fd, size_t size, int protection)
{
	char *p = mmap(NULL, size, protection, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

/* One step of a process that will be killed; errors are none of its business. */
static void step(struct step *s, unsigned int *seed)
{
	size_t pages = (s->size + PAGE - 1) / PAGE, at = rand_r(seed) % pages, n = 1 + rand_r(seed) % (pages - at);
	uint64_t value;
	int window;

	switch (rand_r(seed) % 12) {
	case 0:
		renew(s, seed);
		break;
	case 1:
	case 2:
		populate(s->fd, at * PAGE + 1, n * PAGE / 2 + 1, s->image);
		break;
	case 3:
	case 4:
		set_shared(s->fd, at * PAGE, n * PAGE, EXMEM_SHARE_SHARED | (rand_r(seed) % 4 ? 0 : EXMEM_SHARE_WIPE));
		break;
	case 5:
		set_shared(s->fd, at * PAGE, n * PAGE, rand_r(seed) % 4 ? 0 : EXMEM_SHARE_WIPE);
		break;
	case 6:
		if (!s->p)
			s->p = mapping_of(s->fd, s->size, rand_r(seed) % 2 ? PROT_NONE : RW);
		break;
	case 7:
		view_map(s->view, s->fd, at * PAGE, n * PAGE, at * PAGE, VIEW_RW | MEMVIEW_MAP_REPLACE);
		break;
	case 8:
		window = view_fd(s->view, 0);
		if (!s->window)
			s->window = mapping_of(window, s->size, rand_r(seed) % 3 ? RW : PROT_NONE);
		close(window);
		break;
	case 9:
		view_unmap(s->view, at * PAGE, n * PAGE);
		break;
	case 10:
		if (rand_r(seed) % 3)
			seal(s->fd, rand_r(seed) % 4 << 2);
		else
			destroy(s->fd);
		break;
	default:
		if (!fork()) {
			for (size_t i = 0; s->window && i < pages; i++)
				try_load((uint64_t *)(s->window + i * PAGE), &value);
			if (rand_r(seed) % 2)
				_exit(0);
			pause();
		}
	}
	for (size_t i = at; s->window && i < at + n && i < at + 8; i++)
		try_store((uint64_t *)(s->window + i * PAGE), i);
}

/* Its children are in its process group. */
static void kill_in_the_middle(unsigned int seed, unsigned int us)
{
	pid_t pid = start_child(), ended;
	int status;

	if (!pid) {
		struct step s = { .fd = -1, .view = -1, .image = plain_memory(2 * BLOCK) };

		setpgid(0, 0);
		catch_access_signals();
		fill(s.image, 64 * PAGE, seed);
		renew(&s, &seed);
		for (;;)
			step(&s, &seed);
	}
	setpgid(pid, pid);
	usleep(us);
	do {
		kill(-pid, SIGKILL);
		ended = waitpid(-1, &status, WNOHANG);
		if (ended > 0)
			check(WIFSIGNALED(status) || !WEXITSTATUS(status), "wait status 0x%x", status);
		else if (!ended)
			usleep(200);
	} while (ended >= 0);
	expect_equal(ECHILD, errno);
}

TEST("L1 kill -9 at any moment leaves no page, object, view or range behind", .seconds = 600)
{
	pid_t pids[3];

	begin_counting();
	for (unsigned int worker = 0; worker < ARRAY_SIZE(pids); worker++) {
		pids[worker] = start_child();
		if (!pids[worker]) {
			unsigned int seed = 1000 * worker;

			expect_ok(prctl(PR_SET_CHILD_SUBREAPER, 1));
			for (int i = 0; i < 150; i++)
				kill_in_the_middle(seed + i, rand_r(&seed) % 40000);
			succeed();
		}
	}
	for (size_t worker = 0; worker < ARRAY_SIZE(pids); worker++)
		expect_success(pids[worker]);
	expect_all_as_before();
}

TEST("L1 a SIGKILL while one call works on a large object", .seconds = 300)
{
	static const size_t size = 128 << 20;

	begin_counting();
	for (int round = 0; round < 24; round++) {
		pid_t pid = start_child();

		if (!pid) {
			int fd = make_memfd_flags(size, GUEST);
			char *image = plain_memory(size);

			for (;;) {
				if (round % 3 == 0)
					populate(fd, 0, size, image);
				else
					set_shared(fd, 0, size, EXMEM_SHARE_SHARED | EXMEM_SHARE_WIPE);
				if (round % 3 == 2)
					set_shared(fd, PAGE, size - PAGE, EXMEM_SHARE_WIPE);
			}
		}
		sleep_ms(5 + round * 13);
		kill(pid, SIGKILL);
		expect_killed(SIGKILL, pid);
	}
	expect_all_as_before();
}

TEST("L1 the direct map is whole afterwards, and no page has a byte of it", .seconds = 120)
{
	enum { BLOCKS = 32 };
	uint64_t *pfns = expect_ok(mmap(NULL, BLOCKS * sizeof(*pfns), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	char bytes[PAGE], *original = plain_memory(PAGE);
	int ready = make_gate();
	pid_t pid;

	need_test_module();
	write_text("/sys/module/exclusive_memory/parameters/keep_blocks", "0");
	fill(original, PAGE, 1);
	pid = start_child();
	if (!pid) {
		int fd = make_memfd_flags(BLOCKS * BLOCK, GUEST);
		char *p = map_none(fd, BLOCKS * BLOCK);

		for (int i = 0; i < BLOCKS; i++) {
			expect_equal(0, populate(fd, (i + 1) * BLOCK - PAGE, PAGE, original));
			pfns[i] = pfn_of(p + (i + 1) * BLOCK - PAGE);
		}
		expect_ok(make_shared(fd, 5 * BLOCK + 7 * PAGE, 10 * BLOCK));
		open_gate(ready);
		pause();
	}
	wait_at_gate(ready);
	kill(pid, SIGKILL);
	expect_killed(SIGKILL, pid);
	for (int i = 0; i < BLOCKS; i++) {
		check(eventually(direct_map_pfn(pfns[i]) == pfns[i]), "block %d is not back", i);
		expect_ok(read_page_content(pfns[i], bytes));
		check(!contains_piece(bytes, PAGE, original, PAGE), "block %d has bytes of it", i);
	}
}
