# SPDX-License-Identifier: MIT
"""The other end of a HandleChannel, with nothing but Python's standard library.

channel_peer.py FRAMING [PATH]: answers each message with the payload reversed
(a plain stream, which has no messages: as it is), and with the descriptors it
came with, after it wrote "python" into each of them. On descriptor 3, or as a
client of PATH.
"""

import os
import socket
import struct
import sys

MAX_DESCRIPTORS = 253


def read_exactly(s, count):
    """`count` bytes of a stream, fewer at its end, and what came with them."""
    data, fds = b"", []
    while len(data) < count:
        part, more, flags, _ = socket.recv_fds(s, count - len(data), MAX_DESCRIPTORS)
        assert not flags & socket.MSG_CTRUNC
        if not part:
            break
        data, fds = data + part, fds + list(more)
    return data, fds


def receive(s, framing):
    if framing != "length-prefixed":
        data, fds, _, _ = socket.recv_fds(s, 65536, MAX_DESCRIPTORS)
        return (data, list(fds)) if data else None
    header, fds = read_exactly(s, 8)
    if not header:
        return None
    length, count = struct.unpack("<II", header)
    data, more = read_exactly(s, length)
    assert len(data) == length and len(fds) + len(more) == count
    return data, fds + more


def send(s, framing, data, fds):
    if framing == "length-prefixed":
        data = struct.pack("<II", len(data), len(fds)) + data
    sent = socket.send_fds(s, [data], fds)
    if sent < len(data):
        s.sendall(data[sent:])


def main(framing, path=None):
    if path is None:
        s = socket.socket(fileno=3)
    else:
        kind = socket.SOCK_SEQPACKET if framing == "seqpacket" else socket.SOCK_STREAM
        s = socket.socket(socket.AF_UNIX, kind)
        s.connect(path)
        send(s, framing, b"hello from python", [])
    while message := receive(s, framing):
        data, fds = message
        for fd in fds:
            os.write(fd, b"python")
        send(s, framing, data if framing == "stream" else data[::-1], fds)
        for fd in fds:
            os.close(fd)


main(*sys.argv[1:])
