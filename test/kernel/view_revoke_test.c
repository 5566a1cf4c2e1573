// SPDX-License-Identifier: GPL-2.0
/* V3, V10: when the owner has taken something back, nobody has it, on any processor. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "process.h"
#include "system.h"
#include "view.h"

#define PAGES 16
#define SIZE (PAGES * PAGE)
#define MOST 16

enum what { LOAD, STORE, CALL, WRITE };

/*
 * What the owner and those who spin tell each other, in memory of its own.
 * The clock is even while there may be access, and odd from when a call that
 * took it back has returned until shortly before the next that gives it.
 */
static struct shared {
	_Atomic uint64_t clock;
	_Atomic bool stop;
	struct spinner {
		_Atomic uint64_t tries;		/* since the clock was odd last */
		_Atomic uint64_t successes;	/* while it was even */
		_Atomic uint64_t violations;	/* while it was odd, from begin to end */
		_Atomic uint64_t least, most;	/* for REPLACE: values out of what may be there */
		_Atomic int strange;		/* a signal that may not come */
		int what, allowed;		/* the signal without permission */
		size_t page;
	} spinners[MOST];
	int n;
} *shared;

static int view, file;
static char *source;

static void begin(uint32_t flags)
{
	shared = expect_ok(mmap(NULL, sizeof(*shared), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	file = make_file(SIZE);
	source = map(file, SIZE);
	memset(source, 0xc3, SIZE);
	view = make_view(SIZE);
	expect_ok(view_map(view, file, 0, SIZE, 0, flags));
}

static int try_write(int to, const char *at)
{
	if (pwrite(to, at, 8, 0) == 8)
		return 0;
	return errno == EFAULT ? SIGBUS : SIGSYS;
}

static int try_access(enum what what, char *at, int to)
{
	uint64_t value;

	switch (what) {
	case LOAD:
		return try_load((uint64_t *)at, &value);
	case STORE:
		return try_store((uint64_t *)at, 0xc3c3c3c3c3c3c3c3);
	case CALL:
		return try_call(at);
	default:
		return try_write(to, at);
	}
}

static void spin(struct spinner *self, const char *memory)
{
	char *at = (char *)memory + self->page * PAGE;
	int to = self->what == WRITE ? make_file(PAGE) : -1;

	while (!shared->stop) {
		uint64_t before = shared->clock, after;
		int signal = try_access(self->what, at, to);

		after = shared->clock;
		if (signal && signal != self->allowed)
			self->strange = signal;
		if (!signal && before % 2 == 0)
			self->successes++;
		if (before % 2 && before == after) {
			self->violations += !signal;
			self->tries++;
		}
	}
}

static char *memory;

static void *spin_in_thread(void *self)
{
	spin(self, memory);
	return NULL;
}

static void pin_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu % get_nprocs(), &set);
	sched_setaffinity(0, sizeof(set), &set);
}

/* A process for each CPU, with a mapping of its own and two threads. */
static pid_t pids[MOST];
static int nr_processes;

static void start_spinners(const enum what *what, size_t nr_what, int allowed)
{
	nr_processes = get_nprocs() < MOST / 2 ? get_nprocs() : MOST / 2;
	shared->n = 2 * nr_processes;
	for (int i = 0; i < shared->n; i++) {
		shared->spinners[i].what = what[i % nr_what];
		shared->spinners[i].allowed = allowed;
		shared->spinners[i].page = i / 2 % 2 ? 3 : 2;
	}
	for (int i = 0; i < nr_processes; i++) {
		pthread_t thread;

		pids[i] = start_child();
		if (pids[i])
			continue;
		memory = map_view(view, 0, 0, what[0] == CALL ? RWX : RW);
		close(view);
		catch_access_signals();
		pin_to(i);
		expect_equal(0, pthread_create(&thread, NULL, spin_in_thread, &shared->spinners[2 * i]));
		pin_to(i + 1);
		spin(&shared->spinners[2 * i + 1], memory);
		pthread_join(thread, NULL);
		succeed();
	}
}

