# SPDX-License-Identifier: Apache-2.0
"""docs/protocol.md 4 and 6: the handshake's messages and what an established channel does."""
import struct

from . import envelope
from .crypto import DH, H, KDF, MAC, TAG, ProtocolError, equal, lp8, now_ms, verify, x25519_public

ZEROS = bytes(32)
SIZES = {1: 232, 2: 232, 3: 48, 4: 44}
CHANNEL_UNKNOWN = 70
MAX_STEPS = 1024


class Hello:
    """Hello1 or Hello2 of the other side, as far as both look alike."""

    def __init__(self, data, kind):
        if len(data) != SIZES[kind]:
            raise ProtocolError("E_SIZE")
        self.data = data
        version, got, suite, self.policy, self.time, self.version = struct.unpack(">BBHIQQ", data[:24])
        self.hash = data[24:40]
        if version != 1:
            raise ProtocolError("E_VERSION")
        if got != kind:
            raise ProtocolError("E_TYPE")
        if suite != 1:
            raise ProtocolError("E_SUITE")

    def check_clock_and_policy(self, settings, now):
        if abs(now - self.time) > settings.synchrony_ms:
            raise ProtocolError("E_CLOCK")
        if self.policy != settings.policy():
            raise ProtocolError("E_POLICY", f"{self.policy:#x} instead of {settings.policy():#x}")

    def check_registry(self, registry):
        if self.version == registry.version and self.hash != registry.hash:
            raise ProtocolError("E_EQUIVOCATION")


def head(kind, settings, registry, now):
    return struct.pack(">BBHIQQ", 1, kind, 1, settings.policy(), now, registry.version) + registry.hash


def derive(ns, hello1, hello2, secret, public):
    """(T, keys) once both ephemeral keys are known."""
    T = H(TAG("transcript") + ns + hello1 + hello2[:200])
    root = KDF(DH(secret, public), "root", T)
    names = ("confirm listener", "confirm dialer", "traffic dialer", "traffic listener", "channel")
    return T, {name: KDF(root, name) for name in names}


class Channel:
    """Both directions of one channel; strict order."""

    def __init__(self, ns, own, peer, dialer, keys, hello1_time, t0):
        self.ns, self.own, self.peer, self.dialer, self.t0 = ns, own, peer, dialer, t0
        self.id = keys["channel"][:12]
        mine, theirs = ("traffic dialer", "traffic listener")[:: 1 if dialer else -1]
        self.send_key, self.receive_key = keys[mine], keys[theirs]
        self.send_epoch = self.receive_epoch = 0
        self.next, self.expected = 0, 0
        self.sealed_in_epoch = False
        self.age = (hello1_time, self.id)
        self.heard = self.ended = False

    def step(self):
        self.send_key = KDF(self.send_key, "channel step")
        self.send_epoch += 1
        self.sealed_in_epoch = False

    def seal(self, topic, delivery, payload, padded, ref=bytes(16), headers=()):
        """(envelope, its ref)"""
        ctx = envelope.context(self.ns, envelope.CHANNEL, delivery, self.own, self.peer, ref, topic)
        if self.next >= 0xFFFFFFFF:
            raise ProtocolError("E_LIMIT")
        sequence, self.next = self.next, self.next + 1
        self.sealed_in_epoch = True
        time = max(0, min(now_ms() - self.t0, 0xFFFFFFFF))
        data = envelope.write(
            self.send_key, self.id, self.send_epoch, time, sequence, ctx, [payload], padded, headers=headers
        )
        return data, self.id + struct.pack(">I", sequence)

    def open(self, h, topic, delivery, padded, ref=bytes(16)):
        """(messages, gap, time of the sender); the state moves only when it opened."""
        if h.format not in (1, 2):
            raise ProtocolError("E_FORMAT")
        if h.trailer != envelope.NONE:
            raise ProtocolError("E_AUTHENTICITY")
        if h.sequence < self.expected:
            raise ProtocolError("E_REPLAY")
        if h.epoch < self.receive_epoch:
            raise ProtocolError("E_EPOCH_BACK")
        if h.epoch - self.receive_epoch > MAX_STEPS:
            raise ProtocolError("E_EPOCH_JUMP")
        key = self.receive_key
        for _ in range(h.epoch - self.receive_epoch):
            key = KDF(key, "channel step")
        ctx = envelope.context(self.ns, envelope.CHANNEL, delivery, self.peer, self.own, ref, topic)
        messages = envelope.read(h, key, ctx, padded)
        gap = h.sequence - self.expected
        self.receive_key, self.receive_epoch, self.expected = key, h.epoch, h.sequence + 1
        self.heard = True
        return messages, gap, self.t0 + h.time


