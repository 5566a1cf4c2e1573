// SPDX-License-Identifier: MIT
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "system.h"

#define OVERLAY "lowerdir=/host,upperdir=/changes/upper,workdir=/changes/work"

/*
 * With the default size, the largest that virtio can carry, a program starts
 * several times faster than with small messages. "loose": nobody else changes
 * what the guest has read, or the guest need not notice.
 */
#define HOST_OPTIONS "trans=virtio,version=9p2000.L,cache=loose,msize=512000"

static int log_fd = -1;

static void log_line(const char *format, va_list arguments)
{
	char line[900];
	int n = snprintf(line, sizeof(line), "<3>exmem-vm: ");

	n += vsnprintf(line + n, sizeof(line) - n, format, arguments);
	if (n > (int)sizeof(line) - 1)
		n = sizeof(line) - 1;
	if (write(log_fd, line, n) < 0)
		return;	/* there is no other place to complain */
}

void kernel_log(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	log_line(format, arguments);
	va_end(arguments);
}

void fatal(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	log_line(format, arguments);
	va_end(arguments);
	power_off();
}

void power_off(void)
{
	sync();
	reboot(RB_POWER_OFF);
	_exit(1);	/* which the kernel turns into a panic, and the runner into a status */
}

static void make_directory(const char *path)
{
	if (mkdir(path, 0755) && errno != EEXIST)
		fatal("cannot make %s: %s", path, strerror(errno));
}

static void mount_on(const char *source, const char *path, const char *type,
		     unsigned long flags, const char *options)
{
	make_directory(path);
	if (mount(source, path, type, flags, options))
		fatal("cannot mount %s on %s: %s", source, path, strerror(errno));
}

/* For what not every kernel has. */
static void mount_if_possible(const char *type, const char *path)
{
	if (mount(type, path, type, 0, NULL) && errno != ENOENT && errno != ENODEV && errno != EBUSY)
		kernel_log("cannot mount %s on %s: %s", type, path, strerror(errno));
}

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool written = fd >= 0 && write(fd, text, strlen(text)) >= 0;

	if (fd >= 0)
		close(fd);
	return written;
}

static int load(const char *path, const char *parameters)
{
	int result, fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	result = syscall(SYS_finit_module, fd, parameters, 0);
	if (result && errno == EEXIST)
		result = 0;
	close(fd);
	return result;
}

/*
 * The modules that came with this program, in the order in which they need each
 * other. One whose line begins with "?" may fail: not every processor has KVM.
 */
static void load_modules(void)
{
	FILE *order = fopen("/modules/order", "re");
	char line[128], path[160];

	if (!order)
		fatal("cannot read /modules/order: %s", strerror(errno));
	while (fgets(line, sizeof(line), order)) {
		const char *name = line[0] == '?' ? line + 1 : line;

		line[strcspn(line, "\n")] = '\0';
		snprintf(path, sizeof(path), "/modules/%s", name);
		if (load(path, "") && name == line)
			fatal("cannot load %s: %s", name, strerror(errno));
		/* It sits in memory that the tests may need. */
		unlink(path);
	}
	fclose(order);
}

void system_begin(void)
{
	int null;

	make_directory("/dev");
	if (mount("devtmpfs", "/dev", "devtmpfs", 0, "mode=0755"))
		power_off();
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
	log_fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	mount_on("proc", "/proc", "proc", 0, NULL);
	mount_on("sysfs", "/sys", "sysfs", 0, NULL);
	load_modules();
}

static void enter_host_root(void)
{
	static const char *const kept[] = { "dev", "proc", "sys" };

	mount_on("host", "/host", "9p", MS_RDONLY, HOST_OPTIONS);
	mount_on("changes", "/changes", "tmpfs", 0, "mode=0755,size=75%");
	make_directory("/changes/upper");
	make_directory("/changes/work");
	mount_on("overlay", "/root", "overlay", 0, OVERLAY);
	for (size_t i = 0; i < sizeof(kept) / sizeof(*kept); i++) {
		char from[16], to[32];

		snprintf(from, sizeof(from), "/%s", kept[i]);
		snprintf(to, sizeof(to), "/root/%s", kept[i]);
		mount_on(from, to, NULL, MS_MOVE, NULL);
	}
	if (chdir("/root") || mount(".", "/", NULL, MS_MOVE, NULL) || chroot(".") || chdir("/"))
		fatal("cannot enter the host's file system: %s", strerror(errno));
}

