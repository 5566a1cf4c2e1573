// SPDX-License-Identifier: GPL-2.0
/*
 * Guest objects: memory that KVM runs a guest on while no page table of the host
 * lets anyone read it.
 *
 * The mapping is PROT_NONE, with entries that the processor takes for absent and
 * KVM for present. KVM maps the pages in the guest, with the MMU notifiers of
 * the mapping, and refers to a page while it does so, or, for a nested guest,
 * for longer. So the pages may have to outlive their object: a worker waits
 * until the last such reference is gone.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/delay.h>
#include <linux/file.h>
#include <linux/module.h>
#include <linux/page_ref.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include <asm/cpufeature.h>

#include "exmem.h"
#include "compat/compat.h"

/* How long the worker waits before it looks again: longer each time. */
#define LINGER_DELAY_MIN	msecs_to_jiffies(20)
#define LINGER_DELAY_MAX	msecs_to_jiffies(2000)

/* How long a caller waits for KVM to drop references. */
#define UNPIN_TIMEOUT_MS	1000

/**
 * struct exmem_guest_pages - pages of a guest, and how to give them up
 * @pages: the pages
 * @nr: how many
 * @decoy: where their direct-map entries lead
 * @linger: tries again to free them
 * @delay: before it does
 */
struct exmem_guest_pages {
	struct page **pages;
	unsigned long nr;
	struct page *decoy;
	struct delayed_work linger;
	unsigned long delay;
};

static struct workqueue_struct *exmem_guest_wq;

struct exmem_guest *exmem_guest_create(void)
{
	return kzalloc(sizeof(struct exmem_guest), GFP_KERNEL_ACCOUNT);
}

void exmem_guest_free(struct exmem_guest *guest)
{
	if (!guest)
		return;
	if (guest->vm) {
		fput(guest->vm);
		mmdrop(guest->mm);
	}
	kfree(guest);
}

static bool try_free(struct exmem_guest_pages *pages)
{
	if (!exmem_pool_free_guest(pages->pages, pages->nr, pages->decoy))
		return false;
	kvfree(pages->pages);
	kfree(pages);
	return true;
}

static void linger(struct work_struct *work)
{
	struct exmem_guest_pages *pages =
		container_of(to_delayed_work(work), struct exmem_guest_pages, linger);

	if (try_free(pages)) {
		module_put(THIS_MODULE);
		return;
	}
	pages->delay = min(2 * pages->delay, LINGER_DELAY_MAX);
	queue_delayed_work(exmem_guest_wq, &pages->linger, pages->delay);
}

/**
 * exmem_guest_alloc_pages() - get the pages of a guest object
 * @obj: the object, locked
 * @pages: array for them, which belongs to the guest if this succeeds
 *
 * Return: 0, -ENOMEM or -EINTR.
 */
int exmem_guest_alloc_pages(struct exmem_object *obj, struct page **pages)
{
	struct exmem_guest_pages *guest_pages;
	int err = -ENOMEM;

	guest_pages = kzalloc(sizeof(*guest_pages), GFP_KERNEL_ACCOUNT);
	if (!guest_pages)
		return -ENOMEM;
	guest_pages->decoy = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!guest_pages->decoy)
		goto free_guest_pages;
	err = exmem_pool_alloc_guest(pages, obj->nr_pages,
				     obj->flags & EXMEM_CREATE_HUGE,
				     guest_pages->decoy);
	if (err)
		goto free_guest_pages;

	guest_pages->pages = pages;
	guest_pages->nr = obj->nr_pages;
	INIT_DELAYED_WORK(&guest_pages->linger, linger);
	obj->guest->pages = guest_pages;
	return 0;

free_guest_pages:
	kfree(guest_pages);
	return err;
}

/**
 * exmem_guest_free_pages() - give up the pages of a guest object
 * @obj: the object, locked or without a file; nobody can map them any more
 *
 * They are wiped now or, if KVM still refers to one, as soon as it does not.
 */
