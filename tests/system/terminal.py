#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a command on a terminal of its own and answers its questions.

    terminal.py [--say LINE]... [--interrupt] -- COMMAND...

Each LINE is typed once the command waits with the echo off; --interrupt types ^C instead. What the
terminal showed goes to standard output, and whether the echo is on in the end.
"""
import fcntl
import os
import select
import signal
import sys
import termios
import time

DEADLINE_S = 120


def is_quiet(fd):
    return not termios.tcgetattr(fd)[3] & termios.ECHO


def main(arguments):
    at = arguments.index("--")
    options, command = arguments[:at], arguments[at + 1:]
    answers = []
    while options:
        if options[0] == "--say":
            answers.append(options[1].encode() + b"\n")
            options = options[2:]
        elif options[0] == "--interrupt":
            answers.append(b"\x03")
            options = options[1:]
        else:
            sys.exit("unknown option " + options[0])

    fd, slave = os.openpty()
    pid = os.fork()
    if pid == 0:
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for number in range(3):
            os.dup2(slave, number)
        os.execvp(command[0], command)
    shown, end, asked = b"", time.monotonic() + DEADLINE_S, 0
    while True:
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            break
        if select.select([fd], [], [], 0.02)[0]:
            piece = os.read(fd, 4096)
            shown += piece
            continue
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            break
        # A question has been asked when its prompt stands at the end and the echo is off.
        if answers and is_quiet(slave) and shown.endswith(b": ") and len(shown) > asked:
            asked = len(shown)
            os.write(fd, answers.pop(0))
    status = os.waitpid(pid, 0)[1]
    sys.stdout.write(shown.decode(errors="replace").replace("\r", ""))
    print("echo is off" if is_quiet(slave) else "echo is on")
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


sys.exit(main(sys.argv[1:]))
