// SPDX-License-Identifier: GPL-2.0
/*
 * Keeps a random page in exclusive memory, and one in ordinary memory, for the
 * witness to look for.
 *
 * What it prints is inverted, so that saying what the page holds makes no copy
 * of it. It goes byte by byte, so that no register that the kernel saves ever
 * holds more than one of them.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/exclusive_memory.h>
#include <linux/kexec.h>

#define SIZE 4096

static void check(int ok, const char *what)
{
	if (!ok) {
		perror(what);
		exit(1);
	}
}

static volatile unsigned char *map_random(int fd, const char *what)
{
	void *page = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	check(page != MAP_FAILED, what);
	check(getrandom(page, SIZE, 0) == SIZE, "getrandom");
	return page;
}

static void print_inverted(const char *name, volatile unsigned char *page)
{
	int i;

	printf("%s ", name);
	for (i = 0; i < SIZE; i++)
		printf("%02x", (unsigned char)~page[i]);
	printf("\n");
	fflush(stdout);
}

static void wait_for_line(void)
{
	int c;

	do {
		c = getchar();
	} while (c != '\n' && c != EOF);
}

/* So often that the next kernel, which takes some memory for itself, leaves some. */
static void spread(volatile unsigned char *page)
{
	const size_t copies = 16384;
	unsigned char *memory = malloc(copies * SIZE);
	size_t i;

	check(memory != NULL, "malloc");
	for (i = 0; i < copies; i++)
		memcpy(memory + i * SIZE, (const void *)page, SIZE);
}

/* The next kernel finds no root and stops, with the memory as it got it. */
static void kexec(const char *image)
{
	static const char command_line[] = "console=ttyS0 panic=0";
	int kernel = open(image, O_RDONLY);

	check(kernel >= 0, image);
	check(!syscall(SYS_kexec_file_load, kernel, -1, sizeof(command_line),
		       command_line, KEXEC_FILE_NO_INITRAMFS), "kexec_file_load");
	check(!reboot(RB_KEXEC), "reboot");
}

int main(int argc, char **argv)
{
	struct exmem_create create = { .size = SIZE, .name = "witness" };
	volatile unsigned char *control_page;
	int dev, secret, control;

	dev = open("/dev/exclusive_memory", O_RDWR);
	check(dev >= 0, "open /dev/exclusive_memory");
	secret = ioctl(dev, EXMEM_CREATE, &create);
	check(secret >= 0, "EXMEM_CREATE");
	control = memfd_create("control", 0);
	check(control >= 0 && !ftruncate(control, SIZE), "memfd_create");

	control_page = map_random(control, "mmap control");
	print_inverted("control", control_page);
	print_inverted("secret", map_random(secret, "mmap secret"));
	wait_for_line();

	if (argc > 1 && !strcmp(argv[1], "reboot"))
		check(!reboot(RB_AUTOBOOT), "reboot");
	if (argc > 2 && !strcmp(argv[1], "kexec")) {
		spread(control_page);
		kexec(argv[2]);
	}
	check(!ioctl(secret, EXMEM_DESTROY), "EXMEM_DESTROY");
	printf("destroyed\n");
	fflush(stdout);
	wait_for_line();
	return 0;
}
