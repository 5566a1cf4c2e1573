// SPDX-License-Identifier: MIT

/** What to do about an error, by system call (and path, if it has one) and errno. */
const hints: Readonly<Record<string, string>> = {
  'mmap EBUSY':
    'this memory is mapped already, here or by another process that holds it; unmap it there first',
  'mmap EINVAL': 'its size is not set; call setSize() first',
  'mmap EAGAIN': 'RLIMIT_MEMLOCK is too low; raise it with "ulimit -l" or dispose other secrets',
  'mmap ENXIO': 'this memory was destroyed',
  'mmap EACCES': 'guest memory cannot be mapped for reading or writing',
  'ioctl EXMEM_CREATE ENOMEM':
    'the limit of the machine (module parameter limit_bytes) or of the memory cgroup is reached',
  'ioctl EXMEM_SET_SIZE EINVAL': 'the size can be set only once, and only before the first map()',
  'ioctl EXMEM_SET_SIZE ENOMEM': 'the size is over the limits; see capabilities().limits',
  "open '/dev/exclusive_memory' ENOENT": 'load the kernel module with "modprobe exclusive_memory"',
  "open '/dev/exclusive_memory' EACCES":
    'join the group with "usermod --append --groups exclusive_memory USER" and log in again',
  "open '/dev/tty' ENXIO": 'this process has no terminal; pass the descriptor of one as "fd"',
  'tcgetattr ENOTTY': 'the descriptor is no terminal; read it with Secret.fromFd() instead',
  'sendmsg EPIPE': 'the other end of the socket is closed',
  'sendmsg ENOTSOCK': 'descriptors travel over an AF_UNIX socket only',
};

export function hintFor(operation: string, code: string): string | undefined {
  return hints[`${operation} ${code}`];
}