static void stop_spinners(void)
{
	shared->stop = true;
	for (int i = 0; i < nr_processes; i++)
		expect_success(pids[i]);
	for (int i = 0; i < shared->n; i++) {
		struct spinner *s = &shared->spinners[i];

		check(!s->violations, "%llu accesses after the call had returned", (unsigned long long)s->violations);
		check(!s->strange, "signal %d came", s->strange);
	}
}

static bool all(size_t member, uint64_t least)
{
	for (int i = 0; i < shared->n; i++)
		if (*(_Atomic uint64_t *)((char *)&shared->spinners[i] + member) < least)
			return false;
	return true;
}

/* Takes back and gives again, each time when everybody had access, and then tried. */
static void fire(void (*take)(void), void (*give)(void))
{
	uint64_t begin = now_ns();
	int round;

	/* As many as a slow machine can, too. */
	for (round = 0; round < 40 || (round < 400 && now_ns() - begin < UINT64_C(10000000000)); round++) {
		for (int i = 0; i < shared->n; i++)
			shared->spinners[i].successes = shared->spinners[i].tries = 0;
		check(eventually(all(offsetof(struct spinner, successes), 1)), "somebody has no access, in round %d", round);
		take();
		shared->clock++;
		/* Some rounds are as short as can be. */
		if (round % 4 == 0)
			check(eventually(all(offsetof(struct spinner, tries), 3)), "somebody does not try");
		shared->clock++;
		give();
	}
	diag("%d rounds, %d spinners, %.1f ms each", round, shared->n, (now_ns() - begin) / 1e6 / round);
}

static void unmap_two(void)
{
	expect_ok(view_unmap(view, 2 * PAGE, 2 * PAGE));
}

static void map_two(void)
{
	expect_ok(view_map(view, file, 2 * PAGE, 2 * PAGE, 2 * PAGE, VIEW_RWX));
}

TEST("V3 under fire: no load, store, call or system call has a page after UNMAP_FD", .seconds = 300)
{
	static const enum what what[] = { CALL, LOAD, STORE, WRITE };

	begin(VIEW_RWX);
	start_spinners(what, ARRAY_SIZE(what), SIGBUS);
	fire(unmap_two, map_two);
	stop_spinners();
}

static void forbid_store(void)
{
	expect_ok(view_protect(view, 0, SIZE, VIEW_R));
}

static void allow_store(void)
{
	expect_ok(view_protect(view, 0, SIZE, VIEW_RW));
}

TEST("V3 under fire: no store succeeds after PROTECT took WRITE", .seconds = 300)
{
	static const enum what what[] = { STORE };

	begin(VIEW_RW);
	start_spinners(what, ARRAY_SIZE(what), SIGSEGV);
	fire(forbid_store, allow_store);
	stop_spinners();
}

static void forbid_call(void)
{
	expect_ok(view_protect(view, 0, SIZE, VIEW_RW));
}

static void allow_call(void)
{
	expect_ok(view_protect(view, 0, SIZE, VIEW_RX));
}

TEST("V3 under fire: no call succeeds after PROTECT took EXEC", .seconds = 300)
{
	static const enum what what[] = { CALL };

	begin(VIEW_RX);
	start_spinners(what, ARRAY_SIZE(what), SIGSEGV);
	fire(forbid_call, allow_call);
	stop_spinners();
}

static void replace_read_only(void)
{
	expect_ok(view_map(view, file, 0, 4 * PAGE, 0, VIEW_R | MEMVIEW_MAP_REPLACE));
}

static void replace_writable(void)
{
	expect_ok(view_map(view, file, 0, 4 * PAGE, 0, VIEW_RW | MEMVIEW_MAP_REPLACE));
}

TEST("V3 under fire: no store succeeds after REPLACE took WRITE", .seconds = 300)
{
	static const enum what what[] = { STORE };

	begin(VIEW_RW);
	start_spinners(what, ARRAY_SIZE(what), SIGSEGV);
	fire(replace_read_only, replace_writable);
	stop_spinners();
}

