/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tests that print TAP.
 *
 * TEST("R3 what is promised") { ... } defines a test. Each runs in a child of
 * its own, in a process group of its own, with a time limit, so it may crash,
 * hang, or leave processes behind. It ends at the first check that fails. A test
 * has also failed if it leaves an object, a mapping, a page or a view behind.
 *
 * A program runs all its tests, or those whose name contains its argument.
 */
#ifndef EXMEM_TEST_HARNESS_H
#define EXMEM_TEST_HARNESS_H

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

struct test {
	const char *name;
	void (*run)(void);
	unsigned int seconds;	/* 0: as many as most tests need */
	struct test *next;
};

#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)

/* TEST("name") or TEST("name", .seconds = 60) */
#define TEST(title, ...)							\
	static void JOIN(test_run_, __LINE__)(void);				\
	static struct test JOIN(test_, __LINE__) = {				\
		.name = title, .run = JOIN(test_run_, __LINE__), ##__VA_ARGS__	\
	};									\
	__attribute__((constructor)) static void JOIN(test_add_, __LINE__)(void)\
	{									\
		test_add(&JOIN(test_, __LINE__));				\
	}									\
	static void JOIN(test_run_, __LINE__)(void)

void test_add(struct test *test);

/* A line "# ..." of the output. */
void diag(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* End this test: it cannot be run here, because ... */
void skip(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* End this process, which is a test or a child of one. */
void fail_at(const char *file, int line, const char *format, ...)
	__attribute__((format(printf, 3, 4), noreturn));
void succeed(void) __attribute__((noreturn));

#define fail(...) fail_at(__FILE__, __LINE__, __VA_ARGS__)

#define check(condition, ...)				\
	do {						\
		if (!(condition))			\
			fail(__VA_ARGS__);		\
	} while (0)

#define expect_equal(expected, actual)						\
	do {									\
		long long expected_ = (long long)(expected);			\
		long long actual_ = (long long)(actual);			\
										\
		if (expected_ != actual_)					\
			fail("%s: expected %lld (0x%llx), got %lld (0x%llx)",	\
			     #actual, expected_, expected_, actual_, actual_);	\
	} while (0)

/* A call that returns -1 and sets errno, or MAP_FAILED, when it fails. */
#define expect_ok(call)						\
	({							\
		errno = 0;					\
		__auto_type result_ = (call);			\
								\
		if ((long)result_ == -1)			\
			fail("%s: expected success, got %s",	\
			     #call, errno_name(errno));		\
		result_;					\
	})

#define expect_errno(expected, call)						\
	do {									\
		errno = 0;							\
		long long result_ = (long)(call);				\
		int errno_ = errno;						\
										\
		if (result_ != -1)						\
			fail("%s: expected %s, got success (%lld)",		\
			     #call, errno_name(expected), result_);		\
		if (errno_ != (expected))					\
			fail("%s: expected %s, got %s", #call,			\
			     errno_name(expected), errno_name(errno_));		\
	} while (0)

/* "EBUSY", or "0" */
const char *errno_name(int number);

/*
 * The errno of a call for which more than one answer keeps the promise; what
 * else must hold is for the caller to check. 0 if it succeeded.
 */
#define errno_of(call)					\
	({						\
		errno = 0;				\
		(long)(call) == -1 ? errno : 0;		\
	})

/* Wait until a condition holds; false if it does not within some seconds. */
#define eventually(condition)						\
	({								\
		bool holds_ = (condition);				\
		for (int ms_ = 0; !holds_ && ms_ < 5000; ms_ += 5) {	\
			sleep_ms(5);					\
			holds_ = (condition);				\
		}							\
		holds_;							\
	})

void sleep_ms(unsigned int ms);
uint64_t now_ns(void);

#endif
