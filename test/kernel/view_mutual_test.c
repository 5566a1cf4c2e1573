// SPDX-License-Identifier: GPL-2.0
/* V7, V8: processes that view each other, or themselves, and change their memory all the while. */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "process.h"
#include "system.h"
#include "view.h"

#define PAGES 16
#define SIZE (PAGES * PAGE)
#define ANONYMOUS (MAP_PRIVATE | MAP_ANONYMOUS)
#define SECONDS 5

/* Words of memory that is viewed are 0 or a multiple of this at any time. */
#define UNIT UINT64_C(0x0101010101010101)

static struct counts {
	_Atomic uint64_t loads, stores, faults, changes, wrong;
	_Atomic bool stop;
} *counts;

static char *mine, *window;
static int view;

static void make_counts(void)
{
	counts = expect_ok(mmap(NULL, sizeof(*counts), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
}

static void make_mine(void)
{
	mine = expect_ok(mmap(NULL, SIZE, RW, ANONYMOUS, -1, 0));
	view = make_view(SIZE);
	expect_ok(view_map_memory(view, mine, SIZE, 0, VIEW_RW));
}

/* Looks at, and stores to, a window. */
static void *look(void *seed_)
{
	unsigned int seed = (size_t)seed_;

	while (!counts->stop) {
		volatile uint64_t *word = (volatile uint64_t *)(window + rand_r(&seed) % PAGES * PAGE);
		bool store = rand_r(&seed) % 4 == 0;
		uint64_t value = 0;
		int signal = store ? try_store(word, UNIT) : try_load(word, &value);

		if (signal)
			counts->faults++;
		else if (store)
			counts->stores++;
		else
			counts->loads++;
		counts->wrong += value % UNIT != 0 || (signal && signal != SIGBUS && signal != SIGSEGV);
	}
	return NULL;
}

/* Changes this process's own memory in every way. */
static void *change(void *seed_)
{
	unsigned int seed = (size_t)seed_;

	for (; !counts->stop; counts->changes++) {
		size_t at = rand_r(&seed) % PAGES, n = 1 + rand_r(&seed) % (PAGES - at);
		char *part = mine + at * PAGE;

		switch (rand_r(&seed) % 6) {
		case 0:
			expect_ok(mmap(part, n * PAGE, RW, ANONYMOUS | MAP_FIXED, -1, 0));
			break;
		case 1:
			expect_ok(munmap(part, n * PAGE));
			break;
		case 2:
			if (!mprotect(part, n * PAGE, PROT_READ))
				mprotect(part, n * PAGE, RW);
			break;
		case 3:
			madvise(part, n * PAGE, MADV_DONTNEED);
			break;
		case 4:
			try_store((volatile uint64_t *)part, UNIT * 2);
			break;
		default:
			expect_ok(mmap(mine, SIZE, RW, ANONYMOUS | MAP_FIXED, -1, 0));
			break;
		}
	}
	return NULL;
}

static void run_threads(int lookers, int changers)
{
	pthread_t threads[8];
	int n = 0;

	catch_access_signals();
	for (int i = 0; i < lookers; i++)
		expect_equal(0, pthread_create(&threads[n++], NULL, look, (void *)(size_t)(i + 1)));
	for (int i = 0; i < changers; i++)
		expect_equal(0, pthread_create(&threads[n++], NULL, change, (void *)(size_t)(i + 100)));
	while (n)
		pthread_join(threads[--n], NULL);
}

static bool much_happened(void)
{
	return counts->loads > 100 && counts->stores > 10 && counts->changes > 100;
}

/* A kernel that checks itself may need longer. */
static void run_for_a_while(void)
{
	for (int i = 0; i < SECONDS * 10 || (i < SECONDS * 100 && !much_happened()); i++) {
		if (counts->stop)
			break;
		sleep_ms(100);
	}
	counts->stop = true;
}

static void report(void)
{
	diag("%llu loads, %llu stores, %llu signals, %llu changes", (unsigned long long)counts->loads,
	     (unsigned long long)counts->stores, (unsigned long long)counts->faults,
	     (unsigned long long)counts->changes);
	expect_equal(0, counts->wrong);
	check(much_happened(), "hardly anything happened");
}

/* Each side sends its view to the other and gets that one's. */
static void exchange(int socket)
{
	int fd;

	make_mine();
	expect_ok(send_fd(socket, expect_ok(view_fd(view, 0))));
	fd = expect_ok(receive_fd(socket));
	window = expect_ok(mmap(NULL, SIZE, RW, MAP_SHARED, fd, 0));
	close(fd);
}

TEST("V8 A views B and B views A, and both change what they have", .seconds = 120)
{
	int sockets[2];
	pid_t pids[2];

	make_counts();
	make_socket_pair(sockets);
	for (int i = 0; i < 2; i++) {
		pids[i] = start_child();
		if (!pids[i]) {
			exchange(sockets[i]);
			run_threads(2, 1);
			succeed();
		}
	}
	run_for_a_while();
	for (int i = 0; i < 2; i++)
		expect_success(pids[i]);
	report();
}

TEST("V8 A views B and B views A, and either is killed", .seconds = 300)
{
	unsigned int seed = 1;

	for (int round = 0; round < 40; round++) {
		int sockets[2], ready = make_gate();
		pid_t pids[2];

		make_counts();
		make_socket_pair(sockets);
		for (int i = 0; i < 2; i++) {
			pids[i] = start_child();
			if (!pids[i]) {
				exchange(sockets[i]);
				open_gate(ready);
				run_threads(1, 1);
				succeed();
			}
		}
		wait_at_gate(ready);
		wait_at_gate(ready);
		usleep(rand_r(&seed) % 20000);
		kill(pids[round % 2], SIGKILL);
		expect_killed(SIGKILL, pids[round % 2]);
		sleep_ms(2);
		counts->stop = true;
		expect_success(pids[1 - round % 2]);
		unmap(counts, sizeof(*counts));
		for (int i = 0; i < 2; i++)
			close(sockets[i]);
		close(ready);
	}
}

TEST("V8 a process views its own memory")
{
	make_mine();
	window = map_view(view, 0, 0, RW);
	for (uint64_t round = 1; round < 10; round++) {
		fill(mine, SIZE, 2 * round);
		expect_filled(window, SIZE, 2 * round);
		fill(window, SIZE, 2 * round + 1);
		expect_filled(mine, SIZE, 2 * round + 1);
		expect_ok(madvise(mine, SIZE, MADV_DONTNEED));
		expect_ok(view_sync(view));
		expect_zero(window, SIZE);
	}
	expect_ok(munmap(mine, SIZE));
	expect_ok(view_sync(view));
	expect_signal(SIGBUS, signal_of_load(window));
	expect_ok(munmap(window, SIZE));
}

TEST("V8 a process views itself, and its threads change what they look at", .seconds = 120)
{
	pid_t pid;

	make_counts();
	pid = start_child();
	if (!pid) {
		make_mine();
		window = map_view(view, 0, 0, RW);
		run_threads(2, 2);
		succeed();
	}
	run_for_a_while();
	expect_success(pid);
	report();
}

TEST("V8 a view over its own window ends at once, with SIGBUS")
{
	char *area = expect_ok(mmap(NULL, SIZE, RW, ANONYMOUS, -1, 0));
	int fd, answer;

	view = make_view(SIZE);
	expect_ok(view_map_memory(view, area, SIZE, 0, VIEW_RW));
	fd = expect_ok(view_fd(view, 0));
	/* Now the range shows the view itself. */
	window = mmap(area, SIZE, RW, MAP_SHARED | MAP_FIXED, fd, 0);
	answer = window == MAP_FAILED ? errno : 0;
	expect_equal(0, answer);
	expect_signal(SIGBUS, signal_of_load(window));
	expect_signal(SIGBUS, signal_of_zero(window + SIZE - PAGE));
}

TEST("V6 V8 two views over each other's windows end at once, with SIGBUS")
{
	char *areas[2];
	int views[2];

	for (int i = 0; i < 2; i++) {
		areas[i] = expect_ok(mmap(NULL, SIZE, RW, ANONYMOUS, -1, 0));
		views[i] = make_view(SIZE);
		expect_ok(view_map_memory(views[i], areas[i], SIZE, 0, VIEW_RW));
	}
	for (int i = 0; i < 2; i++)
		expect_ok(mmap(areas[i], SIZE, RW, MAP_SHARED | MAP_FIXED, expect_ok(view_fd(views[1 - i], 0)), 0));
	for (int i = 0; i < 2; i++) {
		expect_signal(SIGBUS, signal_of_load(areas[i]));
		expect_signal(SIGBUS, signal_of_zero(areas[i] + PAGE));
	}
}

/* Ranges come and go while their pages are looked at and changed. */
static void *remap(void *seed_)
{
	unsigned int seed = (size_t)seed_;

	while (!counts->stop) {
		size_t at = rand_r(&seed) % PAGES, n = 1 + rand_r(&seed) % (PAGES - at);

		if (rand_r(&seed) % 2)
			expect_ok(view_unmap(view, at * PAGE, n * PAGE));
		expect_ok(view_map_memory(view, mine + at * PAGE, n * PAGE, at * PAGE, VIEW_RW | MEMVIEW_MAP_REPLACE));
	}
	return NULL;
}

TEST("V8 ranges of it come and go at the same time", .seconds = 120)
{
	pthread_t thread;
	pid_t pid;

	make_counts();
	pid = start_child();
	if (!pid) {
		make_mine();
		window = map_view(view, 0, 0, RW);
		expect_equal(0, pthread_create(&thread, NULL, remap, (void *)1L));
		run_threads(2, 1);
		pthread_join(thread, NULL);
		succeed();
	}
	run_for_a_while();
	expect_success(pid);
	report();
}

/* fork(2) copies the owner's page tables, and the view's, while both change. */
static void *fork_all_the_time(void *unused)
{
	(void)unused;
	while (!counts->stop) {
		pid_t pid = start_child();

		if (!pid)
			succeed();
		expect_success(pid);
	}
	return NULL;
}

TEST("V8 and the process forks at the same time", .seconds = 120)
{
	pthread_t thread;
	pid_t pid;

	make_counts();
	pid = start_child();
	if (!pid) {
		make_mine();
		window = map_view(view, 0, 0, RW);
		expect_equal(0, pthread_create(&thread, NULL, fork_all_the_time, NULL));
		run_threads(1, 1);
		pthread_join(thread, NULL);
		succeed();
	}
	run_for_a_while();
	expect_success(pid);
	report();
}