TEST("V3 under fire: what was stored in time is in the source, and nothing after", .seconds = 120)
{
	static const enum what what[] = { STORE };
	volatile uint64_t *word;

	begin(VIEW_RW);
	word = (volatile uint64_t *)(source + 2 * PAGE);
	start_spinners(what, 1, SIGBUS);
	for (int round = 0; round < 100; round++) {
		for (int i = 0; i < shared->n; i++)
			shared->spinners[i].successes = 0;
		*word = 1;
		word[PAGE / 8] = 1;
		check(eventually(all(offsetof(struct spinner, successes), 1)), "somebody cannot store");
		check(*word != 1 && word[PAGE / 8] != 1, "a store is not in the source");
		unmap_two();
		*word = 2;
		word[PAGE / 8] = 2;
		sleep_ms(round % 5);
		check(*word == 2 && word[PAGE / 8] == 2, "a store came after UNMAP_FD");
		map_two();
	}
	stop_spinners();
}

/* ---- REPLACE is one step ---- */

/* The clock is the number of the file that is there for sure; the next may be. */
static void watch(struct spinner *self, const char *at)
{
	while (!shared->stop) {
		uint64_t before = shared->clock, value = 0;
		int signal = try_load((const uint64_t *)(at + self->page * PAGE), &value);
		uint64_t after = shared->clock;

		if (signal)
			self->strange = signal;
		else if (value < before || value > after + 1)
			self->violations++;
		self->tries++;
	}
}

static void *watch_in_thread(void *self)
{
	watch(self, memory);
	return NULL;
}

TEST("V2 under fire: REPLACE is one step, with the old bytes or the new, and no signal", .seconds = 300)
{
	enum { ROUNDS = 1000 };
	pthread_t thread;

	begin(VIEW_R);
	memset(source, 0, SIZE);
	nr_processes = get_nprocs() < MOST / 2 ? get_nprocs() : MOST / 2;
	shared->n = 2 * nr_processes;
	for (int i = 0; i < nr_processes; i++) {
		shared->spinners[2 * i].page = 1;
		shared->spinners[2 * i + 1].page = PAGES - 1;
		pids[i] = start_child();
		if (pids[i])
			continue;
		memory = map_view(view, 0, 0, PROT_READ);
		catch_access_signals();
		expect_equal(0, pthread_create(&thread, NULL, watch_in_thread, &shared->spinners[2 * i]));
		watch(&shared->spinners[2 * i + 1], memory);
		pthread_join(thread, NULL);
		succeed();
	}
	for (uint64_t round = 1; round <= ROUNDS; round++) {
		int next = make_file(SIZE);

		for (size_t page = 0; page < PAGES; page++)
			expect_equal(8, pwrite(next, &round, 8, page * PAGE));
		/* A whole range, its end, or more than it. */
		expect_ok(view_map(view, next, 0, SIZE, 0, VIEW_R | MEMVIEW_MAP_REPLACE));
		shared->clock = round;
		close(next);
		if (round % 50 == 0)
			check(eventually(all(offsetof(struct spinner, tries), round)), "somebody does not look");
	}
	stop_spinners();
}

/* ---- V10 ---- */

TEST("V10 when the control file's last descriptor is closed, everything is SIGBUS", .seconds = 60)
{
	struct peer b = start_peer();
	int copy;

	begin(VIEW_RW);
	give_view(&b, view, SIZE);
	expect_access(0, peer_store(&b, 0, 1));
	copy = dup(view);
	close(view);
	expect_access(0, peer_load(&b, 0));
	close(copy);
	for (size_t page = 0; page < PAGES; page++) {
		expect_access(SIGBUS, peer_load(&b, page * PAGE));
		expect_access(SIGBUS, peer_store(&b, page * PAGE, 1));
	}
	end_peer(&b);
}

