# SPDX-License-Identifier: MIT
"""Another process, which receives a restricted memfd and does as it is told.

Descriptor 3 is a socket. Each line on standard input names a function below;
the answer is one line: what it returns, or the errno's name.
"""
import ctypes
import errno
import hashlib
import os
import resource
import signal
import socket
import sys

PROT_READ, PROT_WRITE, MAP_SHARED, MAP_FAILED = 1, 2, 1, ctypes.c_void_p(-1).value
MREMAP_MAYMOVE, MREMAP_FIXED = 1, 2

libc = ctypes.CDLL(None, use_errno=True)
size_t, pointer, number = ctypes.c_size_t, ctypes.c_void_p, ctypes.c_int
libc.mmap.argtypes = [pointer, size_t, number, number, number, ctypes.c_long]
libc.mmap.restype = pointer
libc.munmap.argtypes = [pointer, size_t]
libc.mprotect.argtypes = [pointer, size_t, number]
libc.mremap.argtypes = [pointer, size_t, size_t, number, pointer]
libc.mremap.restype = pointer

channel = socket.socket(fileno=3)
page = resource.getpagesize()
state = {}


def said(result):
    failed = result in (-1, MAP_FAILED)
    return errno.errorcode[ctypes.get_errno()] if failed else "done"


def receive():
    _, (fd,), _, _ = socket.recv_fds(channel, 1, 1)
    state.update(fd=fd, size=os.fstat(fd).st_size)
    return os.readlink(f"/proc/self/fd/{fd}")


def map():
    address = libc.mmap(None, state["size"], PROT_READ | PROT_WRITE, MAP_SHARED, state["fd"], 0)
    if address != MAP_FAILED:
        state["address"] = address
        state["length"] = -(-state["size"] // page) * page
    return said(address)


def hash():
    view = (ctypes.c_char * state["size"]).from_address(state["address"])
    return hashlib.sha256(view).hexdigest()


def map_again():
    return said(libc.mmap(None, state["size"], PROT_READ, MAP_SHARED, state["fd"], 0))


def unmap_half():
    return said(libc.munmap(state["address"], state["length"] // 2))


def protect_half():
    return said(libc.mprotect(state["address"], state["length"] // 2, PROT_READ))


def grow():
    length = state["length"]
    return said(libc.mremap(state["address"], length, 2 * length, MREMAP_MAYMOVE, None))


def move():
    # A place that is free: a mapping of nothing, which mremap(2) may replace.
    length = state["length"]
    target = libc.mmap(None, length, PROT_READ, 0x22, -1, 0)
    flags = MREMAP_MAYMOVE | MREMAP_FIXED
    return said(libc.mremap(state["address"], length, length, flags, target))


def fork():
    child = os.fork()
    if child == 0:
        ctypes.string_at(state["address"], 1)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return signal.Signals(-status).name if status < 0 else "read"


def dump():
    """Ends here, with a core dump of everything that may be dumped."""
    with open("/proc/self/coredump_filter", "w") as file:
        file.write("0x7f")
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY,) * 2)
    state["ordinary"] = b"ordinary memory of process %d" % os.getpid()
    os.abort()


print(os.getpid(), flush=True)
for line in sys.stdin:
    print(globals()[line.strip()](), flush=True)
