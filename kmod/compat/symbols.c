// SPDX-License-Identifier: GPL-2.0
/*
 * Functions and locks of the kernel that are not exported.
 *
 * A disabled kprobe tells where a function is without touching its text.
 * Functions are called through static calls: a patched direct call needs no
 * retpoline, and does not care that the entry's ENDBR may have been sealed.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/kprobes.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/static_call.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include "symbols.h"

static int no_page(struct page *page)
{
	return -EOPNOTSUPP;
}

static int no_range(unsigned long addr, int numpages)
{
	return -EOPNOTSUPP;
}

static void no_flush(unsigned long start, unsigned long end)
{
}

static unsigned long no_lookup(const char *name)
{
	return 0;
}

static struct mm_struct *no_mm(void)
{
	return NULL;
}

DEFINE_STATIC_CALL(exmem_sym_invalid, no_page);
DEFINE_STATIC_CALL(exmem_sym_default, no_page);
DEFINE_STATIC_CALL(exmem_sym_np, no_range);
DEFINE_STATIC_CALL(exmem_sym_flush, no_flush);
DEFINE_STATIC_CALL(exmem_sym_lookup, no_lookup);
DEFINE_STATIC_CALL(exmem_sym_mm_alloc, no_mm);

static spinlock_t *cpa_lock_ptr;
static spinlock_t *pgd_lock_ptr;
static struct mm_struct *init_mm_ptr;

static const char *resolved[9];
static unsigned int nr_resolved;

static int note(const char *name, bool found)
{
	if (!found) {
		pr_err("cannot load: this kernel has no symbol \"%s\", without which memory cannot be made exclusive\n",
		       name);
		return -EOPNOTSUPP;
	}
	resolved[nr_resolved++] = name;
	return 0;
}

#ifdef CONFIG_X86_KERNEL_IBT
/* A kprobe on a function that starts with ENDBR64, sealed or not, is past it. */
static void *function_entry(kprobe_opcode_t *addr)
{
	static const u32 endbr[] = { 0xfa1e0ff3, 0x001f0f66, 0xd6401f0f };
	u32 word;
	int i;

	if (get_kernel_nofault(word, (u32 *)(addr - 4)))
		return addr;
	for (i = 0; i < ARRAY_SIZE(endbr); i++) {
		if (word == endbr[i])
			return addr - 4;
	}
	return addr;
}
#else
static void *function_entry(kprobe_opcode_t *addr)
{
	return addr;
}
#endif

static void *find_function(const char *name)
{
	struct kprobe probe = {
		.symbol_name = name,
		.flags = KPROBE_FLAG_DISABLED,
	};
	void *entry;

	if (register_kprobe(&probe))
		return NULL;
	entry = function_entry(probe.addr);
	unregister_kprobe(&probe);
	return entry;
}

#define RESOLVE_FUNCTION(call, name) ({					\
	void *__entry = find_function(name);				\
									\
	if (__entry)							\
		static_call_update(call, __entry);			\
	note(name, __entry);						\
})

#define RESOLVE_DATA(ptr, name) ({					\
	ptr = (void *)static_call(exmem_sym_lookup)(name);		\
	note(name, ptr);						\
})

/**
 * exmem_symbols_resolve() - find what the kernel does not export
 *
 * Return: 0, or -EOPNOTSUPP after a line in the log that names what is missing.
 */
int exmem_symbols_resolve(void)
{
	return RESOLVE_FUNCTION(exmem_sym_invalid, "set_direct_map_invalid_noflush") ?:
	       RESOLVE_FUNCTION(exmem_sym_default, "set_direct_map_default_noflush") ?:
	       RESOLVE_FUNCTION(exmem_sym_np, "set_memory_np") ?:
	       RESOLVE_FUNCTION(exmem_sym_flush, "flush_tlb_kernel_range") ?:
	       RESOLVE_FUNCTION(exmem_sym_lookup, "kallsyms_lookup_name") ?:
	       RESOLVE_FUNCTION(exmem_sym_mm_alloc, "mm_alloc") ?:
	       RESOLVE_DATA(cpa_lock_ptr, "cpa_lock") ?:
	       RESOLVE_DATA(pgd_lock_ptr, "pgd_lock") ?:
	       RESOLVE_DATA(init_mm_ptr, "init_mm");
}

/**
 * exmem_symbols_show() - list the symbols that were resolved
 * @buf: a page, as for a sysfs attribute
 *
 * Return: bytes written.
 */
ssize_t exmem_symbols_show(char *buf)
{
	ssize_t len = 0;
	unsigned int i;

	for (i = 0; i < nr_resolved; i++)
		len += sysfs_emit_at(buf, len, "%s\n", resolved[i]);
	return len;
}

int exmem_set_direct_map_invalid(struct page *page)
{
	return static_call(exmem_sym_invalid)(page);
}

int exmem_set_direct_map_default(struct page *page)
{
	return static_call(exmem_sym_default)(page);
}

int exmem_set_memory_np(unsigned long addr, int numpages)
{
	return static_call(exmem_sym_np)(addr, numpages);
}

void exmem_flush_tlb_kernel_range(unsigned long start, unsigned long end)
{
	static_call(exmem_sym_flush)(start, end);
}

struct mm_struct *exmem_mm_alloc(void)
{
	return static_call(exmem_sym_mm_alloc)();
}

void exmem_kernel_page_tables_lock(void)
	__acquires(cpa_lock_ptr) __acquires(pgd_lock_ptr)
{
	mmap_read_lock(init_mm_ptr);
	spin_lock(cpa_lock_ptr);
	spin_lock(pgd_lock_ptr);
}

void exmem_kernel_page_tables_unlock(void)
	__releases(pgd_lock_ptr) __releases(cpa_lock_ptr)
{
	spin_unlock(pgd_lock_ptr);
	spin_unlock(cpa_lock_ptr);
	mmap_read_unlock(init_mm_ptr);
}