void exmem_guest_free_pages(struct exmem_object *obj)
{
	struct exmem_guest_pages *pages = obj->guest->pages;

	kvfree(obj->guest->shares);
	obj->guest->shares = NULL;
	obj->guest->nr_shared = 0;
	obj->guest->pages = NULL;
	if (try_free(pages))
		return;
	/* Their content goes at once, though. */
	exmem_pool_wipe(pages->pages, pages->nr);
	__module_get(THIS_MODULE);
	pages->delay = LINGER_DELAY_MIN;
	queue_delayed_work(exmem_guest_wq, &pages->linger, pages->delay);
}

/**
 * exmem_guest_decoy() - where the direct map leads instead of to private pages
 * @obj: a guest object that has pages, locked
 */
struct page *exmem_guest_decoy(struct exmem_object *obj)
{
	return obj->guest->pages->decoy;
}

/**
 * exmem_guest_may_map() - may an address space have a mapping of an object
 * @obj: any object
 * @mm: the address space
 */
bool exmem_guest_may_map(struct exmem_object *obj, struct mm_struct *mm)
{
	struct mm_struct *bound;

	if (!obj->guest)
		return true;
	bound = READ_ONCE(obj->guest->mm);
	return !bound || bound == mm;
}

/**
 * exmem_guest_direct_map_lost() - is no private page in the direct map
 * @obj: a guest object that has pages, locked
 */
bool exmem_guest_direct_map_lost(struct exmem_object *obj)
{
	u32 *shares = obj->guest->shares;
	unsigned long i;

	if (!shares)
		return exmem_direct_map_lost(obj->pages, obj->nr_pages);
	for (i = 0; i < obj->nr_pages; i++) {
		if (!shares[i] && !exmem_direct_map_lost(&obj->pages[i], 1))
			return false;
		cond_resched();
	}
	return true;
}

static bool is_pinned(struct exmem_object *obj, pgoff_t first, pgoff_t end)
{
	pgoff_t i;

	for (i = first; i < end; i++) {
		if (page_ref_count(obj->pages[i]) != 1)
			return true;
		cond_resched();
	}
	return false;
}

/**
 * exmem_guest_wait_unpinned() - wait until KVM refers to pages no more
 * @obj: a guest object that has pages, whose notifier lock the caller holds
 * @first: first page
 * @end: one past the last
 *
 * A VM that had the pages in a slot keeps some of them, up to 6.12, while a
 * nested guest runs, although the slot does not show them any more.
 *
 * Return: 0, -EBUSY or -EINTR.
 */
int exmem_guest_wait_unpinned(struct exmem_object *obj, pgoff_t first, pgoff_t end)
{
	unsigned long until = jiffies + msecs_to_jiffies(UNPIN_TIMEOUT_MS);

	while (is_pinned(obj, first, end)) {
		if (fatal_signal_pending(current))
			return -EINTR;
		if (time_after(jiffies, until))
			return -EBUSY;
		usleep_range(100, 1000);
	}
	return 0;
}

/*
 * KVM skips an instruction by reading it, which it cannot here, unless the
 * processor tells its length and its bytes. Every AMD processor since 2013 does.
 */
static void say_what_lacks(void)
{
	if (!boot_cpu_has(X86_FEATURE_SVM))
		return;
	if (!boot_cpu_has(X86_FEATURE_NRIPS) ||
	    !boot_cpu_has(X86_FEATURE_DECODEASSISTS))
		pr_notice("guests on memory without host access will fail: this processor lacks NRIPS or DecodeAssists\n");
}

int exmem_guest_init(void)
{
	say_what_lacks();
	exmem_guest_wq = alloc_workqueue("exmem_guest", WQ_UNBOUND, 0);
	return exmem_guest_wq ? 0 : -ENOMEM;
}

/* The worker holds the module but for its last instructions. */
void exmem_guest_exit(void)
{
	destroy_workqueue(exmem_guest_wq);
}
