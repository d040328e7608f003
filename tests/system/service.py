# SPDX-License-Identifier: Apache-2.0
"""What a service manager does for its services, for tests/system/service.sh.

service.py listen SOCKET FILE          appends each datagram at SOCKET to FILE, a line "--" after it
service.py activate PATH PORT COMMAND  listens at PATH and 127.0.0.1:PORT, waits for the first
                                       connection, and becomes COMMAND, which gets the sockets
service.py hang FILE COMMAND           runs COMMAND with stderr a pipe that nobody reads, sends HUP
                                       until FILE, written by `listen`, has no new WATCHDOG for 3 s,
                                       then reads the pipe until there is one; TERM
"""
import os
import select
import signal
import socket
import subprocess
import sys
import time

LIMIT = 60  # seconds that only a failure takes


def listen(path, file):
    inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    inbox.bind(path)
    with open(file, "a", buffering=1) as out:
        while True:
            out.write(inbox.recv(4096).decode() + "\n--\n")


def activate(path, port, command):
    sockets = [socket.socket(socket.AF_UNIX), socket.socket(socket.AF_INET)]
    sockets[1].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    for sock, address in zip(sockets, (path, ("127.0.0.1", int(port)))):
        sock.bind(address)
        sock.listen(128)
    if os.environ.get("WAIT") != "no":
        print("listening", flush=True)
        if not select.select(sockets, [], [], LIMIT)[0]:
            sys.exit("nobody connected")
    copies = [os.dup(sock.fileno()) for sock in sockets]
    high = [os.dup2(copy, 100 + i) for i, copy in enumerate(copies)]
    for i, fd in enumerate(high):
        os.dup2(fd, 3 + i, inheritable=True)
        os.close(fd)
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(sockets)))
    os.execvp(command[0], command)


def count_alive(file):
    try:
        with open(file) as log:
            return log.read().count("WATCHDOG=1")
    except FileNotFoundError:
        return 0


def wait_until(what, condition):
    end = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > end:
            sys.exit("not in %d s: %s" % (LIMIT, what))
        time.sleep(0.02)


def hang(file, command):
    read_end, write_end = os.pipe()
    process = subprocess.Popen(command, stderr=write_end)
    os.close(write_end)
    try:
        wait_until("a watchdog that is fed", lambda: count_alive(file) > 2)
        seen, since = count_alive(file), time.monotonic()

        def is_silent():
            nonlocal seen, since
            process.send_signal(signal.SIGHUP)
            if count_alive(file) != seen:
                seen, since = count_alive(file), time.monotonic()
            return time.monotonic() - since > 3

        wait_until("a loop that hangs in its log and feeds the watchdog no more", is_silent)
        os.set_blocking(read_end, False)

        def is_back():
            try:
                os.read(read_end, 65536)
            except BlockingIOError:
                pass
            return count_alive(file) > seen

        wait_until("the watchdog fed again", is_back)
    finally:
        os.close(read_end)
        process.terminate()
        process.wait(LIMIT)


if sys.argv[1] == "listen":
    listen(sys.argv[2], sys.argv[3])
elif sys.argv[1] == "activate":
    activate(sys.argv[2], sys.argv[3], sys.argv[4:])
else:
    hang(sys.argv[2], sys.argv[3:])
