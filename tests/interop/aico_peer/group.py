# SPDX-License-Identifier: Apache-2.0
"""docs/protocol.md 8: what a publisher seals and its readers open."""
import struct

from . import envelope
from .channel import MAX_STEPS
from .crypto import KDF, ProtocolError, lp16, now_ms, verify
from .records import Reader

HEADS = "$bus/heads"
NO_SLOT, NOT_LISTED = 255, 65535
NOBODY = bytes(32)


def topic_key(chain, topic):
    return KDF(chain, "group topic", topic.encode())


class Sender:
    """One generation of one rule."""

    def __init__(self, namespace, identity, rule, readers, previous_gen=0):
        self.ns, self.identity, self.rule, self.readers = namespace, identity, rule, readers
        self.gen = max(now_ms(), previous_gen + 1)
        self.chain, self.epoch, self.previous = identity.fresh("group"), 0, None
        self.vector = identity.fresh("vector")
        self.id = KDF(
            self.chain,
            "group id",
            struct.pack(">Q", self.gen) + identity.public + lp16(rule.filter.encode()),
        )[:12]
        self.t0 = self.gen - 2**20
        self.next = {}
        self.traffic = set()
        if rule.authenticity == "group":
            self.trailer = envelope.NONE
        elif rule.authenticity == "signature" or rule.history or len(readers) > 16:
            self.trailer = envelope.SIGNATURE
        else:
            self.trailer = envelope.VECTOR if len(readers) > 1 else envelope.NONE

    def reader_key(self, reader):
        return KDF(self.vector, "group reader", reader.identity)

    def add(self, readers):
        """The registry named more: the later slots are theirs, and nothing from before."""
        known = [r.identity for r in self.readers]
        self.readers = self.readers + [r for r in readers if r.identity not in known]
        self.step()
        self.previous = None

    def step(self):
        self.previous = self.chain
        self.chain = KDF(self.chain, "group step")
        self.epoch += 1

    def proof(self):
        if self.trailer == envelope.VECTOR:
            return envelope.vector_proof([self.reader_key(r) for r in self.readers])
        if self.trailer == envelope.SIGNATURE:
            return lambda d: (envelope.SIGNATURE, self.identity.sign("envelope", d))
        return None

    def seal(self, topic, delivery, contents, headers=(), batch=False):
        ctx = envelope.context(
            self.ns, envelope.GROUP, delivery, self.identity.public, NOBODY, bytes(16), topic
        )
        sequence = self.next.get(topic, 0)
        self.next[topic] = sequence + 1
        self.traffic.add(topic)
        time = max(0, min(now_ms() - self.t0, 0xFFFFFFFF))
        key = topic_key(self.chain, topic)
        return envelope.write(
            key,
            self.id,
            self.epoch,
            time,
            sequence,
            ctx,
            contents,
            self.rule.padded,
            self.proof(),
            headers,
            batch,
        )

    def heads(self):
        """HEADS of what had traffic since the last one; None if nothing had."""
        topics = sorted(self.traffic - {HEADS})
        self.traffic.clear()
        if not topics:
            return None
        body = b"".join(lp16(t.encode()) + struct.pack(">I", self.next[t]) for t in topics)
        return b"\x05" + struct.pack(">QH", self.gen, len(topics)) + body

    def key_message(self, reader, epoch):
        chain = self.chain
        if self.previous and epoch == self.epoch - 1:
            chain = self.previous
        else:
            epoch = self.epoch
        slot, key = NO_SLOT, bytes(32)
        if self.trailer == envelope.VECTOR:
            slot = [r.identity for r in self.readers].index(reader.identity)
            key = self.reader_key(reader)
        topics = sorted((t, n) for t, n in self.next.items() if t != HEADS)
        return (
            b"\x01"
            + bytes([self.trailer])
            + lp16(self.rule.filter.encode())
            + struct.pack(">QI", self.gen, epoch)
            + chain
            + self.id
            + bytes([slot])
            + key
            + struct.pack(">H", len(topics))
            + b"".join(lp16(t.encode()) + struct.pack(">I", n) for t, n in topics)
        )


