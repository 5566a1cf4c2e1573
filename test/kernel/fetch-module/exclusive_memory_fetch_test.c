// SPDX-License-Identifier: GPL-2.0
/*
 * For tests in an emulator: lets KVM read the instructions of a guest whose
 * memory the host cannot read.
 *
 * To get past a CPUID, RDMSR or HLT, KVM on AMD relies on NRIPS, and to emulate
 * an access to a device on DecodeAssists. Every processor of the last ten years
 * has both; QEMU's emulation of SVM has neither, and there KVM looks for the
 * instruction in the guest's memory, at the monitor's address of it. Where that
 * is PROT_NONE it ends the guest with KVM_EXIT_INTERNAL_ERROR.
 *
 * So this puts itself in front of kvm_fetch_guest_virt(). What the original
 * cannot read it reads itself, page tables of the guest included, by the entries
 * of the monitor's page table, present or not for user space, through a page of
 * kernel address space that each CPU has for it.
 *
 * It undoes on purpose what the memory is for, as far as instructions go: never
 * load it outside a test. It cannot be unloaded: a vCPU may be waiting in it.
 *
 * /sys/kernel/debug/exclusive_memory_fetch_test/
 *
 * fetches	how many instructions were read that KVM could not
 * misses	how many were not to be read this way either
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/debugfs.h>
#include <linux/kprobes.h>
#include <linux/kvm_host.h>
#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/vmalloc.h>
#include <asm/set_memory.h>

/* Of arch/x86/kvm/kvm_emulate.h, which no header package has. */
#define X86EMUL_CONTINUE	0

struct x86_emulate_ctxt {
	struct kvm_vcpu *vcpu;
	/* ... */
};

typedef int fetch_fn(struct x86_emulate_ctxt *ctxt, gva_t addr, void *val,
		     unsigned int bytes, struct x86_exception *exception);

static fetch_fn *original;

static atomic_t fetches;
static atomic_t misses;

struct window {
	void *addr;
	pte_t *pte;
};

static DEFINE_PER_CPU(struct window, windows);
/* What an idle window shows. */
static struct page *blank;

static void show(struct window *window, unsigned long pfn)
{
	/* Not global: INVLPG then makes this CPU forget all there is of it. */
	pgprot_t prot = __pgprot(pgprot_val(PAGE_KERNEL_RO) & ~_PAGE_GLOBAL);

	set_pte(window->pte, pfn_pte(pfn, prot));
	asm volatile("invlpg (%0)" : : "r" (window->addr) : "memory");
}

static void copy_from_pfn(unsigned long pfn, unsigned int offset, void *data,
			  unsigned int len)
{
	struct window *window = get_cpu_ptr(&windows);

	show(window, pfn);
	memcpy(data, window->addr + offset, len);
	show(window, page_to_pfn(blank));
	put_cpu_ptr(&windows);
}

/* Of a mapping that get_user_pages() refuses, and inside one page. */
static bool copy_from_hva(unsigned long hva, void *data, unsigned int len)
{
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;
	bool copied = false;
	spinlock_t *ptl;
	pte_t *pte;

	mmap_read_lock(mm);
	vma = vma_lookup(mm, hva);
	if (vma && vma->vm_flags & VM_PFNMAP && !follow_pte(mm, hva, &pte, &ptl)) {
		/* Taken by follow_pte(); as long as it is held, the page stays. */
		__acquire(ptl);
		if (pfn_valid(pte_pfn(*pte))) {
			copy_from_pfn(pte_pfn(*pte), offset_in_page(hva), data, len);
			copied = true;
		}
		pte_unmap_unlock(pte, ptl);
	}
	mmap_read_unlock(mm);
	return copied;
}

static bool copy_from_gpa(struct kvm_vcpu *vcpu, gpa_t gpa, void *data,
			  unsigned int len)
{
	unsigned int offset = offset_in_page(gpa);
	gfn_t gfn = gpa_to_gfn(gpa);
	unsigned long hva;

	/* The guest may run on ordinary memory in other places. */
	if (!kvm_vcpu_read_guest_page(vcpu, gfn, data, offset, len))
		return true;

	hva = kvm_vcpu_gfn_to_hva(vcpu, gfn);
	return !kvm_is_error_hva(hva) && copy_from_hva(hva + offset, data, len);
}

static bool is_last(const struct kvm_mmu *mmu, int level, u64 entry)
{
	if (level == PG_LEVEL_4K)
		return true;
	if (!(entry & _PAGE_PSE) || level > PG_LEVEL_1G)
		return false;
	return !mmu->cpu_role.base.has_4_byte_gpte || mmu->cpu_role.ext.cr4_pse;
}

/*
 * The processor went this way when it fetched the instruction that KVM looks at.
 * There is no need to check permissions once more, or to set Accessed bits.
 */
