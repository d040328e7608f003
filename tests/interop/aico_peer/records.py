# SPDX-License-Identifier: Apache-2.0
"""docs/protocol-broker.md: frames and records."""
import struct

from .crypto import lp8, lp16

HELLO, WELCOME, BYE, PING, PONG, CREDIT, REGISTRY, COMPONENT, TOPIC, SUBSCRIBE = range(1, 11)
UNSUBSCRIBE, OK, REFUSE, PUBLISH, ACK, DELIVER, GAP, RESOLVE, RESOLVED, QUERY, ANSWER = range(11, 22)
AUDIT = 36
EVENT, RETAINED, STREAM, REQUEST, REPLY, MAILBOX, CONTROL = range(7)
TOPIC_CONTROL, TOPIC_HEADS = 1, 2
BY_NAME = 0xFFFFFFFF
MAX_PAYLOAD = 66560
FRAGMENT, REPLY_FLAG, DIRECT, TIMEOUT, COPY = 1, 2, 4, 8, 16
COUNT = 32


class Reader:
    """Steps through foreign bytes; whoever reads past the end gets an error."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        if n > len(self.data) - self.at:
            raise ValueError("record is cut short")
        self.at += n
        return self.data[self.at - n : self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), "big")

    u8 = lambda self: self.number(1)
    u16 = lambda self: self.number(2)
    u32 = lambda self: self.number(4)
    u64 = lambda self: self.number(8)
    lp8 = lambda self: self.take(self.u8())
    lp16 = lambda self: self.take(self.u16())

    def rest(self):
        return self.take(len(self.data) - self.at)

    def done(self):
        return self.at == len(self.data)


def record(kind, body, flags=0, aux=0):
    return struct.pack(">BBHI", kind, flags, aux, len(body)) + body


def frames(data):
    """The records of one frame: (type, flags, aux, body, whole size)."""
    r = Reader(data)
    if r.u8() != 1:
        raise ValueError("unknown version of a frame")
    while not r.done():
        kind, flags, aux = r.u8(), r.u8(), r.u16()
        body = r.take(r.u32())
        yield kind, flags, aux, body, 8 + len(body)


def hello(instance, registry, window, name):
    return record(
        HELLO,
        struct.pack(">HQQ", 1, instance, registry.version)
        + registry.hash
        + struct.pack(">I", window)
        + lp8(name.encode())
        + lp8(b"python peer"),
    )


def subscribe(number, subscription, pattern, serve=False, policy=0):
    body = struct.pack(">QIB", number, subscription, policy) + lp8(pattern.encode()) + lp8(b"")
    return record(SUBSCRIBE, body, 1 if serve else 0)


def publish(number, topic, to, delivery, payload, request=None, timeout_ms=None, copy=False):
    """The records of one message: one, or its fragments. `topic` is a name or one of the fixed
    numbers, `to` a component's number, a name, or 0 for the subscribers."""
    fixed = topic if isinstance(topic, int) else 0
    flags = COPY if copy else 0
    flags |= REPLY_FLAG if request is not None else 0
    flags |= TIMEOUT if timeout_ms is not None else 0
    head = struct.pack(">QII", number, fixed, BY_NAME if isinstance(to, str) else to)
    tail = (
        (struct.pack(">Q", request) if request is not None else b"")
        + (struct.pack(">I", timeout_ms) if timeout_ms is not None else b"")
        + (b"" if fixed else lp8(topic.encode()))
        + (lp8(to.encode()) if isinstance(to, str) else b"")
    )
    if len(payload) <= MAX_PAYLOAD:
        return [record(PUBLISH, head + tail + payload, flags, delivery << 8)]
    return [
        record(
            PUBLISH,
            head + struct.pack(">II", len(payload), at) + tail + payload[at : at + MAX_PAYLOAD],
            flags | FRAGMENT,
            delivery << 8,
        )
        for at in range(0, len(payload), MAX_PAYLOAD)
    ]


class Deliver:
    def __init__(self, flags, aux, body):
        r = Reader(body)
        self.delivery, self.direct = aux >> 8, bool(flags & DIRECT)
        self.id, self.topic_number, self.sender = r.u64(), r.u32(), r.u32()
        self.total, self.offset = (r.u32(), r.u32()) if flags & FRAGMENT else (None, 0)
        self.request = r.u64() if flags & REPLY_FLAG else None
        self.count = r.u16() if flags & COUNT else 1
        self.topic = r.lp8().decode() if self.topic_number == 0 else None
        self.payload = r.rest()


class Gap:
    def __init__(self, flags, aux, body):
        r = Reader(body)
        self.cause, self.direct = aux, bool(flags & DIRECT)
        self.sender, self.topic_number, self.count, self.last = r.u32(), r.u32(), r.u64(), r.u64()
        self.topic = r.lp8().decode() if self.topic_number == 0 else None


def key_request(pattern, group=bytes(12), epoch=0, generation=0):
    return b"\x02" + lp16(pattern.encode()) + group + struct.pack(">IQ", epoch, generation)