static void bring_up_loopback(void)
{
	struct ifreq request = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd >= 0) {
		ioctl(fd, SIOCSIFFLAGS, &request);
		close(fd);
	}
}

static void set_limits(void)
{
	/* As a login on Debian has them. */
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 1024, 1024 * 1024 });
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, RLIM_INFINITY });
}

static void make_user(const struct request *request)
{
	char path[280];

	make_directory("/run/user");
	make_directory(USER_HOME);
	if (chown(USER_HOME, USER_ID, USER_ID) || chmod(USER_HOME, 0700))
		fatal("cannot give away %s: %s", USER_HOME, strerror(errno));
	for (char **device = request->devices; device && *device; device++) {
		snprintf(path, sizeof(path), "/dev/%s", *device);
		if (!access(path, F_OK) && (chown(path, 0, DEVICE_GROUP_ID) || chmod(path, 0660)))
			fatal("cannot give away %s: %s", path, strerror(errno));
	}
}

void system_enter_root(const struct request *request)
{
	enter_host_root();
	mount_on("devpts", "/dev/pts", "devpts", 0, "gid=5,mode=620,ptmxmode=666");
	mount_on("shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
	mount_on("run", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755");
	mount_if_possible("debugfs", "/sys/kernel/debug");
	mount_if_possible("tracefs", "/sys/kernel/tracing");
	mount_if_possible("cgroup2", "/sys/fs/cgroup");
	if (!write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory +pids"))
		kernel_log("cannot enable the memory and pids controllers");
	/* So that modprobe finds this kernel's modules, which the host does not have. */
	mount_on(request->kernel_modules, "/lib/modules", NULL, MS_BIND, NULL);
	if (sethostname("exclusive-memory", strlen("exclusive-memory")))
		kernel_log("cannot set the host name: %s", strerror(errno));
	bring_up_loopback();
	set_limits();
}

void system_load_module(const struct request *request)
{
	if (request->module && load(request->module, request->module_parameters))
		fatal("cannot load %s with parameters \"%s\": %s", request->module,
		      request->module_parameters, strerror(errno));
	if (request->unprivileged)
		make_user(request);
}

/* What kmemleak has found, into the log. */
static void check_leaks(void)
{
	static const char file[] = "/sys/kernel/debug/kmemleak";
	struct timespec begin, now;
	char line[256];
	int lines = 0;
	FILE *leaks;

	/*
	 * The first scan only notes what each object holds: one whose content still
	 * changes is in use. Objects younger than five seconds are not reported.
	 */
	clock_gettime(CLOCK_MONOTONIC, &begin);
	if (!write_file(file, "scan"))
		return;	/* a kernel without it, or started with kmemleak=off */
	do {
		usleep(100 * 1000);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec - begin.tv_sec < 7);
	write_file(file, "scan");
	leaks = fopen(file, "re");
	while (leaks && lines < 60 && fgets(line, sizeof(line), leaks)) {
		line[strcspn(line, "\n")] = '\0';
		kernel_log("%s%s", lines++ ? "" : "BUG: memory leak: ", line);
	}
	if (leaks)
		fclose(leaks);
}

static void unload_module(const char *name)
{
	/* What a process held is let go of shortly after its death. */
	for (int tries = 0; tries < 300; tries++) {
		if (!syscall(SYS_delete_module, name, O_NONBLOCK) || errno == ENOENT)
			return;
		usleep(10 * 1000);
	}
	kernel_log("BUG: module %s cannot be unloaded: %s", name, strerror(errno));
}

void system_check_leftovers(void)
{
	check_leaks();
	unload_module("exclusive_memory_test");
	unload_module("exclusive_memory");
}
