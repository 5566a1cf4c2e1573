// SPDX-License-Identifier: GPL-2.0
/* L3, L4: the module goes only when nobody uses it, and comes only when it can work. */
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "guest.h"
#include "memory.h"
#include "process.h"
#include "system.h"
#include "view.h"

#define NAME "exclusive_memory"
#define TEST_NAME "exclusive_memory_test"

static char module_path[4096], test_module_path[4096], parameters[256];
static bool test_module_was_loaded;

static void find_modules(void)
{
	const char *test_module = getenv("EXMEM_TEST_MODULE");
	char copy[4096];

	if (!test_module)
		skip("EXMEM_TEST_MODULE does not say where the modules are");
	snprintf(test_module_path, sizeof(test_module_path), "%s", test_module);
	snprintf(copy, sizeof(copy), "%s", test_module);
	snprintf(module_path, sizeof(module_path), "%s/" NAME ".ko", dirname(copy));
	if (access(module_path, R_OK))
		skip("no %s", module_path);
}

static int load(const char *path, const char *arguments)
{
	int fd = expect_ok(open(path, O_RDONLY | O_CLOEXEC));
	int result = syscall(SYS_finit_module, fd, arguments, 0);
	int err = errno;

	close(fd);
	errno = err;
	return result;
}

static int unload(const char *name)
{
	return syscall(SYS_delete_module, name, O_NONBLOCK);
}

/* With the module that depends on it out of the way. */
static void begin(void)
{
	find_modules();
	test_module_was_loaded = !access("/sys/module/" TEST_NAME, F_OK);
	if (test_module_was_loaded)
		expect_ok(unload(TEST_NAME));
	snprintf(parameters, sizeof(parameters), "limit_bytes=%s",
		 read_text("/sys/module/" NAME "/parameters/limit_bytes"));
	parameters[strcspn(parameters, "\n")] = '\0';
}

static void end(void)
{
	if (access("/sys/module/" NAME, F_OK))
		expect_ok(load(module_path, parameters));
	if (test_module_was_loaded && access("/sys/module/" TEST_NAME, F_OK))
		expect_ok(load(test_module_path, ""));
}

/* What run() uses keeps the module; when its process has ended nothing does. */
static void expect_kept_by(void (*use)(void))
{
	int ready, done;
	pid_t pid;

	begin();
	ready = make_gate();
	done = make_gate();
	pid = start_child();
	if (!pid) {
		use();
		open_gate(ready);
		wait_at_gate(done);
		succeed();
	}
	wait_at_gate(ready);
	for (int i = 0; i < 3; i++)
		expect_errno(EAGAIN, unload(NAME));
	open_gate(done);
	expect_success(pid);
	check(eventually(!unload(NAME)), "afterwards: %s", errno_name(errno));
	expect_errno(ENOENT, open(DEVICE, O_RDWR));
	end();
	fill(map(make_memfd(PAGE), PAGE), PAGE, 1);
}

static void use_device(void)
{
	open_device();
}

TEST("L3 an open device file keeps the module")
{
	expect_kept_by(use_device);
}

static void use_memfd(void)
{
	make_memfd(PAGE);
}

TEST("L3 a restricted memfd keeps the module")
{
	expect_kept_by(use_memfd);
}

static void use_mapping(void)
{
	int fd = make_memfd(PAGE);

	map(fd, PAGE);
	close(fd);
}

TEST("L3 a mapping whose descriptor is closed keeps the module")
{
	expect_kept_by(use_mapping);
}

static void use_device_mapping(void)
{
	int fd = open_device();

	map(fd, PAGE);
	close(fd);
}

TEST("L3 so does a mapping of a device file")
{
	expect_kept_by(use_device_mapping);
}

static void use_destroyed(void)
{
	int fd = make_memfd(PAGE);

	map(fd, PAGE);
	expect_ok(destroy(fd));
	close(fd);
}

TEST("L3 so does what is left of a destroyed object's mapping")
{
	expect_kept_by(use_destroyed);
}

static void use_queue(void)
{
	static int sockets[2];
	int fd = make_memfd(PAGE);

	make_socket_pair(sockets);
	expect_ok(send_fd(sockets[0], fd));
	close(fd);
}

TEST("L3 so does a descriptor in a socket's queue")
{
	expect_kept_by(use_queue);
}

static int make_used_view(void)
{
	int view = make_view(PAGE);

	expect_ok(view_map(view, make_file(PAGE), 0, PAGE, 0, VIEW_RW));
	return view;
}

static void use_control(void)
{
	make_used_view();
}

TEST("L3 so does a view's control file")
{
	expect_kept_by(use_control);
}

static void use_view_fd(void)
{
	int view = make_used_view();

	expect_ok(view_fd(view, 0));
	close(view);
}

TEST("L3 so does a view fd whose control file is closed")
{
	expect_kept_by(use_view_fd);
}

static void use_view_mapping(void)
{
	int view = make_used_view();
	char *p = map_view(view, 0, 0, RW);

	expect_signal(0, signal_of_store(p));
	close(view);
	expect_signal(SIGBUS, signal_of_load(p));
}

TEST("L3 so does what is left of a view's mapping")
{
	expect_kept_by(use_view_mapping);
}

static void use_view_memory(void)
{
	int view = make_view(PAGE), object = make_memfd(PAGE);
	static char memory[2 * PAGE];

	expect_ok(view_map_memory(view, (void *)(((uintptr_t)memory + PAGE - 1) & -PAGE), PAGE, 0, VIEW_RW));
	expect_signal(0, signal_of_store(map_view(view, 0, 0, RW)));
	expect_ok(view_map(view, object, 0, PAGE, 0, VIEW_RW | MEMVIEW_MAP_REPLACE));
	close(object);
}

