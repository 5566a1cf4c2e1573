// SPDX-License-Identifier: MIT
// A Node-API addon for the tests of the lockdown: what code that has taken the
// process over can do, on any thread. Results are the kernel's, -errno if it
// fails.
#define _GNU_SOURCE
#include <linux/kvm.h>
#include <node_api.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define MAX_ARGUMENTS 7

struct call {
	/* The number, and what goes into the registers as it is. */
	long words[MAX_ARGUMENTS];
	long result;
	napi_async_work work;
	napi_deferred deferred;
};

static void must(bool ok)
{
	if (!ok)
		abort();
}

/* Without libc, which looks at results and keeps some calls for itself. */
static long system_call(const long *words)
{
	register long r10 __asm__("r10") = words[4];
	register long r8 __asm__("r8") = words[5];
	register long r9 __asm__("r9") = words[6];
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(words[0]), "D"(words[1]), "S"(words[2]), "d"(words[3]), "r"(r10),
			   "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

/* The address of a Uint8Array's bytes, or all 64 bits of a bigint. */
static long word_of(napi_env env, napi_value value)
{
	bool is_array, lossless;
	void *bytes;
	int64_t word;

	must(napi_is_typedarray(env, value, &is_array) == napi_ok);
	if (is_array) {
		must(napi_get_typedarray_info(env, value, NULL, NULL, &bytes, NULL, NULL) == napi_ok);
		return (long)bytes;
	}
	must(napi_get_value_bigint_int64(env, value, &word, &lossless) == napi_ok);
	return word;
}

static void read_arguments(napi_env env, napi_callback_info info, long *words)
{
	napi_value arguments[MAX_ARGUMENTS];
	size_t count = MAX_ARGUMENTS;

	must(napi_get_cb_info(env, info, &count, arguments, NULL, NULL) == napi_ok);
	must(count <= MAX_ARGUMENTS);
	for (size_t i = 0; i < count; i++)
		words[i] = word_of(env, arguments[i]);
}

static napi_value number(napi_env env, long value)
{
	napi_value result;

	must(napi_create_int64(env, value, &result) == napi_ok);
	return result;
}

/* call(number, ...arguments), on this thread */
static napi_value call(napi_env env, napi_callback_info info)
{
	long words[MAX_ARGUMENTS] = { 0 };

	read_arguments(env, info, words);
	return number(env, system_call(words));
}

static void *run_call(void *argument)
{
	struct call *call = argument;

	call->result = system_call(call->words);
	return NULL;
}

/* callOnNewThread(number, ...arguments), which no JavaScript ran on */
static napi_value call_on_new_thread(napi_env env, napi_callback_info info)
{
	struct call call = { 0 };
	pthread_t thread;

	read_arguments(env, info, call.words);
	must(!pthread_create(&thread, NULL, run_call, &call));
	must(!pthread_join(thread, NULL));
	return number(env, call.result);
}

static void execute(napi_env env, void *data)
{
	(void)env;
	run_call(data);
}

static void complete(napi_env env, napi_status status, void *data)
{
	struct call *call = data;

	must(status == napi_ok);
	must(napi_resolve_deferred(env, call->deferred, number(env, call->result)) == napi_ok);
	must(napi_delete_async_work(env, call->work) == napi_ok);
	free(call);
}

/* callInPool(number, ...arguments): a promise; for words only, no bytes */
static napi_value call_in_pool(napi_env env, napi_callback_info info)
{
	struct call *call = calloc(1, sizeof(*call));
	napi_value name, promise;

	must(call);
	read_arguments(env, info, call->words);
	must(napi_create_string_utf8(env, "hostile", NAPI_AUTO_LENGTH, &name) == napi_ok);
	must(napi_create_promise(env, &call->deferred, &promise) == napi_ok);
	must(napi_create_async_work(env, NULL, name, execute, complete, call, &call->work) == napi_ok);
	must(napi_queue_async_work(env, call->work) == napi_ok);
	return promise;
}

/* callOfI386(number): by the gate of 32-bit programs */
static napi_value call_of_i386(napi_env env, napi_callback_info info)
{
	long words[MAX_ARGUMENTS] = { 0 };
	int result;

	read_arguments(env, info, words);
	__asm__ volatile("int $0x80"
			 : "=a"(result)
			 : "a"((int)words[0]), "b"(0), "c"(0), "d"(0)
			 : "memory", "r8", "r9", "r10", "r11");
	return number(env, result);
}

static void *be_strict(void *ends)
{
	int *pipe_ends = ends;
	char byte = 0;

	must(!prctl(PR_SET_SECCOMP, 1));
	must(write(pipe_ends[1], &byte, 1) == 1);
	/* Only this, write(2) and exit(2) are left, and there is nothing to read. */
	must(read(pipe_ends[2], &byte, 1) == 1);
	return NULL;
}

/* strictThread(): a thread that has made seccomp's strict mode its own */
static napi_value strict_thread(napi_env env, napi_callback_info info)
{
	static int ends[4];
	pthread_t thread;
	char byte;

	(void)env;
	(void)info;
	must(!pipe(ends) && !pipe(ends + 2));
	must(!pthread_create(&thread, NULL, be_strict, ends));
	must(read(ends[0], &byte, 1) == 1);
	return NULL;
}

/* addressOf(bytes): for other threads, if they stay where they are */
static napi_value address_of(napi_env env, napi_callback_info info)
{
	long words[MAX_ARGUMENTS] = { 0 };
	napi_value address;

	read_arguments(env, info, words);
	must(napi_create_bigint_int64(env, words[0], &address) == napi_ok);
	return address;
}

/*
 * steer(run, rip, rax): writes registers where KVM_RUN takes them from, in the
 * struct kvm_run at that address.
 */
static napi_value steer(napi_env env, napi_callback_info info)
{
	long words[MAX_ARGUMENTS] = { 0 };
	struct kvm_run *run;

	read_arguments(env, info, words);
	run = (struct kvm_run *)words[0];
	memset(&run->s.regs.regs, 0, sizeof(run->s.regs.regs));
	run->s.regs.regs.rip = words[1];
	run->s.regs.regs.rax = words[2];
	run->s.regs.regs.rflags = 2;
	__atomic_store_n(&run->kvm_dirty_regs, KVM_SYNC_X86_REGS, __ATOMIC_RELEASE);
	return NULL;
}

NAPI_MODULE_INIT()
{
	static const struct {
		const char *name;
		napi_callback call;
	} calls[] = {
		{ "call", call },
		{ "callOnNewThread", call_on_new_thread },
		{ "callInPool", call_in_pool },
		{ "callOfI386", call_of_i386 },
		{ "strictThread", strict_thread },
		{ "addressOf", address_of },
		{ "steer", steer },
	};

	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
		napi_value function;

		must(napi_create_function(env, calls[i].name, NAPI_AUTO_LENGTH, calls[i].call, NULL,
					  &function) == napi_ok);
		must(napi_set_named_property(env, exports, calls[i].name, function) == napi_ok);
	}
	return exports;
}
