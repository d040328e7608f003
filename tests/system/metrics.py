#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Talks to the metrics socket of a broker.

    metrics.py SOCKET get [PATH]        the answer's status, then its body
    metrics.py SOCKET raw TEXT          sends TEXT as it is (\\r\\n are understood), prints what comes
    metrics.py SOCKET check             whether a whole answer follows the text format, version 0.0.4
    metrics.py SOCKET crowd N KIND      N connections that behave badly (silent, endless, deaf), held until
                                        standard input ends; says "ready" when all are there
"""
import re
import socket
import sys

DEADLINE_S = 40


def connect(path):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.connect(path)  # waits for a place in the queue
    s.settimeout(DEADLINE_S)
    return s


def ask(path, request):
    with connect(path) as s:
        s.sendall(request)
        answer = b""
        while piece := s.recv(65536):
            answer += piece
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.decode(), body.decode()


def get(path, target="/metrics"):
    return ask(path, f"GET {target} HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n".encode())


def headers(head):
    lines = head.split("\r\n")
    return lines[0], {key.lower(): value for key, value in (line.split(": ", 1) for line in lines[1:])}


SAMPLE = re.compile(r'([a-z_]+)(?:\{([a-z]+)="((?:[^"\\\n]|\\["\\n])*)"\})? ([0-9]+)')


def check(path):
    head, body = get(path)
    status, fields = headers(head)
    assert status == "HTTP/1.0 200 OK", status
    assert fields["content-type"] == "text/plain; version=0.0.4; charset=utf-8", fields
    assert int(fields["content-length"]) == len(body.encode())
    assert body.endswith("\n")
    helped, types, series, current = set(), {}, set(), None
    for line in body[:-1].split("\n"):
        if line.startswith("# HELP "):
            current = line.split(" ")[2]
            assert current not in helped, f"{current} comes twice"
            assert line.split(" ", 3)[3], line
            helped.add(current)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name == current and kind in ("counter", "gauge"), line
            assert (kind == "counter") == name.endswith("_total"), line
            types[name] = kind
        else:
            found = SAMPLE.fullmatch(line)
            assert found, line
            assert found[1] == current and current in types, f"{line} is not below its TYPE"
            assert found[1].startswith("aico_bus_"), line
            assert found.group(1, 2, 3) not in series, f"{line} comes twice"
            series.add(found.group(1, 2, 3))
    assert helped == set(types) and len(helped) > 30
    print(len(series), "series")


def crowd(path, count, kind):
    held = []
    for _ in range(int(count)):
        s = connect(path)
        s.settimeout(0)
        try:
            if kind == "endless":
                s.send(b"GET /metrics HTTP/1.1\r\nX: " + b"x" * 60000)
            elif kind == "deaf":
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
                s.send(b"GET /metrics HTTP/1.1\r\n\r\n")
        except OSError:
            pass  # cut off already
        held.append(s)
    print("ready", flush=True)
    sys.stdin.read()


def main(path, verb, *arguments):
    if verb == "get":
        head, body = get(path, *arguments)
        print(head.split("\r\n")[0])
        print(body, end="")
    elif verb == "raw":
        text = arguments[0].encode().decode("unicode_escape").encode("latin-1")
        head, body = ask(path, text)
        print(head.split("\r\n")[0])
        print(body, end="")
    elif verb == "check":
        check(path)
    else:
        crowd(path, *arguments)


main(*sys.argv[1:])