class Dial:
    """Our side of a handshake we began."""

    def __init__(self, namespace, identity, settings, registry, peer, time):
        self.ns, self.settings, self.identity, self.peer = lp8(namespace), settings, identity, peer
        self.secret = identity.fresh("ephemeral")
        self.time = time
        body = (
            head(1, settings, registry, time)
            + peer.identity
            + identity.public
            + x25519_public(self.secret)
            + identity.fresh("challenge")
        )
        self.hello1 = body + identity.sign("hello1", self.ns + body)
        self.begun = now_ms()

    def answer(self, data, registry, now):
        """(channel, Hello3) of a Hello2."""
        if now - self.begun > self.settings.handshake_timeout_ms:
            raise ProtocolError("E_DEADLINE")
        h = Hello(data, 2)
        if data[40:72] != H(self.hello1):
            raise ProtocolError("E_CONTINUATION")
        h.check_clock_and_policy(self.settings, now)
        verify(self.peer.identity, data[136:200], "hello2", self.ns + data[:136])
        h.check_registry(registry)
        T, keys = derive(self.ns, self.hello1, data, self.secret, data[72:104])
        if not equal(data[200:], MAC(keys["confirm listener"], T)):
            raise ProtocolError("E_CONFIRM")
        own = self.identity.public
        channel = Channel(
            self.ns[1:], own, self.peer.identity, True, keys, self.time, h.time - 2**20
        )
        return channel, b"\x01\x03\x00\x00" + channel.id + MAC(keys["confirm dialer"], T)


class Listen:
    """Our side of a handshake somebody else began: the checks of the table, in its order."""

    def __init__(self, namespace, identity, settings, registry, stamp, data, now, seen):
        ns = lp8(namespace)
        h = Hello(data, 1)
        target, dialer, ephemeral = data[40:72], data[72:104], data[104:136]
        if target != identity.public:
            raise ProtocolError("E_TARGET")
        if dialer == identity.public:
            raise ProtocolError("E_SELF")
        self.peer = registry.by_identity(dialer)
        if self.peer is None:
            raise ProtocolError("E_UNKNOWN")
        if self.peer.name != stamp:
            raise ProtocolError("E_STAMP")
        if self.peer.state != "active":
            raise ProtocolError("E_REVOKED")
        h.check_clock_and_policy(settings, now)
        if (dialer, ephemeral) in seen:
            raise ProtocolError("E_REPLAY")
        verify(dialer, data[168:232], "hello1", ns + data[:168])
        seen.add((dialer, ephemeral))
        h.check_registry(registry)
        secret = identity.fresh("ephemeral")
        time = now_ms()
        body = (
            head(2, settings, registry, time)
            + H(data)
            + x25519_public(secret)
            + identity.fresh("challenge")
        )
        body += identity.sign("hello2", ns + body)
        T, keys = derive(ns, data, body, secret, ephemeral)
        self.hello2 = body + MAC(keys["confirm listener"], T)
        self.expected = MAC(keys["confirm dialer"], T)
        self.channel = Channel(
            namespace, identity.public, dialer, False, keys, h.time, time - 2**20
        )

    def confirm(self, data):
        if len(data) != SIZES[3]:
            raise ProtocolError("E_SIZE")
        if data[4:16] != self.channel.id:
            raise ProtocolError("E_CONTINUATION")
        if not equal(data[16:], self.expected):
            raise ProtocolError("E_CONFIRM")
        return self.channel


def refuse_channel_unknown(key_id, now):
    return struct.pack(">BBHQ", 1, 4, CHANNEL_UNKNOWN, now) + key_id + bytes(20)
