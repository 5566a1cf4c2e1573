// SPDX-License-Identifier: GPL-2.0
/*
 * What becomes of the memory when the machine hibernates, reboots or starts
 * another kernel.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/notifier.h>
#include <linux/reboot.h>
#include <linux/suspend.h>

#include "exmem.h"

/* An image of the memory would carry the pages to disk, and kexec from there. */
static int exmem_pm_event(struct notifier_block *nb, unsigned long event,
			  void *unused)
{
	switch (event) {
	case PM_HIBERNATION_PREPARE:
	case PM_RESTORE_PREPARE:
		if (exmem_pool_freeze(true)) {
			pr_warn("hibernation refused: %ld pages of exclusive memory are in use, and must not be written to disk\n",
				atomic_long_read(&exmem_counters[EXMEM_PAGES_IN_USE]));
			return notifier_from_errno(-EBUSY);
		}
		break;
	case PM_POST_HIBERNATION:
	case PM_POST_RESTORE:
		exmem_pool_freeze(false);
		break;
	}
	return NOTIFY_DONE;
}

static struct notifier_block exmem_pm_notifier = {
	.notifier_call = exmem_pm_event,
};

/* Whoever runs next on this machine finds nothing in its memory. */
static int exmem_reboot_event(struct notifier_block *nb, unsigned long event,
			      void *unused)
{
	exmem_pool_close();
	exmem_object_destroy_all();
	return NOTIFY_DONE;
}

static struct notifier_block exmem_reboot_notifier = {
	.notifier_call = exmem_reboot_event,
};

int exmem_power_init(void)
{
	int err;

	err = register_pm_notifier(&exmem_pm_notifier);
	if (err)
		return err;
	err = register_reboot_notifier(&exmem_reboot_notifier);
	if (err)
		unregister_pm_notifier(&exmem_pm_notifier);
	return err;
}

void exmem_power_exit(void)
{
	unregister_reboot_notifier(&exmem_reboot_notifier);
	unregister_pm_notifier(&exmem_pm_notifier);
}
