// SPDX-License-Identifier: GPL-2.0
/*
 * A second user of restrictedmem.h, on command.
 *
 * /sys/kernel/debug/exclusive_memory_test/
 *
 * command	write one command; write(2) fails with the command's errno
 *	bind NAME FD	bind notifier NAME to the writer's descriptor FD
 *	unbind NAME	unbind it, after putting what it holds
 *	veto NAME ERRNO	refuse mappings with ERRNO; 0: do not
 *	yield NAME 0|1	put all references when a mapping starts
 *	get NAME INDEX	take a reference to page INDEX
 *	put NAME	put the reference taken last
 *	clear		empty the log
 *	reset		unbind all, empty the log
 * log		read: "NAME CALLBACK", a line for each callback so far
 * pfn		write an address of the writer, then read which physical page it has;
 *		write(2) fails if there is none (/proc/PID/pagemap does not tell it
 *		for VM_PFNMAP areas)
 * page		write a pfn, then read "direct_map RESULT image RESULT": 0 if the
 *		page can be read there, else the errno; "none" if there is no
 *		such address
 * entry	write a pfn, then read which page its direct-map entry leads to, which
 *		is another one for guest memory; "none" if it leads nowhere
 * mapped	write a pfn, then read the page that is at its address there
 * content	write a pfn, then read the page itself, by an address of its own
 * search	write 8 bytes, each inverted lest this is a copy of them, then read the
 *		pfns of all pages at whose address in the direct map they are found
 *		three times in a row, at any place; "none" if there are none
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/debugfs.h>
#include <linux/file.h>
#include <linux/list.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/nodemask.h>
#include <linux/pfn.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <linux/restrictedmem.h>

#define NAME_SIZE	16
#define MAX_REFERENCES	64
#define LOG_SIZE	PAGE_SIZE

struct notifier {
	struct restrictedmem_notifier base;
	struct list_head list;
	char name[NAME_SIZE];
	struct file *file;
	int veto;
	int yield;
	struct page *pages[MAX_REFERENCES];
	unsigned int nr_pages;
};

/* Commands one at a time. Never taken in a callback: bind waits for those. */
static DEFINE_MUTEX(command_lock);
static LIST_HEAD(notifiers);

static DEFINE_MUTEX(log_lock);
static char log_text[LOG_SIZE];
static size_t log_len;

static unsigned long translated_pfn;
static unsigned long page_pfn;
static struct dentry *debugfs_dir;

static void log_callback(struct notifier *n, const char *callback)
{
	mutex_lock(&log_lock);
	log_len += scnprintf(log_text + log_len, LOG_SIZE - log_len, "%s %s\n",
			     n->name, callback);
	mutex_unlock(&log_lock);
}

static void log_clear(void)
{
	mutex_lock(&log_lock);
	log_len = 0;
	mutex_unlock(&log_lock);
}

static void put_all(struct notifier *n)
{
	while (n->nr_pages)
		restrictedmem_put_page(n->file, n->pages[--n->nr_pages]);
}

static struct notifier *to_notifier(struct restrictedmem_notifier *base)
{
	return container_of(base, struct notifier, base);
}

static int on_mmap_start(struct restrictedmem_notifier *base)
{
	struct notifier *n = to_notifier(base);

	log_callback(n, "mmap_start");
	if (n->yield)
		put_all(n);
	return -n->veto;
}

static void on_mmap_end(struct restrictedmem_notifier *base)
{
	log_callback(to_notifier(base), "mmap_end");
}

static void on_mmap_abort(struct restrictedmem_notifier *base)
{
	log_callback(to_notifier(base), "mmap_abort");
}

static void on_munmap(struct restrictedmem_notifier *base)
{
	log_callback(to_notifier(base), "munmap");
}

static void on_invalidate_start(struct restrictedmem_notifier *base,
				pgoff_t start, pgoff_t end)
{
	log_callback(to_notifier(base), "invalidate_start");
}

static void on_invalidate_end(struct restrictedmem_notifier *base,
			      pgoff_t start, pgoff_t end)
{
	log_callback(to_notifier(base), "invalidate_end");
}

