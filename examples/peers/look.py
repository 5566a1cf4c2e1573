# SPDX-License-Identifier: MIT
"""Tries to read the memory of another process, as root, in every way there is.

look.py PID ADDRESS...: one JSON line for each address, way by way: "read", or
the errno's name.
"""
import ctypes
import errno
import json
import os
import sys

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
libc.ptrace.restype = ctypes.c_long

PTRACE_PEEKDATA, PTRACE_ATTACH, PTRACE_DETACH = 2, 16, 17
LENGTH = 16


class IoVec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def failure():
    return errno.errorcode[ctypes.get_errno()]


def proc_mem(pid, address):
    fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    try:
        os.pread(fd, LENGTH, address)
        return "read"
    except OSError as error:
        return errno.errorcode[error.errno]
    finally:
        os.close(fd)


def process_vm_readv(pid, address):
    buffer = ctypes.create_string_buffer(LENGTH)
    local = IoVec(ctypes.addressof(buffer), LENGTH)
    remote = IoVec(address, LENGTH)
    count = libc.process_vm_readv(pid, ctypes.byref(local), 1, ctypes.byref(remote), 1, 0)
    return "read" if count == LENGTH else failure()


def ptrace(pid, address):
    if libc.ptrace(PTRACE_ATTACH, pid, None, None) < 0:
        return f"attach: {failure()}"
    os.waitpid(pid, 0)
    ctypes.set_errno(0)
    libc.ptrace(PTRACE_PEEKDATA, pid, address, None)
    # The word itself may be -1: errno tells.
    outcome = failure() if ctypes.get_errno() else "read"
    libc.ptrace(PTRACE_DETACH, pid, None, None)
    return outcome


target = int(sys.argv[1])
for text in sys.argv[2:]:
    where = int(text, 16)
    ways = (proc_mem, process_vm_readv, ptrace)
    print(json.dumps({way.__name__: way(target, where) for way in ways}))
