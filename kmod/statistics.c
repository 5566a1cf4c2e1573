// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/kernel/exclusive_memory: what is in use, and what was resolved.
 */
#include <linux/kobject.h>
#include <linux/sysfs.h>

#include "exmem.h"
#include "compat/symbols.h"

atomic_long_t exmem_counters[EXMEM_NR_COUNTERS];

static ssize_t counter_show(enum exmem_counter counter, char *buf)
{
	return sysfs_emit(buf, "%ld\n", atomic_long_read(&exmem_counters[counter]));
}

#define COUNTER_ATTR(_name, _counter)					\
static ssize_t _name##_show(struct kobject *kobj,			\
			    struct kobj_attribute *attr, char *buf)	\
{									\
	return counter_show(_counter, buf);				\
}									\
static struct kobj_attribute _name##_attr = __ATTR_RO(_name)

COUNTER_ATTR(pages_in_use, EXMEM_PAGES_IN_USE);
COUNTER_ATTR(pages_held, EXMEM_PAGES_HELD);
COUNTER_ATTR(pages_single, EXMEM_PAGES_SINGLE);
COUNTER_ATTR(pages_quarantined, EXMEM_PAGES_QUARANTINED);
COUNTER_ATTR(pages_refused, EXMEM_PAGES_REFUSED);
COUNTER_ATTR(blocks, EXMEM_BLOCKS);
COUNTER_ATTR(blocks_idle, EXMEM_BLOCKS_IDLE);
COUNTER_ATTR(objects, EXMEM_OBJECTS);
COUNTER_ATTR(mappings, EXMEM_MAPPINGS);
COUNTER_ATTR(views, EXMEM_VIEWS);
COUNTER_ATTR(view_ranges, EXMEM_VIEW_RANGES);
COUNTER_ATTR(tlb_flushes, EXMEM_TLB_FLUSHES);

static ssize_t symbols_show(struct kobject *kobj, struct kobj_attribute *attr,
			    char *buf)
{
	return exmem_symbols_show(buf);
}

static struct kobj_attribute symbols_attr = __ATTR_RO(symbols);

static struct attribute *exmem_attrs[] = {
	&pages_in_use_attr.attr,
	&pages_held_attr.attr,
	&pages_single_attr.attr,
	&pages_quarantined_attr.attr,
	&pages_refused_attr.attr,
	&blocks_attr.attr,
	&blocks_idle_attr.attr,
	&objects_attr.attr,
	&mappings_attr.attr,
	&views_attr.attr,
	&view_ranges_attr.attr,
	&tlb_flushes_attr.attr,
	&symbols_attr.attr,
	NULL,
};

static const struct attribute_group exmem_group = {
	.attrs = exmem_attrs,
};

static struct kobject *exmem_kobj;

int exmem_statistics_init(void)
{
	int err;

	exmem_kobj = kobject_create_and_add("exclusive_memory", kernel_kobj);
	if (!exmem_kobj)
		return -ENOMEM;
	err = sysfs_create_group(exmem_kobj, &exmem_group);
	if (err)
		kobject_put(exmem_kobj);
	return err;
}

void exmem_statistics_exit(void)
{
	sysfs_remove_group(exmem_kobj, &exmem_group);
	kobject_put(exmem_kobj);
}