static const struct restrictedmem_notifier_ops ops = {
	.mmap_start = on_mmap_start,
	.mmap_end = on_mmap_end,
	.mmap_abort = on_mmap_abort,
	.munmap = on_munmap,
	.invalidate_start = on_invalidate_start,
	.invalidate_end = on_invalidate_end,
};

static struct notifier *find(const char *name)
{
	struct notifier *n;

	list_for_each_entry(n, &notifiers, list) {
		if (!strcmp(n->name, name))
			return n;
	}
	return NULL;
}

static int bind(const char *name, int fd)
{
	struct notifier *n;
	int err;

	if (find(name))
		return -EEXIST;
	n = kzalloc(sizeof(*n), GFP_KERNEL);
	if (!n)
		return -ENOMEM;
	strscpy(n->name, name, sizeof(n->name));
	n->base.ops = &ops;
	n->file = fget(fd);
	if (!n->file) {
		err = -EBADF;
		goto free_notifier;
	}
	err = restrictedmem_bind(n->file, &n->base);
	if (err)
		goto put_file;
	list_add_tail(&n->list, &notifiers);
	return 0;

put_file:
	fput(n->file);
free_notifier:
	kfree(n);
	return err;
}

static void unbind(struct notifier *n)
{
	restrictedmem_unbind(n->file, &n->base);
	put_all(n);
	fput(n->file);
	list_del(&n->list);
	kfree(n);
}

static void unbind_all(void)
{
	struct notifier *n, *next;

	list_for_each_entry_safe(n, next, &notifiers, list)
		unbind(n);
}

static int get(struct notifier *n, unsigned long index)
{
	int err;

	if (n->nr_pages == MAX_REFERENCES)
		return -ENOSPC;
	err = restrictedmem_get_page(n->file, index, &n->pages[n->nr_pages]);
	if (!err)
		n->nr_pages++;
	return err;
}

static int put(struct notifier *n)
{
	if (!n->nr_pages)
		return -ENOENT;
	restrictedmem_put_page(n->file, n->pages[--n->nr_pages]);
	return 0;
}

static int run_command(char *text)
{
	char verb[NAME_SIZE], name[NAME_SIZE];
	struct notifier *n;
	int words, value;

	words = sscanf(text, "%15s %15s %d", verb, name, &value);
	if (words == 1 && !strcmp(verb, "clear")) {
		log_clear();
		return 0;
	}
	if (words == 1 && !strcmp(verb, "reset")) {
		unbind_all();
		log_clear();
		return 0;
	}
	if (words == 3 && !strcmp(verb, "bind"))
		return bind(name, value);

	n = words >= 2 ? find(name) : NULL;
	if (!n)
		return -ESRCH;
	if (words == 2 && !strcmp(verb, "unbind"))
		unbind(n);
	else if (words == 2 && !strcmp(verb, "put"))
		return put(n);
	else if (words == 3 && !strcmp(verb, "get"))
		return get(n, value);
	else if (words == 3 && !strcmp(verb, "veto"))
		n->veto = value;
	else if (words == 3 && !strcmp(verb, "yield"))
		n->yield = value;
	else
		return -EINVAL;
	return 0;
}

static ssize_t command_write(struct file *file, const char __user *buf,
			     size_t count, loff_t *ppos)
{
	char *text = memdup_user_nul(buf, min_t(size_t, count, 128));
	int err;

	if (IS_ERR(text))
		return PTR_ERR(text);
	mutex_lock(&command_lock);
	err = run_command(text);
	mutex_unlock(&command_lock);
	kfree(text);
	return err ?: count;
}

static const struct file_operations command_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = command_write,
};

