// SPDX-License-Identifier: GPL-2.0
/* G1, G1a, G3, L1: guests that run on memory which nobody else can read. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include "guest.h"
#include "kvm.h"
#include "process.h"
#include "secret_guest.h"
#include "system.h"
#include "test_module.h"
#include "view.h"

KEEP_A_MACHINE

/* Not secret: what the guest works on while it runs. */
#define WORK_AT		0x300000
#define WORK_PAGES	16
#define WORK_SIZE	(WORK_PAGES * PAGE)
/* The guest ends when this is not 0. */
#define STOP_AT		0x3f0000

#define PROCESSORS	4

/*
 * On each page from di on, cx of them, its own counter, which is at bx in the page, until the word at si is set.
 * ax: how often
 */
GUEST_CODE(count_in_pages, 64,
	"xor %eax, %eax\n"
	"again: lea (%rdi,%rbx), %rdx\n"
	"mov %rcx, %r8\n"
	"1: incq (%rdx)\n"
	"add $4096, %rdx\n"
	"dec %r8\n"
	"jnz 1b\n"
	"inc %rax\n"
	"cmpq $0, (%rsi)\n"
	"je again\n"
	DONE);

/* All at di, cx times */
GUEST_CODE(count_together, 64,
	"1: lock incq (%rdi)\n"
	"dec %rcx\n"
	"jnz 1b\n"
	DONE);

static struct processor processors[PROCESSORS];
static pthread_t threads[PROCESSORS];
static _Atomic int answers[PROCESSORS];

/* All do the same, but for bx, which is the number of a word. */
static void make_processors(const unsigned char *code, size_t size, struct kvm_regs registers)
{
	prepare_guest_code(code, size, registers);
	for (int i = 0; i < PROCESSORS; i++) {
		/* Number 1 is taken. */
		processors[i] = i ? add_processor(i + 1) : first_processor();
		registers.rbx = 8 * i;
		prepare_another(processors[i], registers);
	}
}

static void *run_one(void *number)
{
	intptr_t i = (intptr_t)number;

	answers[i] = run_processor(processors[i]);
	return NULL;
}

static void start_processors(void)
{
	for (intptr_t i = 0; i < PROCESSORS; i++) {
		answers[i] = -1;
		expect_equal(0, pthread_create(&threads[i], NULL, run_one, (void *)i));
	}
}

static void wait_for_processors(int expected)
{
	for (int i = 0; i < PROCESSORS; i++) {
		pthread_join(threads[i], NULL);
		expect_equal(expected, answers[i]);
		if (!expected)
			check_exit(__FILE__, __LINE__, processors[i], KVM_EXIT_IO);
	}
}

#define CODE(name) name, SIZE_OF_CODE(name)

static void start_counting(void)
{
	make_processors(CODE(count_in_pages),
			(struct kvm_regs){ .rdi = WORK_AT, .rcx = WORK_PAGES, .rsi = STOP_AT });
	start_processors();
}

static uint64_t counter_in(int page, int processor)
{
	uint64_t words[PAGE / 8];

	read_physical(secret_memory + WORK_AT + page * PAGE, words, PAGE);
	return words[processor];
}

static bool is_running(void)
{
	for (int i = 0; i < PROCESSORS; i++) {
		if (answers[i] != -1)
			return false;
	}
	return true;
}

/* Each of them has done something since. */
static void expect_progress(void)
{
	uint64_t before[PROCESSORS];

	for (int i = 0; i < PROCESSORS; i++)
		before[i] = counter_in(WORK_PAGES - 1, i);
	for (int i = 0; i < PROCESSORS; i++)
		check(eventually(counter_in(WORK_PAGES - 1, i) != before[i] || !is_running()),
		      "processor %d does not get on", i);
	check(is_running(), "a processor has ended");
}

/* No store of any processor was lost. */
static void end_counting(void)
{
	uint64_t yes = 1;

	expect_ok(populate(secret_object, STOP_AT, sizeof(yes), &yes));
	wait_for_processors(0);
	for (int i = 0; i < PROCESSORS; i++) {
		uint64_t times = registers_of(processors[i].fd).rax;

		for (int page = 0; page < WORK_PAGES; page++)
			expect_equal(times, counter_in(page, i));
	}
}

/* ---- private ---- */

TEST("G1 the control: of a guest on ordinary memory, the secret is found", .seconds = 60)
{
	begin_secret_guest(ON_PLAIN_MEMORY);
	expect_equal(SECRET_SIZE / PAGE, pages_with_secret());
	expect_signal(0, signal_of_load(secret_memory + TARGET));
}

TEST("G1 a guest stores, loads and runs, and nobody else finds what it stored", .seconds = 60)
{
	begin_secret_guest(0);
	expect_secret_kept();
}

TEST("G1 four processors count together", .seconds = 60)
{
	enum { TIMES = 100000 };
	uint64_t words[PAGE / 8];

	begin_secret_guest(0);
	make_processors(CODE(count_together), (struct kvm_regs){ .rdi = WORK_AT, .rcx = TIMES });
	start_processors();
	wait_for_processors(0);
	read_physical(secret_memory + WORK_AT, words, PAGE);
	expect_equal(PROCESSORS * TIMES, words[0]);
	expect_secret_kept();
}

