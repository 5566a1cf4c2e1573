/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM exclusive_memory

#if !defined(_EXMEM_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _EXMEM_TRACE_H

#include <linux/tracepoint.h>

#include "exmem.h"

/* Objects are told apart by inode number. */

DECLARE_EVENT_CLASS(exmem_object_class,
	TP_PROTO(struct exmem_object *obj),
	TP_ARGS(obj),
	TP_STRUCT__entry(
		__field(unsigned long, ino)
		__field(u64, size)
		__field(u32, flags)
		__field(unsigned int, references)
	),
	TP_fast_assign(
		__entry->ino = obj->inode->i_ino;
		__entry->size = obj->size;
		__entry->flags = obj->flags;
		__entry->references = obj->references;
	),
	TP_printk("ino=%lu size=%llu flags=0x%x references=%u",
		  __entry->ino, __entry->size, __entry->flags,
		  __entry->references)
);

DEFINE_EVENT(exmem_object_class, exmem_create,
	TP_PROTO(struct exmem_object *obj), TP_ARGS(obj));
DEFINE_EVENT(exmem_object_class, exmem_map,
	TP_PROTO(struct exmem_object *obj), TP_ARGS(obj));
DEFINE_EVENT(exmem_object_class, exmem_unmap,
	TP_PROTO(struct exmem_object *obj), TP_ARGS(obj));
DEFINE_EVENT(exmem_object_class, exmem_destroy,
	TP_PROTO(struct exmem_object *obj), TP_ARGS(obj));

DECLARE_EVENT_CLASS(exmem_page_class,
	TP_PROTO(struct exmem_object *obj, unsigned long pfn),
	TP_ARGS(obj, pfn),
	TP_STRUCT__entry(
		__field(unsigned long, ino)
		__field(unsigned long, pfn)
		__field(unsigned int, references)
	),
	TP_fast_assign(
		__entry->ino = obj->inode->i_ino;
		__entry->pfn = pfn;
		__entry->references = obj->references;
	),
	TP_printk("ino=%lu pfn=0x%lx references=%u",
		  __entry->ino, __entry->pfn, __entry->references)
);

DEFINE_EVENT(exmem_page_class, exmem_get,
	TP_PROTO(struct exmem_object *obj, unsigned long pfn), TP_ARGS(obj, pfn));
DEFINE_EVENT(exmem_page_class, exmem_put,
	TP_PROTO(struct exmem_object *obj, unsigned long pfn), TP_ARGS(obj, pfn));

#endif /* _EXMEM_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