static int log_show(struct seq_file *m, void *unused)
{
	mutex_lock(&log_lock);
	seq_write(m, log_text, log_len);
	mutex_unlock(&log_lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(log);

static int translate(unsigned long addr)
{
	struct mm_struct *mm = current->mm;
	struct vm_area_struct *vma;
	int err = -EINVAL;

	mmap_read_lock(mm);
	vma = vma_lookup(mm, addr);
	if (vma)
		err = follow_pfn(vma, addr, &translated_pfn);
	mmap_read_unlock(mm);
	return err;
}

static ssize_t pfn_write(struct file *file, const char __user *buf,
			 size_t count, loff_t *ppos)
{
	unsigned long addr;
	int err;

	err = kstrtoul_from_user(buf, count, 0, &addr);
	if (!err)
		err = translate(addr);
	return err ?: count;
}

static int pfn_show(struct seq_file *m, void *unused)
{
	seq_printf(m, "%lu\n", translated_pfn);
	return 0;
}

static int pfn_open(struct inode *inode, struct file *file)
{
	return single_open(file, pfn_show, NULL);
}

static const struct file_operations pfn_fops = {
	.owner = THIS_MODULE,
	.open = pfn_open,
	.read = seq_read,
	.write = pfn_write,
	.llseek = seq_lseek,
	.release = single_release,
};

static ssize_t page_write(struct file *file, const char __user *buf,
			  size_t count, loff_t *ppos)
{
	int err = kstrtoul_from_user(buf, count, 0, &page_pfn);

	return err ?: count;
}

static int read_result(unsigned long addr)
{
	u8 byte;

	return copy_from_kernel_nofault(&byte, (void *)addr, 1);
}

static int page_show(struct seq_file *m, void *unused)
{
	unsigned long offset = PFN_PHYS(page_pfn) - phys_base;

	if (!pfn_valid(page_pfn))
		return -ENXIO;
	seq_printf(m, "direct_map %d image ",
		   read_result((unsigned long)pfn_to_kaddr(page_pfn)));
	if (offset < KERNEL_IMAGE_SIZE)
		seq_printf(m, "%d\n", read_result(__START_KERNEL_map + offset));
	else
		seq_puts(m, "none\n");
	return 0;
}

static int page_open(struct inode *inode, struct file *file)
{
	return single_open(file, page_show, NULL);
}

static const struct file_operations page_fops = {
	.owner = THIS_MODULE,
	.open = page_open,
	.read = seq_read,
	.write = page_write,
	.llseek = seq_lseek,
	.release = single_release,
};

static int entry_show(struct seq_file *m, void *unused)
{
	unsigned long addr, pfn;
	unsigned int level;
	pte_t *entry;

	if (!pfn_valid(page_pfn))
		return -ENXIO;
	addr = (unsigned long)pfn_to_kaddr(page_pfn);
	entry = lookup_address(addr, &level);
	if (!entry || !pte_present(*entry)) {
		seq_puts(m, "none\n");
		return 0;
	}
	switch (level) {
	case PG_LEVEL_1G:
		pfn = pud_pfn(*(pud_t *)entry) + ((addr & ~PUD_MASK) >> PAGE_SHIFT);
		break;
	case PG_LEVEL_2M:
		pfn = pmd_pfn(*(pmd_t *)entry) + ((addr & ~PMD_MASK) >> PAGE_SHIFT);
		break;
	default:
		pfn = pte_pfn(*entry);
	}
	seq_printf(m, "%lu\n", pfn);
	return 0;
}

static int entry_open(struct inode *inode, struct file *file)
{
	return single_open(file, entry_show, NULL);
}

static const struct file_operations entry_fops = {
	.owner = THIS_MODULE,
	.open = entry_open,
	.write = page_write,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = single_release,
};

static int read_mapped(void *to)
{
	return copy_from_kernel_nofault(to, pfn_to_kaddr(page_pfn), PAGE_SIZE);
}

static int read_content(void *to)
{
	struct page *page = pfn_to_page(page_pfn);
	void *alias = vmap(&page, 1, VM_MAP, PAGE_KERNEL_RO);

	if (!alias)
		return -ENOMEM;
	memcpy(to, alias, PAGE_SIZE);
	vunmap(alias);
	/* Else the processor may still find it there. */
	vm_unmap_aliases();
	return 0;
}

static ssize_t read_whole_page(char __user *buf, size_t count, loff_t *ppos,
			       int (*read)(void *to))
{
	void *copy;
	ssize_t n;

	if (!pfn_valid(page_pfn))
		return -ENXIO;
	copy = (void *)__get_free_page(GFP_KERNEL);
	if (!copy)
		return -ENOMEM;
	n = read(copy);
	if (!n)
		n = simple_read_from_buffer(buf, count, ppos, copy, PAGE_SIZE);
	/* No copy of a page is left for others to find. */
	memzero_explicit(copy, PAGE_SIZE);
	free_page((unsigned long)copy);
	return n;
}

static ssize_t mapped_read(struct file *file, char __user *buf, size_t count,
			   loff_t *ppos)
{
	return read_whole_page(buf, count, ppos, read_mapped);
}

static ssize_t content_read(struct file *file, char __user *buf, size_t count,
			    loff_t *ppos)
{
	return read_whole_page(buf, count, ppos, read_content);
}

static const struct file_operations mapped_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = page_write,
	.read = mapped_read,
};

static const struct file_operations content_fops = {
	.owner = THIS_MODULE,
	.open = simple_open,
	.write = page_write,
	.read = content_read,
};

static u64 search_inverted;

static ssize_t search_write(struct file *file, const char __user *buf,
			    size_t count, loff_t *ppos)
{
	if (count != sizeof(search_inverted))
		return -EINVAL;
	if (copy_from_user(&search_inverted, buf, count))
		return -EFAULT;
	return count;
}

/*
 * Of what is there three times in a row, wherever it starts, two aligned words
 * are whole, and both the same rotation of it. The bytes themselves are never in
 * a register, which the next interrupt would leave on a stack.
 */
static __no_sanitize_address bool has_sought(const u64 *words,
					     const u64 rotations[8])
{
	const int nr = PAGE_SIZE / sizeof(*words);
	int i, j;

	for (i = 0; i < nr - 1; i++) {
		if (likely(words[i] != words[i + 1]) || !words[i])
			continue;
		for (j = 0; j < 8; j++) {
			if ((words[i] ^ rotations[j]) == ~0ULL)
				return true;
		}
	}
	return false;
}

static int search_node(struct seq_file *m, int nid, void *copy)
{
	unsigned long end = node_end_pfn(nid), pfn;
	u64 rotations[8];
	int found = 0;
	int i;

	for (i = 0; i < 8; i++)
		rotations[i] = rol64(search_inverted, 8 * i);

	for (pfn = node_start_pfn(nid); pfn < end; pfn++) {
		cond_resched();
		if (!pfn_to_online_page(pfn) || pfn == page_to_pfn(virt_to_page(copy)))
			continue;
		/* Exclusive pages have no address there. */
		if (copy_from_kernel_nofault(copy, pfn_to_kaddr(pfn), PAGE_SIZE))
			continue;
		if (has_sought(copy, rotations)) {
			seq_printf(m, "%lu\n", pfn);
			found++;
		}
	}
	return found;
}

static int search_show(struct seq_file *m, void *unused)
{
	int found = 0;
	void *copy;
	int nid;

	copy = (void *)__get_free_page(GFP_KERNEL);
	if (!copy)
		return -ENOMEM;
	for_each_online_node(nid)
		found += search_node(m, nid, copy);
	if (!found)
		seq_puts(m, "none\n");
	memzero_explicit(copy, PAGE_SIZE);
	free_page((unsigned long)copy);
	return 0;
}

static int search_open(struct inode *inode, struct file *file)
{
	return single_open(file, search_show, NULL);
}

static const struct file_operations search_fops = {
	.owner = THIS_MODULE,
	.open = search_open,
	.write = search_write,
	.read = seq_read,
	.llseek = seq_lseek,
	.release = single_release,
};

static int __init test_init(void)
{
	debugfs_dir = debugfs_create_dir("exclusive_memory_test", NULL);
	debugfs_create_file("command", 0200, debugfs_dir, NULL, &command_fops);
	debugfs_create_file("log", 0400, debugfs_dir, NULL, &log_fops);
	debugfs_create_file("pfn", 0600, debugfs_dir, NULL, &pfn_fops);
	debugfs_create_file("page", 0600, debugfs_dir, NULL, &page_fops);
	debugfs_create_file("entry", 0600, debugfs_dir, NULL, &entry_fops);
	debugfs_create_file("mapped", 0600, debugfs_dir, NULL, &mapped_fops);
	debugfs_create_file("content", 0600, debugfs_dir, NULL, &content_fops);
	debugfs_create_file("search", 0600, debugfs_dir, NULL, &search_fops);
	return 0;
}

static void __exit test_exit(void)
{
	debugfs_remove_recursive(debugfs_dir);
	unbind_all();
}

module_init(test_init);
module_exit(test_exit);

MODULE_DESCRIPTION("Test user of the exclusive memory notifiers");
MODULE_LICENSE("GPL");