TEST("V10 a view fd whose owner is gone gives nothing either")
{
	int fd, answer;
	char *p;

	begin(VIEW_RW);
	fd = expect_ok(view_fd(view, 0));
	close(view);
	p = mmap(NULL, SIZE, RW, MAP_SHARED, fd, 0);
	answer = p == MAP_FAILED ? errno : 0;
	diag("its mmap: %s", errno_name(answer));
	if (!answer)
		for (size_t page = 0; page < PAGES; page++)
			expect_signal(SIGBUS, signal_of_load(p + page * PAGE));
}

TEST("V10 whoever has the control file is the owner, and a socket's queue is somebody")
{
	struct peer b = start_peer();
	int sockets[2];
	char *p;

	begin(VIEW_RW);
	p = map_view(view, 0, 0, RW);
	make_socket_pair(sockets);
	expect_ok(send_fd(sockets[0], view));
	close(view);
	expect_signal(0, signal_of_store(p));
	view = expect_ok(receive_fd(sockets[1]));
	expect_ok(view_unmap(view, 0, PAGE));
	expect_signal(SIGBUS, signal_of_load(p));
	expect_signal(0, signal_of_load(p + PAGE));
	expect_ok(send_fd(sockets[0], view));
	close(view);
	expect_signal(0, signal_of_store(p + PAGE));
	close(sockets[0]);
	close(sockets[1]);
	check(eventually(signal_of_load(p + PAGE) == SIGBUS), "it stays after the socket is gone");
	end_peer(&b);
}

TEST("V10 the owner's fork keeps the view, its exec does not")
{
	int go = make_gate();
	char *p;
	pid_t pid;

	begin(VIEW_RW);
	p = map_view(view, 0, 0, RW);
	pid = start_child();
	if (!pid) {
		wait_at_gate(go);
		execlp("true", "true", NULL);
		_exit(1);
	}
	close(view);
	expect_signal(0, signal_of_store(p));
	open_gate(go);
	expect_success(pid);
	expect_signal(SIGBUS, signal_of_load(p));
}

TEST("V10 under fire: the owner is killed at random, and then nobody has anything", .seconds = 300)
{
	enum { ROUNDS = 40 };
	static const enum what what[] = { LOAD, STORE };
	unsigned int seed = 1;

	for (int round = 0; round < ROUNDS; round++) {
		int ready = make_gate(), sockets[2];
		pid_t owner;

		shared = expect_ok(mmap(NULL, sizeof(*shared), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
		make_socket_pair(sockets);
		owner = start_child();
		if (!owner) {
			begin(VIEW_RW);
			expect_ok(send_fd(sockets[1], expect_ok(view_fd(view, 0))));
			open_gate(ready);
			for (uint64_t i = 0;; i++) {
				errno_of(view_unmap(view, (i % 2) * 2 * PAGE, PAGE));
				expect_ok(view_map(view, file, 0, SIZE, 0, VIEW_RW | MEMVIEW_MAP_REPLACE));
			}
		}
		close(sockets[1]);
		view = expect_ok(receive_fd(sockets[0]));
		wait_at_gate(ready);
		memory = expect_ok(mmap(NULL, SIZE, RW, MAP_SHARED, view, 0));
		shared->n = 2;
		for (int i = 0; i < 2; i++) {
			shared->spinners[i] = (struct spinner){ .what = what[i], .allowed = SIGBUS, .page = 2 + i };
			pids[i] = start_child();
			if (!pids[i]) {
				catch_access_signals();
				spin(&shared->spinners[i], memory);
				succeed();
			}
		}
		nr_processes = 2;
		check(eventually(all(offsetof(struct spinner, successes), 1)), "somebody has no access");
		usleep(rand_r(&seed) % 20000);
		kill(owner, SIGKILL);
		expect_killed(SIGKILL, owner);
		shared->clock++;
		check(eventually(all(offsetof(struct spinner, tries), 10)), "somebody does not try");
		for (size_t page = 0; page < PAGES; page++)
			expect_signal(SIGBUS, signal_of_load(memory + page * PAGE));
		stop_spinners();
		unmap(memory, SIZE);
		unmap(shared, sizeof(*shared));
		close(view);
		close(sockets[0]);
		close(ready);
	}
}