def stands(r, count):
    """The heads of a list: (topic, next envelope, messages before it). One named `$n` says how many
    messages the envelopes of the topic behind it held."""
    number = None
    for _ in range(count):
        topic, following = r.lp16().decode(), r.u32()
        if topic == "$n":
            number = following
            continue
        yield topic, following, following if number is None else number
        number = None


class Receiver:
    """One generation of one publisher, from its GROUP_KEY."""

    def __init__(self, namespace, publisher, own, data):
        self.ns, self.publisher, self.own = namespace, publisher, own
        r = Reader(data)
        if r.u8() != 1:
            raise ProtocolError("E_PROTOCOL")
        self.trailer = r.u8()
        self.filter = r.lp16().decode()
        self.gen, self.epoch = r.u64(), r.u32()
        self.chain, self.id, self.slot, self.key = r.take(32), r.take(12), r.u8(), r.take(32)
        count = r.u16()
        self.list = None
        if count != NOT_LISTED:
            self.list = {topic: messages for topic, _, messages in stands(r, count)}
        if not r.done():
            raise ProtocolError("E_PROTOCOL")
        self.t0 = self.gen - 2**20
        self.expected = {}  # envelopes
        self.messages = {}

    def check(self, h):
        if self.trailer == envelope.VECTOR:
            if self.slot == NO_SLOT:
                raise ProtocolError("E_AUTHENTICITY")
            return envelope.vector_check(h, self.slot, self.key)
        if self.trailer == envelope.SIGNATURE:
            return lambda d: verify(self.publisher, h.proof, "envelope", d)
        return None

    def missing_before(self, topic, number):
        """How many are lost when message `number` is the next that stands or comes."""
        if topic in self.messages:
            return max(0, number - self.messages[topic])
        if self.list is None:
            return 0
        return max(0, number - self.list.get(topic, 0))

    def open(self, h, topic, delivery, padded):
        """(messages, gap, time of the sender)"""
        if h.key_id != self.id:
            raise ProtocolError("E_KEY")
        if h.format not in (1, 2):
            raise ProtocolError("E_FORMAT")
        if h.trailer != self.trailer:
            raise ProtocolError("E_AUTHENTICITY")
        if h.sequence < self.expected.get(topic, 0):
            raise ProtocolError("E_REPLAY")
        if h.epoch < self.epoch:
            raise ProtocolError("E_EPOCH_BACK")
        if h.epoch - self.epoch > MAX_STEPS:
            raise ProtocolError("E_EPOCH_JUMP")
        chain = self.chain
        for _ in range(h.epoch - self.epoch):
            chain = KDF(chain, "group step")
        ctx = envelope.context(
            self.ns, envelope.GROUP, delivery, self.publisher, NOBODY, bytes(16), topic
        )
        messages = envelope.read(h, topic_key(chain, topic), ctx, padded, self.check(h))
        number, (headers, payload) = h.sequence, messages[0]
        if headers and headers[0][0] == "$n":
            number = int(headers[0][1])
            messages[0] = (headers[1:], payload)
        gap = self.missing_before(topic, number)
        self.chain, self.epoch, self.expected[topic] = chain, h.epoch, h.sequence + 1
        self.messages[topic] = number + len(messages)
        return messages, gap, self.t0 + h.time

    def skip(self, topic, count):
        """So many messages from where the topic stands have been reported already."""
        if topic in self.messages:
            self.messages[topic] += count
        elif self.list is not None:
            self.list[topic] = self.list.get(topic, 0) + count

    def heads(self, topic, following, messages):
        """How many of the topic are lost at its end, by a HEADS."""
        gap = self.missing_before(topic, messages)
        if gap:
            self.expected[topic], self.messages[topic] = following, messages
        return gap
