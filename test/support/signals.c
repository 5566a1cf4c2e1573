// SPDX-License-Identifier: MIT
// A Node-API addon for the tests of signal handlers: installs handlers as a
// program could, and makes the processor fault as only native code can.
#define _GNU_SOURCE
#include <node_api.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static char *volatile fault_page;

static void say_and_exit(const char *text, int status)
{
	if (write(STDOUT_FILENO, text, strlen(text)) < 0)
		abort();
	_exit(status);
}

static void on_siginfo(int signal, siginfo_t *info, void *context)
{
	ucontext_t *ucontext = context;
	int right = info->si_signo == signal && info->si_addr == fault_page &&
		    ucontext->uc_mcontext.gregs[REG_RIP];

	say_and_exit(right ? "siginfo\n" : "siginfo of something else\n", 40);
}

static void on_plain(int signal)
{
	say_and_exit(signal == SIGBUS ? "plain SIGBUS\n" : "plain SIGSEGV\n", 41);
}

/* Makes the access possible, as a garbage collector's barrier would. */
static void on_repair(int signal, siginfo_t *info, void *context)
{
	sigset_t blocked;

	(void)info;
	(void)context;
	pthread_sigmask(SIG_SETMASK, NULL, &blocked);
	if (!sigismember(&blocked, SIGUSR1) || !sigismember(&blocked, signal))
		say_and_exit("wrong mask\n", 42);
	if (mmap(fault_page, 4096, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		abort();
}

static void argument(napi_env env, napi_callback_info info, size_t index, char *text, size_t size)
{
	napi_value arguments[2];
	size_t count = 2;

	if (napi_get_cb_info(env, info, &count, arguments, NULL, NULL) != napi_ok ||
	    napi_get_value_string_utf8(env, arguments[index], text, size, NULL) != napi_ok)
		abort();
}

static int signal_of(const char *name)
{
	return strcmp(name, "SIGBUS") ? SIGSEGV : SIGBUS;
}

/* install("SIGBUS" | "SIGSEGV", "siginfo" | "plain" | "ignore" | "repair" | "repair once") */
static napi_value install(napi_env env, napi_callback_info info)
{
	char name[16], kind[16];
	struct sigaction action = { .sa_flags = SA_SIGINFO | SA_ONSTACK };

	argument(env, info, 0, name, sizeof(name));
	argument(env, info, 1, kind, sizeof(kind));
	sigaddset(&action.sa_mask, SIGUSR1);
	if (!strcmp(kind, "siginfo")) {
		action.sa_sigaction = on_siginfo;
	} else if (!strncmp(kind, "repair", 6)) {
		action.sa_sigaction = on_repair;
		if (strcmp(kind, "repair"))
			action.sa_flags |= SA_RESETHAND;
	} else {
		action.sa_flags = SA_ONSTACK;
		action.sa_handler = strcmp(kind, "plain") ? SIG_IGN : on_plain;
	}
	if (sigaction(signal_of(name), &action, NULL))
		abort();
	return NULL;
}

/* fault("SIGBUS" | "SIGSEGV"): a store; returns if a handler made it possible. */
static napi_value fault(napi_env env, napi_callback_info info)
{
	char name[16];
	int file = memfd_create("fault", MFD_CLOEXEC);

	argument(env, info, 0, name, sizeof(name));
	if (file < 0)
		abort();
	/* The file is empty: its pages can be mapped, but there are none. */
	fault_page = mmap(NULL, 4096,
			  signal_of(name) == SIGBUS ? PROT_READ | PROT_WRITE : PROT_NONE,
			  MAP_SHARED, file, 0);
	close(file);
	if (fault_page == MAP_FAILED)
		abort();
	*(volatile char *)fault_page = 1;
	return NULL;
}

/* jump(bytes): calls them as code. */
static napi_value jump(napi_env env, napi_callback_info info)
{
	napi_value argument;
	size_t count = 1;
	void *bytes;

	if (napi_get_cb_info(env, info, &count, &argument, NULL, NULL) != napi_ok ||
	    napi_get_typedarray_info(env, argument, NULL, NULL, &bytes, NULL, NULL) != napi_ok)
		abort();
	((void (*)(void))(uintptr_t)bytes)();
	return NULL;
}

NAPI_MODULE_INIT()
{
	static const struct {
		const char *name;
		napi_callback call;
	} calls[] = { { "install", install }, { "fault", fault }, { "jump", jump } };

	for (size_t i = 0; i < sizeof(calls) / sizeof(*calls); i++) {
		napi_value function;

		if (napi_create_function(env, calls[i].name, NAPI_AUTO_LENGTH, calls[i].call, NULL,
					 &function) != napi_ok ||
		    napi_set_named_property(env, exports, calls[i].name, function) != napi_ok)
			abort();
	}
	return exports;
}