static bool translate(struct kvm_vcpu *vcpu, gva_t gva, gpa_t *gpa)
{
	struct kvm_mmu *mmu = vcpu->arch.walk_mmu;
	unsigned int size = mmu->cpu_role.base.has_4_byte_gpte ? 4 : 8;
	unsigned int index_bits = mmu->cpu_role.base.has_4_byte_gpte ? 10 : 9;
	int level = mmu->cpu_role.base.level;
	unsigned int shift;
	u64 entry;

	/* The guest of a guest: its physical addresses are not this one's. */
	if (mmu != &vcpu->arch.root_mmu)
		return false;

	*gpa = gva;
	if (!level)
		return true;

	entry = mmu->get_guest_pgd(vcpu);
	/* With three levels, that is PAE, the table need not start a page. */
	entry &= level == PG_LEVEL_1G ? GENMASK_ULL(31, 5) :
					     GENMASK_ULL(51, PAGE_SHIFT);
	do {
		shift = PAGE_SHIFT + (level - 1) * index_bits;
		*gpa = entry + ((gva >> shift) & GENMASK(index_bits - 1, 0)) * size;
		entry = 0;
		if (!copy_from_gpa(vcpu, *gpa, &entry, size) || !(entry & _PAGE_PRESENT))
			return false;
		if (is_last(mmu, level, entry))
			break;
		entry &= GENMASK_ULL(51, PAGE_SHIFT);
	} while (--level);

	*gpa = (entry & GENMASK_ULL(51, shift)) | (gva & GENMASK_ULL(shift - 1, 0));
	return true;
}

/* Never more than a page has: KVM asks for the next page's part by itself. */
static int fetch(struct x86_emulate_ctxt *ctxt, gva_t addr, void *val,
		 unsigned int bytes, struct x86_exception *exception)
{
	int ret = original(ctxt, addr, val, bytes, exception);
	gpa_t gpa;

	if (ret == X86EMUL_CONTINUE)
		return ret;

	if (!translate(ctxt->vcpu, addr, &gpa) ||
	    !copy_from_gpa(ctxt->vcpu, gpa, val, bytes)) {
		atomic_inc(&misses);
		return ret;
	}
	atomic_inc(&fetches);
	return X86EMUL_CONTINUE;
}

static int redirect(struct kprobe *probe, struct pt_regs *regs)
{
	unsigned long caller = *(unsigned long *)regs->sp;

	/* fetch() wants the original. */
	if (within_module(caller, THIS_MODULE))
		return 0;
	regs->ip = (unsigned long)fetch;
	return 1;
}
NOKPROBE_SYMBOL(redirect);

/* That there is one is how a kprobe says that it goes elsewhere. */
static void after(struct kprobe *probe, struct pt_regs *regs, unsigned long flags)
{
}
NOKPROBE_SYMBOL(after);

static struct kprobe probe = {
	.symbol_name = "kvm_fetch_guest_virt",
	.pre_handler = redirect,
	.post_handler = after,
	/* Until original is known. */
	.flags = KPROBE_FLAG_DISABLED,
};

static void free_windows(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		vunmap(per_cpu(windows, cpu).addr);
	__free_page(blank);
}

static int alloc_windows(void)
{
	struct window *window;
	unsigned int level;
	int cpu;

	blank = alloc_page(GFP_KERNEL | __GFP_ZERO);
	if (!blank)
		return -ENOMEM;

	for_each_possible_cpu(cpu) {
		window = per_cpu_ptr(&windows, cpu);
		/* As memory of a device, readers of /proc/kcore leave it alone. */
		window->addr = vmap(&blank, 1, VM_MAP | VM_IOREMAP, PAGE_KERNEL_RO);
		if (!window->addr) {
			free_windows();
			return -ENOMEM;
		}
		window->pte = lookup_address((unsigned long)window->addr, &level);
	}
	return 0;
}

static int __init fetch_test_init(void)
{
	struct dentry *dir;
	int err;

	err = alloc_windows();
	if (err)
		return err;
	err = register_kprobe(&probe);
	if (err)
		goto free_windows;
	original = (fetch_fn *)probe.addr;
	err = enable_kprobe(&probe);
	if (err)
		goto unregister;

	dir = debugfs_create_dir("exclusive_memory_fetch_test", NULL);
	debugfs_create_atomic_t("fetches", 0400, dir, &fetches);
	debugfs_create_atomic_t("misses", 0400, dir, &misses);
	pr_notice("for tests only: KVM can read the instructions of every guest\n");
	return 0;

unregister:
	unregister_kprobe(&probe);
free_windows:
	free_windows();
	return err;
}

module_init(fetch_test_init);

MODULE_DESCRIPTION("Test-only stand-in for NRIPS and DecodeAssists");
MODULE_LICENSE("GPL");
