// SPDX-License-Identifier: GPL-2.0
/*
 * The example that memory views began with:
 *
 *	Range (GiB)	Fd		Permissions
 *	0-8		big-file.iso	read
 *	8-10		guest-ram	read+write
 *	10-16		<none>		<none>
 *
 * from the byte 4 GiB of big-file.iso, and from the byte 8 GiB of guest-ram.
 */
#include <stdio.h>
#include <string.h>

#include "disk.h"
#include "process.h"
#include "view.h"

#define SIZE (16 * GIB)

static int view, iso, ram;
static struct peer b;

static void begin_example(void)
{
	struct disk disk = make_mount("tmpfs", 0, NULL);
	int writer;

	/* B has begun before anything is opened: it has what it is sent. */
	b = start_peer();
	writer = make_file_on(&disk, "big-file.iso", 16 * GIB);
	ram = make_file(32 * GIB);
	for (uint64_t offset = 0; offset < 16 * GIB; offset += GIB / 2) {
		expect_equal(8, pwrite(writer, &offset, 8, offset));
		expect_equal(8, pwrite(ram, &offset, 8, offset));
	}
	close(writer);
	iso = open_on(&disk, "big-file.iso", O_RDONLY);

	view = open_control();
	expect_ok(view_set_size(view, SIZE));
	expect_ok(view_map(view, ram, 8 * GIB, 2 * GIB, 8 * GIB, VIEW_RW));
	expect_ok(view_map(view, iso, 4 * GIB, 8 * GIB, 0, VIEW_R));
	give_view(&b, view, SIZE);
}

static const char *shown(struct access access, bool with_value)
{
	static char text[2][64];
	static int next;
	char *line = text[next++ % 2];

	if (access.signal)
		snprintf(line, sizeof(*text), "%s%s", strsignal(access.signal) ? sigabbrev_np(access.signal) : "?",
			 access.signal == SIGBUS && access.code == BUS_ADRERR ? " BUS_ADRERR" : "");
	else if (with_value)
		snprintf(line, sizeof(*text), "0x%llx", (unsigned long long)access.value);
	else
		snprintf(line, sizeof(*text), "stored");
	return line;
}

/* What B finds at an offset of the view. */
static const struct {
	const char *region;
	uint64_t offset;
	int load, store;
	uint64_t value;
} table[] = {
	{ "0-8    big-file.iso  read        ", 0, 0, SIGSEGV, 4 * GIB },
	{ "0-8    big-file.iso  read        ", 4 * GIB, 0, SIGSEGV, 8 * GIB },
	{ "0-8    big-file.iso  read        ", 8 * GIB - GIB / 2, 0, SIGSEGV, 12 * GIB - GIB / 2 },
	{ "0-8    big-file.iso  read        ", 8 * GIB - 8, 0, SIGSEGV, 0 },
	{ "8-10   guest-ram     read+write  ", 8 * GIB, 0, 0, 8 * GIB },
	{ "8-10   guest-ram     read+write  ", 9 * GIB + GIB / 2, 0, 0, 9 * GIB + GIB / 2 },
	{ "8-10   guest-ram     read+write  ", 10 * GIB - 8, 0, 0, 0 },
	{ "10-16  <none>        <none>      ", 10 * GIB, SIGBUS, SIGBUS, 0 },
	{ "10-16  <none>        <none>      ", 13 * GIB, SIGBUS, SIGBUS, 0 },
	{ "10-16  <none>        <none>      ", SIZE - 8, SIGBUS, SIGBUS, 0 },
};

TEST("V5 the example: a file read-only, a memfd, and nothing", .seconds = 120)
{
	uint64_t word;

	begin_example();
	expect_ranges(view, { 0, 8 * GIB / PAGE, 4 * GIB / PAGE, VIEW_R },
		      { 8 * GIB / PAGE, 2 * GIB / PAGE, 8 * GIB / PAGE, VIEW_RW });
	diag("GiB    Fd            Permissions  B at          load              store");
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct access load = peer_load(&b, table[i].offset);
		struct access store = peer_store(&b, table[i].offset, ~table[i].value);

		diag("%s 0x%09llx   %-16s  %s", table[i].region, (unsigned long long)table[i].offset,
		     shown(load, true), shown(store, false));
		expect_access(table[i].load, load);
		expect_access(table[i].store, store);
		expect_equal(table[i].value, load.value);
	}
	/* The stores are in the memfd; the file is as it was. */
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		if (table[i].load)
			continue;
		expect_equal(8, pread(table[i].store ? iso : ram, &word, 8,
				      table[i].store ? table[i].offset + 4 * GIB : table[i].offset));
		expect_equal(table[i].store ? table[i].value : ~table[i].value, word);
	}
	end_peer(&b);
}

TEST("V5 the example's 8 GiB at 4 GiB: the offset in the view is not the file's", .seconds = 120)
{
	begin_example();
	expect_value(8 * GIB, peer_load(&b, 4 * GIB));
	end_peer(&b);
}

TEST("V3 the example, when A takes things back and gives others", .seconds = 120)
{
	begin_example();
	expect_value(4 * GIB, peer_load(&b, 0));
	expect_value(8 * GIB, peer_load(&b, 8 * GIB));
	expect_ok(view_unmap(view, 0, 8 * GIB));
	expect_access(SIGBUS, peer_load(&b, 0));
	expect_access(SIGBUS, peer_load(&b, 8 * GIB - 8));
	expect_ok(view_protect(view, 8 * GIB, GIB, VIEW_R));
	expect_access(SIGSEGV, peer_store(&b, 8 * GIB, 1));
	expect_value(8 * GIB, peer_load(&b, 8 * GIB));
	expect_access(0, peer_store(&b, 9 * GIB, 1));
	expect_ok(view_map(view, ram, 0, 6 * GIB, 10 * GIB, VIEW_RW));
	expect_value(GIB, peer_load(&b, 11 * GIB));
	expect_access(0, peer_store(&b, 16 * GIB - 8, 7));
	/* When A is gone, everything is. */
	close(view);
	for (uint64_t offset = 0; offset < SIZE; offset += GIB)
		expect_access(SIGBUS, peer_load(&b, offset));
	end_peer(&b);
}

TEST("V4 B cannot do anything to the view with its descriptor", .seconds = 120)
{
	int socket[2], fd;
	pid_t pid;

	make_socket_pair(socket);
	pid = start_child();
	if (!pid) {
		fd = expect_ok(receive_fd(socket[1]));
		expect_errno(ENOTTY, view_unmap(fd, 0, SIZE));
		expect_errno(ENOTTY, view_map(fd, fd, 0, PAGE, 10 * GIB, VIEW_R));
		expect_errno(ENOTTY, view_protect(fd, 0, SIZE, VIEW_RW));
		expect_errno(ENOTTY, view_fd(fd, 0));
		expect_errno(EINVAL, ftruncate(fd, 0));
		/* Its only use: mapping it. */
		expect_equal(4 * GIB, *(uint64_t *)mmap(NULL, SIZE, RW, MAP_SHARED, fd, 0));
		succeed();
	}
	begin_example();
	fd = expect_ok(view_fd(view, 0));
	expect_ok(send_fd(socket[0], fd));
	expect_success(pid);
	end_peer(&b);
}
