// SPDX-License-Identifier: GPL-2.0
/* What exclusive memory costs, beside plain memory and memfd_secret. */
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "memory.h"

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

#define SIZE ((size_t)64 << 20)
#define MOST_REPEATS 21

/* Nanoseconds for each page, and page faults in all. */
struct cost {
	double map_and_touch;
	double touch;
	long faults;
};

static long faults(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_minflt;
}

static struct cost measure(int fd, int map_flags)
{
	uint64_t begin = now_ns(), mapped, end;
	char *p = expect_ok(mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | map_flags, fd, 0));
	long before = faults();
	struct cost cost;

	mapped = now_ns();
	for (size_t offset = 0; offset < SIZE; offset += PAGE)
		*(volatile char *)(p + offset) = 1;
	end = now_ns();
	cost.faults = faults() - before;
	cost.map_and_touch = (double)(end - begin) / (SIZE / PAGE);
	cost.touch = (double)(end - mapped) / (SIZE / PAGE);
	unmap(p, SIZE);
	close(fd);
	return cost;
}

static struct cost measure_exclusive(void)
{
	return measure(make_memfd(SIZE), 0);
}

static struct cost measure_plain(void)
{
	int fd = expect_ok(memfd_create("plain", MFD_CLOEXEC));

	expect_ok(ftruncate(fd, SIZE));
	return measure(fd, MAP_POPULATE);
}

static struct cost measure_secret(void)
{
	int fd = expect_ok(syscall(SYS_memfd_secret, O_CLOEXEC));

	expect_ok(ftruncate(fd, SIZE));
	return measure(fd, 0);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* Of as many measurements as there are: an odd number. */
struct costs {
	int n;
	struct cost each[MOST_REPEATS];
};

/* The least of them at 0, the median at 50, the greatest at 100. */
static double quantile(const struct costs *costs, size_t member, int percent)
{
	double values[MOST_REPEATS];

	for (int i = 0; i < costs->n; i++)
		values[i] = *(const double *)((const char *)&costs->each[i] + member);
	qsort(values, costs->n, sizeof(*values), by_value);
	return values[(costs->n - 1) * percent / 100];
}

#define QUANTILE(costs, member, percent) quantile(&(costs), offsetof(struct cost, member), percent)
#define MEDIAN(costs, member) QUANTILE(costs, member, 50)

static void show_spread(const char *name, const struct costs *costs)
{
	diag("touch, %s: least %.1f, quarter %.1f, median %.1f, three quarters %.1f, most %.1f ns for a page", name,
	     QUANTILE(*costs, touch, 0), QUANTILE(*costs, touch, 25), QUANTILE(*costs, touch, 50),
	     QUANTILE(*costs, touch, 75), QUANTILE(*costs, touch, 100));
}

static struct costs exclusive, other;

/* Interleaved and in turn, so that whatever else the machine does hits both alike. */
static void compare(const char *name, struct cost (*measure_other)(void), int repeats)
{
	measure_exclusive();
	measure_other();
	exclusive.n = other.n = repeats;
	for (int i = 0; i < 2 * repeats; i++) {
		if (i % 4 == 0 || i % 4 == 3)
			exclusive.each[i / 2] = measure_exclusive();
		else
			other.each[i / 2] = measure_other();
	}
	show_spread("exclusive", &exclusive);
	show_spread(name, &other);
	diag("touch: exclusive %.1f ns, %s %.1f ns for a page: %.3f times", MEDIAN(exclusive, touch), name,
	     MEDIAN(other, touch), MEDIAN(exclusive, touch) / MEDIAN(other, touch));
	diag("mmap and touch: exclusive %.1f ns, %s %.1f ns for a page: %.3f times", MEDIAN(exclusive, map_and_touch),
	     name, MEDIAN(other, map_and_touch), MEDIAN(exclusive, map_and_touch) / MEDIAN(other, map_and_touch));
	diag("faults: exclusive %ld, %s %ld", exclusive.each[0].faults, name, other.each[0].faults);
}

TEST("cost: no page fault when exclusive memory is touched")
{
	for (int i = 0; i < 5; i++)
		expect_equal(0, measure_exclusive().faults);
}

TEST("cost: the first touch takes at most 1.2 times that of populated plain memory", .seconds = 300)
{
	compare("plain", measure_plain, 21);
	/* What else runs on the machine only adds: the faster measurements say more. */
	check(QUANTILE(exclusive, touch, 25) <= 1.2 * QUANTILE(other, touch, 25), "it takes more");
}

TEST("cost: the first touch is at least twice as fast as memfd_secret's", .seconds = 300)
{
	/* Its pages count when they are touched: over the limit it is SIGBUS. */
	setrlimit(RLIMIT_MEMLOCK, &(struct rlimit){ RLIM_INFINITY, RLIM_INFINITY });
	if (syscall(SYS_memfd_secret, 0) < 0)
		skip("memfd_secret: %s (secretmem.enable=1 on the command line?)", errno_name(errno));
	compare("memfd_secret", measure_secret, 5);
	check(2 * MEDIAN(exclusive, touch) <= MEDIAN(other, touch), "it is not");
	/* Nor is the work just done earlier. */
	check(2 * MEDIAN(exclusive, map_and_touch) <= MEDIAN(other, map_and_touch), "it is not, with its mmap");
}
