// SPDX-License-Identifier: MIT

/** What to do about an error, by system call (and path, if it has one) and errno. */
const hints: Readonly<Record<string, string>> = {
  'mmap EBUSY':
    'this memory is in use: mapped here or by another process that holds it, or shown by a memory ' +
    'view; unmap it there first',
  'mmap EINVAL': 'its size is not set; call setSize() first',
  'mmap EAGAIN': 'RLIMIT_MEMLOCK is too low; raise it with "ulimit -l" or dispose other secrets',
  'mmap ENXIO': 'this memory was destroyed',
  'mmap EACCES':
    'the descriptor is not open for this, or it is guest memory, which is mapped for memory slots ' +
    'only (GuestMemory), by the process that it is bound to',
  'getrandom EFAULT': 'this memory was destroyed meanwhile',
  'read EFAULT': 'the memory to read into was destroyed meanwhile',
  'ioctl MEMVIEW_MAP_FD EEXIST':
    'something is mapped in this range of the view; unmap it first or pass "replace: true"',
  'ioctl MEMVIEW_MAP_MEM EEXIST':
    'something is mapped in this range of the view; unmap it first or pass "replace: true"',
  'ioctl MEMVIEW_MAP_FD EACCES': 'open the source for reading, and for writing to give write access',
  'ioctl MEMVIEW_MAP_FD EPERM':
    'the source is exclusive memory, or on a file system mounted with "noexec"',
  'ioctl MEMVIEW_MAP_FD ELOOP': 'the source is a view; map what that view shows',
  'ioctl MEMVIEW_MAP_FD ENODEV': 'only files, memfds and exclusive memory can be shown',
  'ioctl MEMVIEW_MAP_FD ENXIO': 'this memory was destroyed',
  'ioctl MEMVIEW_MAP_FD EBUSY':
    'this memory is mapped; unmap it there first or pass "yield: true" to give way to mappings',
  'ioctl MEMVIEW_MAP_FD EINVAL':
    'the source has larger pages that "at", "offset" and "size" must be multiples of (hugetlbfs), or ' +
    'it is not exclusive memory, which alone can yield',
  'ioctl MEMVIEW_PROTECT EACCES': 'a source in this range is not open for that',
  'ioctl EXMEM_CREATE ENOMEM':
    'the limit of the machine (module parameter limit_bytes) or of the memory cgroup is reached',
  'ioctl EXMEM_POPULATE EPERM': 'its content is sealed; populate it before seal()',
  'ioctl EXMEM_POPULATE ENXIO': 'this memory was destroyed',
  'ioctl EXMEM_POPULATE EOPNOTSUPP': 'this is exclusive memory, but not for guests',
  'ioctl EXMEM_SET_SHARED EPERM': 'its layout is sealed; share what is to be shared before seal()',
  'ioctl EXMEM_SET_SHARED ENXIO': 'this memory was destroyed',
  'ioctl EXMEM_BIND_VM EINVAL': 'it takes a KVM VM that this process made',
  'ioctl EXMEM_BIND_VM EBUSY': 'it is bound to another VM, or another process has it mapped',
  'ioctl EXMEM_SET_SIZE EINVAL': 'the size can be set only once, and only before the first map()',
  'ioctl EXMEM_SET_SIZE ENOMEM': 'the size is over the limits; see capabilities().limits',
  "open '/dev/exclusive_memory' ENOENT": 'load the kernel module with "modprobe exclusive_memory"',
  "open '/dev/exclusive_memory' EACCES":
    'join the group with "usermod --append --groups exclusive_memory USER" and log in again',
  "open '/dev/memory-view' ENOENT": 'load the kernel module with "modprobe exclusive_memory"',
  "open '/dev/memory-view' EACCES":
    'join the group with "usermod --append --groups exclusive_memory USER" and log in again',
  "open '/dev/kvm' ENOENT": 'load the kernel module with "modprobe kvm_intel" or "modprobe kvm_amd"',
  "open '/dev/kvm' EACCES": 'join the group with "usermod --append --groups kvm USER" and log in again',
  'ioctl KVM_SET_USER_MEMORY_REGION EEXIST': 'it overlaps with another slot; remove that first',
  'ioctl KVM_SET_USER_MEMORY_REGION EINVAL':
    'KVM has no such slot, or cannot change its memory, size or rights; remove it first',
  'ioctl KVM_CREATE_IRQCHIP EINVAL': 'create it before the first vCPU',
  'ioctl KVM_RUN EFAULT': 'a slot has no memory there, or does not give the right to it',
  "open '/dev/tty' ENXIO": 'this process has no terminal; pass the descriptor of one as "fd"',
  'tcgetattr ENOTTY': 'the descriptor is no terminal; read it with Secret.fromFd() instead',
  'sendmsg EPIPE': 'the other end of the socket is closed',
  'sendmsg ETOOMANYREFS':
    'as many descriptors as this process may open (RLIMIT_NOFILE) are sent and not yet received',
  'sendmsg EMSGSIZE': "the message is longer than the socket's buffer; raise net.core.wmem_default",
  'accept4 EMFILE': 'close descriptors or raise "ulimit -n"; the connection waits until then',
  'bind EADDRINUSE': 'another process listens there, or it is no socket',
  'connect ECONNREFUSED': 'nobody listens there',
  'connect EPROTOTYPE': 'who listens there wants the other type of socket; see the option framing',
  'getsockopt SO_PEERPIDFD ENOPROTOOPT': 'Linux can do this since 6.5',
  'sendmsg ENOTSOCK': 'descriptors travel over an AF_UNIX socket only',
};

export function hintFor(operation: string, code: string): string | undefined {
  return hints[`${operation} ${code}`];
}
