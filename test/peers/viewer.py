# SPDX-License-Identifier: MIT
"""Process B: whoever was given a view. Plain Python, and no library of ours.

usage: viewer.py SOCKET

The view fd comes over the socket of that number. Then each line of standard
input is an access, and one line answers it:

    load OFFSET          the byte there
    store OFFSET BYTE    "stored"
    size                 how large the view is

or the name of the signal that the access ended with: a child of its own makes
it, since Python cannot go on after one.
"""
import mmap
import os
import signal
import socket
import sys


def access(command, window):
    match command:
        case ["load", offset]:
            return str(window[int(offset)])
        case ["store", offset, byte]:
            window[int(offset)] = int(byte)
            return "stored"
        case ["size"]:
            return str(len(window))
        case _:
            return "what?"


def answer(command, window):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, access(command, window).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else text


def main():
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        _, descriptors, _, _ = socket.recv_fds(channel, 1, 1)
    window = mmap.mmap(descriptors[0], os.fstat(descriptors[0]).st_size)
    for line in sys.stdin:
        print(answer(line.split(), window), flush=True)


main()
