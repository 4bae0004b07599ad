#!/usr/bin/env python3
"""Asks the supervisor for a file, and copies it to the standard output."""
import fcntl
import json
import os
import random
import shutil
import socket
import struct
import sys


def door():
    """The inherited connection, if it is still one and nobody is using it; else one of our own."""
    try:
        inherited = socket.socket(fileno=os.dup(int(os.environ["SUPERVISE_FD"])))
        # Other processes may have inherited it, too: one asks at a time.
        fcntl.lockf(inherited, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return inherited
    except (KeyError, ValueError, OSError):
        own = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        own.connect(os.environ["SUPERVISE_SOCKET"])
        return own


def ask(connection, path, access=("read",), **more):
    """An open descriptor, or an OSError."""
    number = random.getrandbits(53)
    request = {"v": 1, "id": number, "kind": "open", "path": path, "access": list(access), **more}
    text = json.dumps(request).encode()
    connection.sendall(struct.pack(">I", len(text)) + text)
    while True:
        answer, fds = receive(connection)
        if answer.get("id") == number:
            break
        for fd in fds:
            os.close(fd)
    if answer["decision"] == "granted":
        return fds[0]
    raise OSError(answer["errno"], answer["code"], path)


def receive(connection):
    """One frame and its descriptors."""
    header, fds, _, _ = socket.recv_fds(connection, 4, 1)
    header += exactly(connection, 4 - len(header))
    (length,) = struct.unpack(">I", header)
    return json.loads(exactly(connection, length)), fds


def exactly(connection, length):
    data = b""
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            raise EOFError("the supervisor is gone")
        data += part
    return data


if __name__ == "__main__":
    try:
        granted = ask(door(), os.path.abspath(sys.argv[1]), why="to show it")
    except OSError as error:
        sys.exit(f"{sys.argv[1]}: {error.strerror}")
    with os.fdopen(granted, "rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
