#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a program that draws a terminal of its own, step by step.

    screen.py [--size ROWSxCOLUMNS] STEP... -- COMMAND...

A STEP is `see TEXT` (the screen, drawn anew by ^L until it does, has TEXT), `gone TEXT` (it has it no
more), `wait TEXT` (it has it without that), `key KEYS` (typed as they are; \\t, \\n and \\e[B are understood), `size ROWSxCOLUMNS`, `run SHELL`,
`hangup` (the terminal goes away) or `end` (the program ends by itself). Exits as the program does, 99
when a step fails, with the last screen; in the end whether the terminal was left as it was found.
"""
import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

DEADLINE_S = 40
DRAWN_S = 0.3


class Screen:
    def __init__(self, command, size):
        self.fd, self.slave = os.openpty()
        self.resize(size)
        self.before = termios.tcgetattr(self.slave)
        self.text = b""
        self.pid = os.fork()
        if self.pid == 0:
            os.setsid()
            fcntl.ioctl(self.slave, termios.TIOCSCTTY, 0)
            for number in range(3):
                os.dup2(self.slave, number)
            os.execvp(command[0], command)

    def resize(self, size):
        rows, columns = (int(number) for number in size.split("x"))
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds):
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if select.select([self.fd], [], [], left)[0]:
                self.text += os.read(self.fd, 65536)

    def shown(self):
        text = re.sub(rb"\x1b(\[[0-9;?]*[a-zA-Z]|[()][0-9A-B]|[=>78])|[\x0e\x0f]", b" ", self.text)
        return text.decode(errors="replace").replace("\r", "")

    def is_over(self):
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def draw(self):
        self.text = b""
        os.write(self.fd, b"\f")
        self.read(DRAWN_S)

    def until(self, what, is_true):
        end = time.monotonic() + DEADLINE_S
        while not is_true():
            if time.monotonic() > end or self.is_over():
                raise TimeoutError(what)
            self.draw()

    def step(self, step):
        word, _, rest = step.partition(" ")
        if word == "see":
            self.until(step, lambda: rest in self.shown())
        elif word == "gone":
            self.draw()
            self.until(step, lambda: self.shown() and rest not in self.shown())
        elif word == "wait":
            end = time.monotonic() + DEADLINE_S
            while rest not in self.shown():
                self.read(0.05)
                if time.monotonic() > end or self.is_over():
                    raise TimeoutError(step)
        elif word == "key":
            self.text = b""
            os.write(self.fd, rest.replace("\\t", "\t").replace("\\n", "\n").replace("\\e", "\x1b").encode())
        elif word == "size":
            self.text = b""
            self.resize(rest)
        elif word == "run":
            subprocess.run(rest, shell=True, check=True)
        elif word == "hangup":
            os.close(self.slave)
            os.close(self.fd)
        elif word == "end":
            end = time.monotonic() + DEADLINE_S
            while not self.is_over():
                self.read(0.05)
                if time.monotonic() > end:
                    raise TimeoutError(step)
        else:
            sys.exit("unknown step " + step)


def main(arguments):
    at = arguments.index("--")
    steps, command = arguments[:at], arguments[at + 1:]
    size = "24x80"
    if steps and steps[0] == "--size":
        size, steps = steps[1], steps[2:]
    screen = Screen(command, size)
    failed = ""
    for step in steps:
        try:
            screen.step(step)
        except (TimeoutError, subprocess.CalledProcessError) as why:
            failed = f"failed: {step}: {why}"
            break
    is_there = "hangup" not in steps
    if is_there and not failed:
        screen.read(0.1)
    if failed:
        os.kill(screen.pid, signal.SIGKILL)
    elif not is_there:
        end = time.monotonic() + DEADLINE_S
        while not screen.is_over() and time.monotonic() < end:
            time.sleep(0.05)
        if not screen.is_over():
            failed = "failed: it lives on without a terminal"
            os.kill(screen.pid, signal.SIGKILL)
    status = os.waitpid(screen.pid, 0)[1]
    print(screen.shown())
    if failed:
        print(failed)
        return 99
    if is_there:
        print("terminal as it was" if termios.tcgetattr(screen.slave) == screen.before else "terminal changed")
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


sys.exit(main(sys.argv[1:]))