static void expect_monitor_shut_out(void)
{
	char *at = secret_memory + WORK_AT, bytes[16] = "";
	struct iovec local = { bytes, sizeof(bytes) }, remote = { at, sizeof(bytes) };
	int pipes[2], mem;

	expect_signal(SIGSEGV, signal_of_load(at));
	expect_signal(SIGSEGV, signal_of_zero(at));
	expect_ok(pipe(pipes));
	expect_errno(EFAULT, write(pipes[1], at, sizeof(bytes)));
	expect_equal(sizeof(bytes), write(pipes[1], bytes, sizeof(bytes)));
	expect_errno(EFAULT, read(pipes[0], at, sizeof(bytes)));
	expect_errno(EFAULT, process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
	expect_errno(EFAULT, process_vm_writev(getpid(), &local, 1, &remote, 1, 0));
	mem = expect_ok(open("/proc/self/mem", O_RDWR | O_CLOEXEC));
	expect_errno(EIO, pread(mem, bytes, sizeof(bytes), (off_t)(uintptr_t)at));
	expect_errno(EIO, pwrite(mem, bytes, sizeof(bytes), (off_t)(uintptr_t)at));
	expect_errno(EACCES, mprotect(secret_memory, SECRET_GUEST_SIZE, PROT_READ));
	check(is_zero(bytes, sizeof(bytes)), "something was read");
	close(pipes[0]);
	close(pipes[1]);
	close(mem);
}

TEST("G1 the monitor is shut out before, while and after the guest runs", .seconds = 120)
{
	begin_secret_guest(0);
	expect_monitor_shut_out();
	start_counting();
	for (int i = 0; i < 5; i++) {
		expect_progress();
		expect_monitor_shut_out();
	}
	end_counting();
	expect_monitor_shut_out();
	expect_secret_kept();
}

TEST("G1 a child of the monitor, made while the guest runs, is shut out and disturbs nothing", .seconds = 120)
{
	begin_secret_guest(0);
	start_counting();
	for (int i = 0; i < 5; i++) {
		pid_t pid;

		expect_progress();
		pid = start_child();
		if (!pid) {
			expect_signal(SIGSEGV, signal_of_load(secret_memory + WORK_AT));
			succeed();
		}
		expect_success(pid);
	}
	end_counting();
	expect_secret_kept();
}

TEST("G1 whole blocks of 2 MiB", .seconds = 60)
{
	struct processor processor;
	char tables[TABLES_SIZE];
	int fd;
	char *p;

	make_machine();
	processor = first_processor();
	offer_all_features(vcpu);
	fd = make_memfd_flags(SECRET_GUEST_SIZE, GUEST | EXMEM_CREATE_HUGE);
	p = try_map_none(fd, SECRET_GUEST_SIZE);
	if (p == MAP_FAILED) {
		expect_equal(ENOMEM, errno);
		skip("the machine has no blocks left");
	}
	make_tables(tables, TABLES_AT);
	expect_ok(populate(fd, TABLES_AT, sizeof(tables), tables));
	expect_ok(populate(fd, CODE_AT, SIZE_OF_CODE(count_together), count_together));
	expect_ok(set_slot(0, 0, p, SECRET_GUEST_SIZE));
	start_in_long_mode(vcpu, TABLES_AT, CODE_AT);
	expect_ok(ioctl(vcpu, KVM_SET_REGS, &(struct kvm_regs){
		.rip = CODE_AT, .rflags = 2, .rdi = WORK_AT, .rcx = 5,
	}));
	expect_exit(KVM_EXIT_IO, processor);
	for (size_t offset = 0; offset < SECRET_GUEST_SIZE; offset += 64 * PAGE)
		check(is_out_of_direct_map(p + offset), "the direct map leads there");
}

TEST("G1 a guest whose memory is unmapped stops, and goes on where it was when it is mapped again", .seconds = 120)
{
	begin_secret_guest(0);
	start_counting();
	expect_progress();
	unmap(secret_memory, SECRET_GUEST_SIZE);
	wait_for_processors(EFAULT);
	expect_equal(0, pages_with_secret());
	/* It is the address that the slot has. */
	expect_equal(secret_memory, mmap(secret_memory, SECRET_GUEST_SIZE, PROT_NONE, MAP_SHARED | MAP_FIXED_NOREPLACE,
					 secret_object, 0));
	start_processors();
	expect_progress();
	end_counting();
	expect_secret_kept();
}

TEST("R16 DESTROY under a running guest: every KVM_RUN is EFAULT, and nothing is left", .seconds = 120)
{
	begin_secret_guest(0);
	start_counting();
	expect_progress();
	expect_ok(destroy(secret_object));
	expect_equal(0, info_of(secret_object).resident);
	/* Back in the direct map, that is where it would be found. */
	expect_equal(0, pages_with_secret());
	wait_for_processors(EFAULT);
	start_processors();
	wait_for_processors(EFAULT);
	expect_equal(0, pages_with_secret());
}

TEST("G2 what POPULATE brings reaches a running guest, until CONTENT_SEALED", .seconds = 120)
{
	uint64_t value = 1;

	begin_secret_guest(0);
	start_counting();
	expect_progress();
	expect_ok(seal(secret_object, EXMEM_STATE_CONTENT_SEALED));
	expect_errno(EPERM, populate(secret_object, STOP_AT, sizeof(value), &value));
	expect_progress();
	/* So it ends another way. */
	unmap(secret_memory, SECRET_GUEST_SIZE);
	wait_for_processors(EFAULT);
}

/* ---- with host access ---- */

TEST("G1a with HOST_ACCESS, the monitor and the guest see each other's stores, and the direct map does not", .seconds = 60)
{
	struct processor processor;
	volatile uint64_t *word;
	int fd;
	char *p;

	make_machine();
	processor = first_processor();
	offer_all_features(vcpu);
	fd = make_memfd_flags(SECRET_GUEST_SIZE, HOST_ACCESS);
	p = map(fd, SECRET_GUEST_SIZE);
	make_tables(p + TABLES_AT, TABLES_AT);
	memcpy(p + CODE_AT, count_together, SIZE_OF_CODE(count_together));
	expect_ok(set_slot(0, 0, p, SECRET_GUEST_SIZE));
	word = (volatile uint64_t *)(p + WORK_AT);
	for (uint64_t i = 0; i < 10; i++) {
		*word = 1000 * i;
		start_in_long_mode(vcpu, TABLES_AT, CODE_AT);
		expect_ok(ioctl(vcpu, KVM_SET_REGS, &(struct kvm_regs){
			.rip = CODE_AT, .rflags = 2, .rdi = WORK_AT, .rcx = i + 1,
		}));
		expect_exit(KVM_EXIT_IO, processor);
		expect_equal(1000 * i + i + 1, *word);
	}
	check(is_out_of_direct_map(p + WORK_AT), "the direct map leads there");
	expect_ok(destroy(fd));
	expect_errno(EFAULT, ioctl(vcpu, KVM_RUN, 0));
	expect_signal(SIGBUS, signal_of_load(p));
}

/* ---- shared ---- */

static int view;
static volatile uint64_t *window;

static void begin_window(void)
{
	view = make_view(WORK_SIZE);
	expect_ok(view_map(view, secret_object, WORK_AT, WORK_SIZE, 0, VIEW_RW));
	window = (volatile uint64_t *)map_view(view, 0, 0, RW);
}

static volatile uint64_t *window_page(int page)
{
	return window + page * PAGE / 8;
}

TEST("G3 pages are shared and made private while four processors write to them: no store is lost", .seconds = 300)
{
	unsigned int seed = 1;

	begin_secret_guest(0);
	begin_window();
	start_counting();
	for (int round = 0; round < 100; round++) {
		int page = rand_r(&seed) % WORK_PAGES, n = 1 + rand_r(&seed) % (WORK_PAGES - page);
		uint64_t before;

		expect_ok(make_shared(secret_object, WORK_AT + page * PAGE, n * PAGE));
		expect_equal(n * PAGE, info_of(secret_object).shared);
		/* The guest writes, and here it is. */
		before = *window_page(page + n - 1);
		check(eventually(*window_page(page + n - 1) != before || !is_running()), "nothing comes");
		check(is_running(), "a processor has ended");
		check(!is_out_of_direct_map(secret_memory + WORK_AT + page * PAGE), "it is not in the direct map");

		expect_ok(make_private(secret_object, WORK_AT + page * PAGE, n * PAGE));
		for (int i = 0; i < n; i++)
			expect_signal(SIGBUS, signal_of_load((void *)window_page(page + i)));
		check(is_out_of_direct_map(secret_memory + WORK_AT + page * PAGE), "it is in the direct map");
	}
	expect_progress();
	end_counting();
	expect_secret_kept();
}

/* ---- the end of a monitor ---- */

/* Everything at once, until it is killed. */
static void run_monitor(void)
{
	unsigned int seed = getpid();

	begin_secret_guest(0);
	begin_window();
	start_counting();
	for (;;) {
		int page = rand_r(&seed) % WORK_PAGES;

		expect_ok(make_shared(secret_object, WORK_AT + page * PAGE, PAGE));
		(*window_page(page))++;
		expect_ok(make_private(secret_object, WORK_AT + page * PAGE, PAGE));
	}
}

TEST("L1 kill -9 of a monitor whose guest runs, at any instant: all is wiped, and back", .seconds = 300)
{
	long pages = counter("pages_in_use"), blocks = counter("blocks");
	unsigned int seed = 7;

	need_test_module();
	choose_secret();
	for (int round = 0; round < 12; round++) {
		pid_t pid = start_child();

		if (!pid) {
			run_monitor();
			succeed();
		}
		/* From before its machine is made until long after its guest started. */
		sleep_ms(rand_r(&seed) % 600);
		expect_ok(kill(pid, SIGKILL));
		expect_killed(SIGKILL, pid);
		expect_counter_soon(pages, "pages_in_use");
		expect_counter_soon(blocks, "blocks");
		expect_equal(0, pages_with_secret());
	}
}
