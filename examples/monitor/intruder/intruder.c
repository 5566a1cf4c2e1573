// SPDX-License-Identifier: MIT
/*
 * What native code in the monitor's own process can try on an address: each way
 * gives the byte that is there, or the name of the errno or signal.
 *
 * None changes memory where it succeeds.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <node_api.h>

static sigjmp_buf lost;

static void on_signal(int signal)
{
	siglongjmp(lost, signal);
}

/* All give a byte, or -errno. */
typedef int (*way)(volatile unsigned char *address);

static int load(volatile unsigned char *address)
{
	return *address;
}

static int store(volatile unsigned char *address)
{
	__asm__ volatile("lock; orb $0, %0" : "+m"(*address));
	return *address;
}

/* write(2) from the address, or read(2) to it. */
static int by_pipe(volatile unsigned char *address, int into)
{
	unsigned char byte = 0;
	int ends[2], result;

	if (pipe(ends))
		return -errno;
	if (!into) {
		result = write(ends[1], (const void *)address, 1) == 1 ? 0 : -errno;
	} else {
		/* The same byte again, if there is a way to know it. */
		struct iovec local = { &byte, 1 }, remote = { (void *)address, 1 };

		process_vm_readv(getpid(), &local, 1, &remote, 1, 0);
		result = write(ends[1], &byte, 1) == 1 && read(ends[0], (void *)address, 1) == 1 ? byte : -errno;
	}
	if (!into && !result)
		result = read(ends[0], &byte, 1) == 1 ? byte : -errno;
	close(ends[0]);
	close(ends[1]);
	return result;
}

static int write_from(volatile unsigned char *address)
{
	return by_pipe(address, 0);
}

static int read_into(volatile unsigned char *address)
{
	return by_pipe(address, 1);
}

static int process_vm(volatile unsigned char *address)
{
	unsigned char byte;
	struct iovec local = { &byte, 1 }, remote = { (void *)address, 1 };

	return process_vm_readv(getpid(), &local, 1, &remote, 1, 0) == 1 ? byte : -errno;
}

/* Makes the page accessible first. */
static int protect(volatile unsigned char *address)
{
	void *page = (void *)((uintptr_t)address & -4096UL);

	return mprotect(page, 4096, PROT_READ | PROT_WRITE) ? -errno : *address;
}

static const struct {
	const char *name;
	way try;
} ways[] = {
	{ "load", load },
	{ "store", store },
	{ "write", write_from },
	{ "read", read_into },
	{ "process_vm_readv", process_vm },
	{ "mprotect", protect },
};

/* Signals count as -1000 - signal. */
#define SIGNAL_BASE 1000

static int attempt(way try, volatile unsigned char *address)
{
	struct sigaction action = { .sa_handler = on_signal }, segv, bus;
	int result;

	sigaction(SIGSEGV, &action, &segv);
	sigaction(SIGBUS, &action, &bus);
	result = sigsetjmp(lost, 1);
	result = result ? -SIGNAL_BASE - result : try(address);
	sigaction(SIGSEGV, &segv, NULL);
	sigaction(SIGBUS, &bus, NULL);
	return result;
}

static napi_value outcome(napi_env env, int result)
{
	const char *name = result <= -SIGNAL_BASE ? sigabbrev_np(-result - SIGNAL_BASE) : strerrorname_np(-result);
	char text[32] = "SIG";
	napi_value value;

	if (result >= 0) {
		napi_create_int32(env, result, &value);
		return value;
	}
	text[result <= -SIGNAL_BASE ? 3 : 0] = '\0';
	strncat(text, name ? name : "?", sizeof(text) - 4);
	napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &value);
	return value;
}

/* (way: string, address: bigint) => number | string */
static napi_value intrude(napi_env env, napi_callback_info info)
{
	napi_value args[2];
	size_t count = 2, i;
	uint64_t address;
	char name[32];
	bool lossless;

	if (napi_get_cb_info(env, info, &count, args, NULL, NULL) != napi_ok || count != 2 ||
	    napi_get_value_string_utf8(env, args[0], name, sizeof(name), NULL) != napi_ok ||
	    napi_get_value_bigint_uint64(env, args[1], &address, &lossless) != napi_ok) {
		napi_throw_type_error(env, NULL, "Expected the name of a way and an address");
		return NULL;
	}
	for (i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		if (!strcmp(ways[i].name, name))
			return outcome(env, attempt(ways[i].try, (volatile unsigned char *)address));
	napi_throw_range_error(env, NULL, "Expected the name of a way");
	return NULL;
}

NAPI_MODULE_INIT()
{
	napi_value function;

	napi_create_function(env, "intrude", NAPI_AUTO_LENGTH, intrude, NULL, &function);
	napi_set_named_property(env, exports, "intrude", function);
	return exports;
}