TEST("L3 so does a view of the process's memory, and of an object whose descriptor is closed")
{
	expect_kept_by(use_view_memory);
}

static void use_guest(void)
{
	make_memfd_flags(PAGE, GUEST);
}

TEST("L3 so does a guest object, also without a page")
{
	expect_kept_by(use_guest);
}

static void use_guest_device(void)
{
	int fd = open_guest_device();

	map(fd, PAGE);
	close(fd);
}

TEST("L3 so does a mapping of the guest device")
{
	expect_kept_by(use_guest_device);
}

static void use_guest_slot(void)
{
	int view = make_view(PAGE), fd = make_memfd_flags(PAGE, GUEST);

	populate_filled(fd, 0, PAGE, 1);
	expect_ok(make_shared(fd, 0, PAGE));
	expect_ok(view_map(view, fd, 0, PAGE, 0, VIEW_RW));
	expect_signal(0, signal_of_load(map_view(view, 0, 0, RW)));
	map_view(view, 0, 0, PROT_NONE);
	close(fd);
	close(view);
}

TEST("L3 so does what is left of a view of guest memory, mapped for KVM")
{
	expect_kept_by(use_guest_slot);
}

TEST("L3 a module that depends on it keeps the module")
{
	find_modules();
	if (access("/sys/module/" TEST_NAME, F_OK))
		skip("the module " TEST_NAME " is not loaded");
	expect_errno(EAGAIN, unload(NAME));
}

TEST("L3 it can be unloaded and loaded again and again, and nothing of it is left between", .seconds = 120)
{
	static const char *const gone[] = {
		DEVICE, GUEST_DEVICE, VIEW_DEVICE, "/sys/kernel/" NAME, "/sys/module/" NAME, "/sys/kernel/tracing/events/" NAME,
	};
	pid_t pid;

	begin();
	for (int i = 0; i < 10; i++) {
		pid = start_child();
		if (!pid) {
			int fd = make_memfd(BLOCK);

			fill(map(fd, BLOCK), BLOCK, i);
			if (i % 2)
				expect_ok(destroy(fd));
			use_view_mapping();
			use_view_memory();
			use_guest_device();
			use_guest_slot();
			succeed();
		}
		expect_success(pid);
		check(eventually(!unload(NAME)), "unload: %s", errno_name(errno));
		for (size_t j = 0; j < ARRAY_SIZE(gone); j++)
			check(access(gone[j], F_OK), "%s is still there", gone[j]);
		expect_ok(load(module_path, parameters));
	}
	end();
}

/* ---- L4 ---- */

/* A copy of the module that looks for another symbol; how often it was named. */
static int make_weaker_module(const char *path, const char *symbol, const char *other)
{
	int from = expect_ok(open(module_path, O_RDONLY | O_CLOEXEC));
	int to = expect_ok(open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
	size_t length = strlen(symbol) + 1;	/* with its end, so that longer names stay */
	struct stat stat;
	char *text;
	int n = 0;

	expect_ok(fstat(from, &stat));
	text = malloc(stat.st_size);
	check(text, "no memory");
	for (ssize_t done = 0; done < stat.st_size;)
		done += expect_ok(read(from, text + done, stat.st_size - done));
	for (char *p = text; (p = memmem(p, text + stat.st_size - p, symbol, length)); p += length) {
		memcpy(p, other, length);
		n++;
	}
	expect_equal(stat.st_size, write(to, text, stat.st_size));
	free(text);
	close(from);
	close(to);
	return n;
}

static int count_lines(int log, const char *text)
{
	char line[8192];
	int n = 0;
	ssize_t length;

	while ((length = read(log, line, sizeof(line) - 1)) > 0) {
		line[length] = '\0';
		n += strstr(line, text) != NULL;
	}
	return n;
}

static void expect_refuses_without(const char *symbol)
{
	static const char path[] = "/dev/shm/" NAME ".ko";
	char other[64];
	int log, answer;

	snprintf(other, sizeof(other), "%s", symbol);
	other[strlen(other) - 1] = 'X';
	check(make_weaker_module(path, symbol, other), "the module does not name %s", symbol);
	log = log_begin();
	answer = errno_of(load(path, parameters));
	unlink(path);
	check(answer == EOPNOTSUPP, "without %s: expected EOPNOTSUPP, got %s", symbol, errno_name(answer));
	expect_equal(1, count_lines(log, other));
	check(access(DEVICE, F_OK), "without %s: there is a device", symbol);
}

TEST("L4 without flush_tlb_kernel_range it does not load, and says what is missing")
{
	pid_t pid;
	int status;

	begin();
	check(eventually(!unload(NAME)), "unload: %s", errno_name(errno));
	pid = start_child();
	if (!pid) {
		expect_refuses_without("flush_tlb_kernel_range");
		succeed();
	}
	expect_equal(pid, waitpid(pid, &status, 0));
	end();
	expect_equal(0, status);
}

TEST("L4 so it does without each other symbol that it says it needs", .seconds = 120)
{
	char list[1024], *next = list, *symbol;
	pid_t pid;
	int status;

	begin();
	snprintf(list, sizeof(list), "%s", read_text("/sys/kernel/" NAME "/symbols"));
	if (!*list)
		skip("it does not say what it needs");
	check(eventually(!unload(NAME)), "unload: %s", errno_name(errno));
	pid = start_child();
	if (!pid) {
		while ((symbol = strsep(&next, "\n")))
			if (*symbol)
				expect_refuses_without(symbol);
		succeed();
	}
	expect_equal(pid, waitpid(pid, &status, 0));
	end();
	expect_equal(0, status);
}
