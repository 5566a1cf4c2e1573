// SPDX-License-Identifier: GPL-2.0
/*
 * Exclusive memory: memory that only its intended user can see.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/module.h>
#include <linux/moduleparam.h>
#include <asm/cpufeature.h>

#include "exmem.h"
#include "compat/symbols.h"

module_param_named(limit_bytes, exmem_limit_bytes, ulong, 0644);
MODULE_PARM_DESC(limit_bytes,
		 "Most bytes of memory held on the whole machine; 0 (default): half of it");

module_param_cb(keep_blocks, &exmem_keep_blocks_ops, &exmem_keep_blocks, 0644);
MODULE_PARM_DESC(keep_blocks,
		 "Empty 2 MiB blocks kept for the next object (default: 1)");

static int __init exmem_init(void)
{
	int err;

	if (cpu_feature_enabled(X86_FEATURE_XENPV)) {
		pr_err("cannot load: under Xen PV the direct map is the hypervisor's\n");
		return -EOPNOTSUPP;
	}
	err = exmem_symbols_resolve();
	if (err)
		return err;
	err = exmem_window_init();
	if (err)
		return err;
	err = exmem_statistics_init();
	if (err)
		goto exit_window;
	err = exmem_power_init();
	if (err)
		goto exit_statistics;
	err = exmem_view_init();
	if (err)
		goto exit_power;
	err = exmem_guest_init();
	if (err)
		goto exit_view;
	err = exmem_device_init();
	if (err)
		goto exit_guest;
	return 0;

exit_guest:
	exmem_guest_exit();
exit_view:
	exmem_view_exit();
exit_power:
	exmem_power_exit();
exit_statistics:
	exmem_statistics_exit();
exit_window:
	exmem_window_exit();
	return err;
}

static void __exit exmem_exit(void)
{
	exmem_device_exit();
	exmem_guest_exit();
	exmem_view_exit();
	exmem_power_exit();
	exmem_statistics_exit();
	exmem_pool_exit();
	exmem_direct_map_exit();
	exmem_window_exit();
}

module_init(exmem_init);
module_exit(exmem_exit);

MODULE_DESCRIPTION("Memory that only its intended user can see");
MODULE_LICENSE("GPL");
