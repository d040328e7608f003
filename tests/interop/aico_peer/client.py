# SPDX-License-Identifier: Apache-2.0
"""A component of the bus: the link to the broker, channels, groups, messages.

One thread, one loop: Client.until(condition, seconds) does everything that is due until the
condition holds. What arrives for the application is appended to `events`.
"""
import json
import os
import random
import struct
import time

import zmq

from . import channel, envelope, group, records
from .crypto import ProtocolError, lp8, lp16, now_ms
from .documents import filter_matches, receipt_text, registry_accept
from .records import CONTROL, EVENT, REPLY, REQUEST

WINDOW = 1 << 20
ERRORS = {
    8: "E_PROTOCOL", 20: "E_DENIED", 23: "E_NO_RESPONDER", 24: "E_PEER_UNKNOWN", 25: "E_PEER_AWAY",
    30: "E_DUPLICATE", 31: "E_DRAIN", 50: "E_SIZE", 51: "E_VERSION", 53: "E_SUITE", 54: "E_TARGET",
    56: "E_UNKNOWN", 57: "E_STAMP", 58: "E_REVOKED", 60: "E_CLOCK", 61: "E_POLICY", 63: "E_REPLAY",
    64: "E_SIGNATURE", 65: "E_EQUIVOCATION", 66: "E_DH", 70: "CHANNEL_UNKNOWN", 82: "E_KEY",
}  # fmt: skip
MIN_REQUEST_FRESHNESS = 60


class Timeout(Exception):
    """What was waited for did not happen in time."""


class Refused(Exception):
    """The broker or a peer said no."""


class Message:
    def __init__(self, **fields):
        self.__dict__.update(fields)

    def __repr__(self):
        return f"Message({self.__dict__})"


class Peer:
    """Everything about one other identity."""

    def __init__(self, component):
        self.component = component
        self.dial = None
        self.last_hello1 = None
        self.half_open = {}  # channel id: Listen
        self.channels = {}  # channel id: Channel
        self.unusable = set()  # channel ids the peer does not know
        self.confirm = None  # (Hello3, when to say it again)
        self.waiting = []  # calls to make when there is a channel
        self.early = []  # envelopes that overtook Hello3
        self.format0_seen = set()

    def best(self):
        usable = [c for c in self.channels.values() if c.id not in self.unusable]
        return max(usable, key=lambda c: c.age, default=None)


class Client:
    def __init__(self, home, name, identity, endpoint, registry, settings, log=lambda text: None):
        self.home, self.name, self.identity = home, name, identity
        self.registry, self.settings, self.log = registry, settings, log
        self.ns = settings.namespace.encode()
        self.events, self.errors = [], []
        self.instance = int.from_bytes(os.urandom(8), "big") | 1
        self.numbers, self.topics = {1: None}, {1: "$bus/control", 2: "$bus/heads"}
        self.by_name = {}
        self.last_id, self.settled, self.refused = 0, 0, {}
        self.answers = {}
        self.credit, self.unsent, self.returned = 0, [], 0
        self.peers, self.seen_hellos = {}, set()
        self.senders, self.receivers, self.held = {}, {}, {}
        self.asked = {}  # (publisher, filter): when KEY_REQUEST went out last
        self.keys_given, self.epochs_seen, self.trailers_seen = set(), set(), set()
        self.requests, self.fragments, self.incoming_registry = {}, {}, b""
        self.hellos = {}  # PUBLISH id of a Hello1: whom it was for
        self.hold_credit = False
        self.pieces = {}
        self.last_said = None
        self.claims = []  # what Refuse said: (code, what it is about)
        self.welcome, self.bye, self.heads_due = None, None, 0
        self.subscriptions = {}
        self.dialed, self.listened, self.pongs, self.heads_seen = 0, 0, 0, 0
        context = zmq.Context.instance()
        self.socket = context.socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 2000)
        self.socket.setsockopt(zmq.RECONNECT_IVL, -1)
        self.socket.curve_publickey = identity.transport_public
        self.socket.curve_secretkey = identity.transport_secret
        self.socket.curve_serverkey = registry.broker().transport
        self.socket.connect(endpoint)
        self.poller = zmq.Poller()
        self.poller.register(self.socket, zmq.POLLIN)

    # ---- the link

    def connect(self, seconds=10):
        self._send(records.hello(self.instance, self.registry, WINDOW, self.name))
        self.until(lambda: self.welcome, seconds, "WELCOME")

    def close(self):
        """The last HEADS of each generation, FINAL on each channel, BYE."""
        self._heads()
        for peer in self.peers.values():
            for c in list(peer.channels.values()):
                if c is peer.best():
                    self._final(peer, c)
        self._pump()
        self._send(records.record(records.BYE, lp16(b"")))
        self.socket.close()

    def until(self, condition, seconds, what="the condition"):
        end = time.monotonic() + seconds
        while not condition():
            if self.bye is not None:
                raise Refused(f"BYE {self.bye}")
            left = end - time.monotonic()
            if left <= 0:
                raise Timeout(f"{what} did not come within {seconds} s")
            if any(s is self.socket for s, _ in self.poller.poll(min(left, 0.1) * 1000)):
                while True:
                    try:
                        data = self.socket.recv(zmq.NOBLOCK)
                    except zmq.Again:
                        break
                    if self.socket.getsockopt(zmq.RCVMORE):
                        raise ValueError("a message of several parts")
                    for r in records.frames(data):
                        self._on_record(*r)
            self._due()
            self._pump()

    def _send(self, *parts):
        self.socket.send(b"\x01" + b"".join(parts))

    def _number(self):
        self.last_id += 1
        return self.last_id

    def _pump(self):
        """Sends what credit allows, and returns credit."""
        if self.returned > WINDOW // 4 and not self.hold_credit:
            self._send(records.record(records.CREDIT, struct.pack(">I", self.returned)))
            self.returned = 0
        while self.unsent and self.unsent[0][1] <= self.credit:
            data, cost = self.unsent.pop(0)
            self.credit -= cost
            self._send(data)

    def _publish(self, topic, to, delivery, payload, **more):
        number = self._number()
        if delivery != CONTROL:
            self.last_said = (topic, to, delivery, payload, more)
        for data in records.publish(number, topic, to, delivery, payload, **more):
            if delivery == CONTROL:
                self._send(data)
            else:
                self.unsent.append((data, len(data)))
        self._pump()
        return number

    def _on_record(self, kind, flags, aux, body, size):
        r = records.Reader(body)
        if kind == records.WELCOME:
            self.credit, self.self_number = r.u32(), r.u32()
            self.welcome = True
        elif kind == records.BYE:
            self.bye = ERRORS.get(aux, aux)
        elif kind == records.PING:
            self._send(records.record(records.PONG, body))
        elif kind == records.CREDIT:
            self.credit += r.u32()
        elif kind == records.REGISTRY:
            version, total, offset, piece = r.u64(), r.u32(), r.u32(), r.rest()
            self.incoming_registry = piece if offset == 0 else self.incoming_registry + piece
            if len(self.incoming_registry) == total and version > self.registry.version:
                self._on_registry(self.incoming_registry)
        elif kind == records.COMPONENT:
            number, identity, name = r.u32(), r.take(32), r.lp8().decode()
            if number in self.numbers and number != 1:
                self._peer_is_another_process(identity)
            self.numbers[number], self.by_name[name] = (identity, name), number
        elif kind == records.TOPIC:
            number = r.u32()
            self.topics[number] = r.lp8().decode()
        elif kind in (records.OK, records.RESOLVED):
            number = r.u64()
            self.answers[number] = r.u32()
        elif kind == records.REFUSE:
            number, line, pattern, hint = r.u64(), r.u32(), r.lp8().decode(), r.lp16().decode()
            code = ERRORS.get(aux, aux)
            self.refused[number] = f"{code} rule line {line} {pattern} {hint}".strip()
            if number in self.requests:
                self.requests[number]["refused"] = code
            peer = self.hellos.pop(number, None)
            if peer:
                # Nobody to shake hands with: whoever waits for the channel is told.
                peer.dial = None
                waiting, peer.waiting = peer.waiting, []
                for _, gone in waiting:
                    gone(code)
        elif kind == records.ANSWER:
            number, total, offset, piece = r.u64(), r.u32(), r.u32(), r.rest()
            whole = piece if offset == 0 else self.pieces[number] + piece
            self.pieces[number] = whole
            if len(whole) == total:
                self.answers[number] = self.pieces.pop(number)
        elif kind == records.ACK:
            self.settled = max(self.settled, r.u64())
        elif kind == records.GAP:
            gap = records.Gap(flags, aux, body)
            topic = gap.topic if gap.topic is not None else self.topics[gap.topic_number]
            self.events.append(
                Message(kind="gap", topic=topic, count=gap.count, cause=ERRORS.get(gap.cause, gap.cause))
            )
            self._skip(self._stamp(gap.sender), topic, gap.count)
        elif kind == records.DELIVER:
            self._on_deliver(records.Deliver(flags, aux, body))
            if not flags & records.DIRECT:
                self.returned += size
        elif kind not in (records.PONG, records.AUDIT):  # a head of the audit log: no witness here
            raise ValueError(f"record of type {kind}")

    def _on_registry(self, document):
        registry = registry_accept(document, self.registry, self.settings.namespace)
        if registry.version == self.registry.version and registry.hash != self.registry.hash:
            raise ProtocolError("E_EQUIVOCATION")
        if registry.version <= self.registry.version:
            return
        before, self.registry = self.registry, registry
        for peer in list(self.peers.values()):
            now = registry.by_identity(peer.component.identity)
            if now is None or now.state != "active":
                del self.peers[peer.component.identity]
            else:
                peer.component = now
        for pattern, sender in list(self.senders.items()):
            rule = next((x for x in registry.rules if x.filter == pattern), None)
            if rule is None:
                del self.senders[pattern]
                continue
            old = {x.identity for x in sender.readers}
            readers = registry.readers(rule, self.identity.public)
            new = {x.identity for x in readers}
            fresh = group.Sender(self.ns, self.identity, rule, readers, sender.gen)
            if old - new or fresh.trailer != sender.trailer or rule.padded != sender.rule.padded:
                self._heads()
                self.senders[pattern] = fresh
                for reader in readers:
                    if (reader.name, pattern) in self.keys_given:
                        self._give_key(self._peer(reader), fresh, 0)
            elif new - old:
                sender.add(readers)
                sender.rule = rule
        self.log(f"registry {before.version} -> {registry.version}")

    def _stamp(self, number):
        known = self.numbers.get(number)
        return known[0] if known else None

    # ---- what arrives

    def _on_deliver(self, d):
        topic = d.topic if d.topic is not None else self.topics[d.topic_number]
        if d.sender == 1:
            self.events.append(Message(kind="presence", topic=topic, payload=d.payload))
            return
        identity, name = self.numbers[d.sender]
        if d.total is not None:
            key = (d.sender, d.direct, d.id)
            whole = self.fragments.get(key, b"") + d.payload
            if len(whole) < d.total:
                self.fragments[key] = whole
                return
            self.fragments.pop(key, None)
            d.payload = whole
        component = self.registry.by_identity(identity)
        if component is None or component.name != name or component.state != "active":
            self.errors.append(f"{name}: E_UNKNOWN")
            return
        try:
            if d.direct and d.delivery == CONTROL and d.payload[:1] == b"\x01":
                self._on_handshake(self._peer(component), d.payload)
            elif not d.direct and self._is_clear(topic):
                self._event(component, topic, d, [], d.payload, None)
            elif d.direct:
                self._on_direct(self._peer(component), topic, d)
            else:
                self._on_group(component, topic, d)
        except ProtocolError as error:
            self.log(f"{name} {topic}: {error}")
            self.errors.append(f"{name} {topic}: {error.code}")

    def _is_clear(self, topic):
        rule = self.registry.rule(topic)
        return rule is not None and rule.seal == "none"

    def _event(self, component, topic, d, headers, payload, sent):
        for key, value in headers:
            if key == "$receipt" and d.delivery == EVENT:
                self._receipt(component, topic, value, payload)
        headers = [(key, value) for key, value in headers if key != "$receipt"]
        self.events.append(
            Message(
                kind="message",
                delivery=d.delivery,
                topic=topic,
                sender=component.name,
                headers=headers,
                payload=payload,
                time=sent,
                direct=d.direct,
                id=d.id,
            )
        )

    def _receipt(self, publisher, topic, asked, payload):
        """What is handed to the application here has been taken."""
        run, number, taken = int(asked[1:17], 16), int(asked[17:], 16), now_ms()
        said = struct.pack(">BQQQ", 2 if asked[0] == "s" else 1, run, number, taken)
        if asked[0] == "s":
            sender, me = (publisher.name, publisher.identity), (self.name, self.identity.public)
            text = receipt_text(self.settings.namespace, sender, me, topic, run, number, taken, payload)
            said += self.identity.sign("receipt", text)
        peer = self._peer(publisher)
        self.with_channel(peer, lambda c: self._control_on(peer, c, b"\x0c" + said))

    def _peer(self, component):
        return self.peers.setdefault(component.identity, Peer(component))

    def _peer_is_another_process(self, identity):
        peer = self.peers.get(identity)
        if peer:
            peer.unusable.update(peer.channels)
            peer.dial = None

    # ---- handshake

    def _to(self, peer):
        return self.by_name.get(peer.component.name, peer.component.name)

    def say(self, peer, payload):
        return self._publish(records.TOPIC_CONTROL, self._to(peer), CONTROL, payload)

    def _dial(self, peer):
        now = now_ms()
        if peer.dial and now - peer.dial.begun < self.settings.handshake_timeout_ms // 4:
            return
        later = max((c.age[0] + 1 for c in peer.channels.values()), default=0)
        at = later if now < later < now + self.settings.synchrony_ms else now
        peer.dial = channel.Dial(
            self.ns, self.identity, self.settings, self.registry, peer.component, at
        )
        peer.last_hello1 = peer.dial.hello1
        self.hellos[self.say(peer, peer.dial.hello1)] = peer

    def with_channel(self, peer, call, gone=lambda code: None):
        """Makes `call(channel)` now or as soon as there is one, or `gone(code)` if the peer is away."""
        best = peer.best()
        if best:
            call(best)
        else:
            peer.waiting.append((call, gone))
            self._dial(peer)

    def _on_handshake(self, peer, data):
        if self.speaks_format0():
            return  # the seed knows no handshake
        kind = data[1] if len(data) > 1 else 0
        now = now_ms()
        if kind == 1:
            if peer.dial and self.identity.public < peer.component.identity:
                return
            half = channel.Listen(
                self.ns,
                self.identity,
                self.settings,
                self.registry,
                peer.component.name,
                data,
                now,
                self.seen_hellos,
            )
            peer.dial = None
            while len(peer.half_open) >= 3:
                peer.half_open.pop(next(iter(peer.half_open)))
            peer.half_open[half.channel.id] = half
            self.say(peer, half.hello2)
        elif kind == 2:
            if not peer.dial:
                raise ProtocolError("E_CONTINUATION")
            established, hello3 = peer.dial.answer(data, self.registry, now)
            peer.dial = None
            self.say(peer, hello3)
            peer.confirm = (hello3, time.monotonic() + self.settings.handshake_timeout_ms / 8000)
            self.dialed += 1
            self._established(peer, established)
            self.ping(peer)
        elif kind == 3:
            half = peer.half_open.get(data[4:16])
            if half is None:
                if data[4:16] in peer.channels:
                    return
                raise ProtocolError("E_CONTINUATION")
            established = half.confirm(data)
            del peer.half_open[established.id]
            self.listened += 1
            self._established(peer, established)
            early, peer.early = peer.early, []
            for topic, d in early:
                self._on_direct(peer, topic, d)
        elif kind == 4:
            code = int.from_bytes(data[2:4], "big")
            self.log(f"{peer.component.name} claims {ERRORS.get(code, code)}")
            self.claims.append((ERRORS.get(code, code), data[12:44]))
            if code == channel.CHANNEL_UNKNOWN and data[12:24] in peer.channels:
                peer.unusable.add(data[12:24])
                if peer.best() is None:
                    self._dial(peer)
        else:
            raise ProtocolError("E_TYPE")

    def _established(self, peer, established):
        before = peer.best()
        peer.channels[established.id] = established
        if before and peer.best() is established:
            # FINAL is the last word on the one we leave.
            self._final(peer, before)
        calls, peer.waiting = peer.waiting, []
        for call, _ in calls:
            call(peer.best())

    # ---- channels

    def _control_on(self, peer, c, payload):
        data, _ = c.seal("$bus/control", CONTROL, payload, self.settings.padded)
        self.say(peer, data)

    # FINAL, PING and PONG name the number after their own.

    def _final(self, peer, c):
        self._control_on(peer, c, b"\x06" + struct.pack(">I", c.next + 1))

    def ping(self, peer):
        self.with_channel(
            peer, lambda c: self._control_on(peer, c, b"\x07" + c.id + struct.pack(">I", c.next + 1))
        )

    def _on_direct(self, peer, topic, d):
        h = envelope.Head(d.payload)
        if h.format == 0:
            self._on_format0(peer, topic, d, h)
            return
        c = peer.channels.get(h.key_id)
        if c is None:
            if h.key_id in peer.half_open:
                if len(peer.early) < 64:
                    peer.early.append((topic, d))
                return
            self.say(peer, channel.refuse_channel_unknown(h.key_id, now_ms()))
            raise ProtocolError("E_KEY")
        ref, request = bytes(16), None
        if d.delivery == REPLY:
            request = self.requests.get(d.request)
            if request is None or request["peer"] is not peer or request["topic"] != topic:
                raise ProtocolError("E_NO_REQUEST")
            ref = request["ref"]
        messages, gap, sent = c.open(h, topic, d.delivery, self.settings.padded, ref)
        self.epochs_seen.add((peer.component.name, "channel", h.epoch))
        if peer.confirm and c.dialer:
            peer.confirm = None
        if gap:
            self.events.append(
                Message(kind="gap", topic=None, count=gap, cause=f"channel of {peer.component.name}")
            )
        for headers, payload in messages:
            if d.delivery == CONTROL:
                if topic != "$bus/control":
                    raise ProtocolError("E_TOPIC")
                self._on_control(peer, c, payload)
            elif d.delivery == REPLY:
                request["reply"] = (headers, payload)
                del self.requests[d.request]
            else:
                self._check_rights(peer.component, topic, d.delivery, sent)
                self._event(peer.component, topic, d, headers, payload, sent)
                self.events[-1].ref = h.ref

    def _check_rights(self, component, topic, delivery, sent):
        me = self.registry.by_identity(self.identity.public)
        rule = self.registry.rule(topic)
        if not self.registry.may(component, "publish", topic) or not self.registry.may(
            me, "subscribe", topic
        ):
            raise ProtocolError("E_DENIED")
        freshness = rule.freshness
        if delivery in (REQUEST, REPLY):
            freshness = max(freshness, MIN_REQUEST_FRESHNESS)
        if freshness and abs(now_ms() - sent) > 1000 * freshness + self.settings.synchrony_ms:
            raise ProtocolError("E_STALE")

    def _on_control(self, peer, c, data):
        kind, body = data[0], records.Reader(data[1:])
        if kind == 1:
            self._on_group_key(peer, data)
        elif kind == 2:
            pattern, _, epoch = body.lp16().decode(), body.take(12), body.u32()
            sender = self.senders.get(pattern)
            rule = next((x for x in self.registry.rules if x.filter == pattern), None)
            if rule is None or not peer.component.is_one_of(rule.subscribe):
                self._control_on(peer, peer.best(), b"\x03\x00\x14" + lp16(pattern.encode()))
            elif sender is None:
                self._control_on(peer, peer.best(), b"\x03\x00\x52" + lp16(pattern.encode()))
            else:
                self._give_key(peer, sender, epoch)
        elif kind == 3:
            code, pattern = body.u16(), body.lp16().decode()
            self.errors.append(f"{peer.component.name} {pattern}: {ERRORS.get(code, code)}")
        elif kind == 4:
            self._on_registry(data[1:])
        elif kind == 6:
            c.ended = True
        elif kind == 7:
            self._control_on(peer, c, b"\x08" + body.take(12) + struct.pack(">I", c.next + 1))
        elif kind == 8:
            self.pongs += 1
        elif kind != 10:
            self.log(f"control message {kind}")

    # ---- format 0

    def _on_format0(self, peer, topic, d, h):
        if not peer.component.format0 and not self.speaks_format0():
            raise ProtocolError("E_FORMAT")
        if h.nonce in peer.format0_seen:
            raise ProtocolError("E_REPLAY")
        # The sender of a message is crypto_kx's client, so we are its server.
        (client_receive, _), (server_receive, _) = self.identity.format0_keys(peer.component.identity)
        payload, metadata = envelope.format0_read(h, [server_receive, client_receive])
        if metadata.get("topic", topic) != topic:
            raise ProtocolError("E_TOPIC")
        if "timestamp" in metadata:
            if abs(now_ms() - 1000 * metadata["timestamp"]) > self.settings.synchrony_ms:
                raise ProtocolError("E_STALE")
        peer.format0_seen.add(h.nonce)
        if d.delivery == REPLY:
            request = self.requests.pop(d.request)
            request["reply"] = ([], payload)
            request["metadata"] = metadata
            return
        self._event(peer.component, topic, d, [], payload, None)
        self.events[-1].metadata = metadata

    def speaks_format0(self):
        return self.registry.by_identity(self.identity.public).format0

    def _seal_format0(self, peer, topic, payload, metadata=None, as_server=False):
        (_, as_client), (_, answer) = self.identity.format0_keys(peer.component.identity)
        send = answer if as_server else as_client
        if metadata is None:
            metadata = {"topic": topic, "timestamp": now_ms() / 1000}
        return envelope.format0_write(send, metadata, payload)

    # ---- groups

    def _skip(self, publisher, topic, count):
        """The broker has said that these are lost: they are not reported twice. What waits for a
        key came before."""
        waiting = [held for (identity, _), held in self.held.items() if identity == publisher]
        for held in waiting:
            held.append((topic, count))
        for (identity, _), receiver in self.receivers.items():
            if identity == publisher and not waiting:
                receiver.skip(topic, count)

    def _on_group(self, component, topic, d):
        h = envelope.Head(d.payload)
        receiver = self.receivers.get((component.identity, h.key_id))
        if receiver is None or h.epoch < receiver.epoch:
            if topic == "$bus/heads":
                return
            self.held.setdefault((component.identity, h.key_id), []).append((topic, d))
            self._ask_key(component, self.registry.rule(topic).filter, h.key_id, h.epoch)
            return
        rule = next(x for x in self.registry.rules if x.filter == receiver.filter)
        if topic != "$bus/heads":
            if self.registry.rule(topic) is not rule:
                raise ProtocolError("E_KEY")
            if not component.is_one_of(rule.publish):
                raise ProtocolError("E_DENIED")
        messages, gap, sent = receiver.open(h, topic, d.delivery, rule.padded)
        self.epochs_seen.add((component.name, receiver.filter, h.epoch))
        self.trailers_seen.add((component.name, h.trailer, h.format, h.padded))
        if gap and topic != "$bus/heads":
            self.events.append(Message(kind="gap", topic=topic, count=gap, cause=component.name))
        for headers, payload in messages:
            if topic == "$bus/heads":
                self._on_heads(component, payload)
            else:
                self._event(component, topic, d, headers, payload, sent)

    def _on_heads(self, component, data):
        r = records.Reader(data)
        if r.u8() != 5:
            raise ProtocolError("E_PROTOCOL")
        self.heads_seen += 1
        while not r.done():
            gen, count = r.u64(), r.u16()
            receiver = next(
                (x for (i, _), x in self.receivers.items() if i == component.identity and x.gen == gen),
                None,
            )
            for topic, following, messages in group.stands(r, count):
                if receiver and any(filter_matches(f, topic) for f in self.subscriptions.values()):
                    gap = receiver.heads(topic, following, messages)
                    if gap:
                        self.events.append(
                            Message(kind="gap", topic=topic, count=gap, cause=component.name)
                        )

    def _ask_key(self, component, pattern, key_id=bytes(12), epoch=0, again=False):
        now = time.monotonic()
        if not again and now - self.asked.get((component.identity, pattern), 0) < 1:
            return
        self.asked[(component.identity, pattern)] = now
        peer = self._peer(component)
        known = [
            x.gen
            for (i, _), x in self.receivers.items()
            if i == component.identity and x.filter == pattern
        ]
        request = records.key_request(pattern, key_id, epoch, max(known, default=0))
        self.with_channel(peer, lambda c: self._control_on(peer, c, request))

    def _on_group_key(self, peer, data):
        component = peer.component
        receiver = group.Receiver(self.ns, component.identity, self.identity.public, data)
        rule = next((x for x in self.registry.rules if x.filter == receiver.filter), None)
        me = self.registry.by_identity(self.identity.public)
        if rule is None or not component.is_one_of(rule.publish) or not me.is_one_of(rule.subscribe):
            raise ProtocolError("E_DENIED")
        newest = max(
            (
                x.gen
                for (i, _), x in self.receivers.items()
                if i == component.identity and x.filter == receiver.filter
            ),
            default=0,
        )
        if receiver.gen < newest:
            return
        asked = (component.identity, receiver.filter) in self.asked
        if not asked:
            receiver.list = None
        known = self.receivers.get((component.identity, receiver.id))
        if known is None:
            self.receivers[(component.identity, receiver.id)] = receiver
        elif known.list is None:
            known.list = receiver.list
        if not asked:
            self._ask_key(component, receiver.filter, receiver.id, receiver.epoch)
        for topic, d in self.held.pop((component.identity, receiver.id), []):
            if isinstance(d, int):
                self.receivers[(component.identity, receiver.id)].skip(topic, d)
                continue
            try:
                self._on_group(component, topic, d)
            except ProtocolError as error:
                self.errors.append(f"{component.name} {topic}: {error.code}")

    def _give_key(self, peer, sender, epoch):
        self.keys_given.add((peer.component.name, sender.rule.filter))
        self.with_channel(
            peer, lambda c: self._control_on(peer, c, sender.key_message(peer.component, epoch))
        )

    def _heads(self):
        for sender in self.senders.values():
            data = sender.heads()
            if data:
                self._publish(
                    records.TOPIC_HEADS, 0, CONTROL, sender.seal("$bus/heads", CONTROL, [data])
                )
            sender.traffic.clear()

    # ---- what is due by the clock

    def _due(self):
        now = time.monotonic()
        for peer in list(self.peers.values()):
            if peer.confirm and now >= peer.confirm[1]:
                self.say(peer, peer.confirm[0])
                self.ping(peer)
                peer.confirm = (peer.confirm[0], now + self.settings.handshake_timeout_ms / 8000)
            jitter = random.uniform(1, 1.2)
            if peer.dial and now_ms() - peer.dial.begun > self.settings.handshake_timeout_ms / 4 * jitter:
                peer.dial = None
                self._dial(peer)
        for (identity, key_id), waiting in list(self.held.items()):
            component = self.registry.by_identity(identity)
            topic, d = waiting[0]
            h = envelope.Head(d.payload)
            self._ask_key(component, self.registry.rule(topic).filter, key_id, h.epoch)
        if now > self.heads_due:
            self.heads_due = now + self.settings.keepalive_ms / 1000
            self._heads()

    # ---- for the application

    def subscribe(self, pattern, serve=False, seconds=10):
        number = self._number()
        self.subscriptions[number] = pattern
        self._send(records.subscribe(number, number, pattern, serve))
        self.until(lambda: number in self.answers or number in self.refused, seconds, "OK")
        if number in self.refused:
            raise Refused(self.refused[number])

    def sender_of(self, topic):
        """The group a topic is published in."""
        rule = self.registry.rule(topic)
        if rule is None:
            raise Refused(f"no rule for {topic}")
        if rule.filter not in self.senders:
            readers = self.registry.readers(rule, self.identity.public)
            self.senders[rule.filter] = group.Sender(self.ns, self.identity, rule, readers)
        return self.senders[rule.filter]

    def publish(self, topic, contents, headers=(), batch=False, damage=None):
        """By subscription, in the group of its rule. Returns the id; settle() waits for its ACK."""
        if self._is_clear(topic):
            return self._publish(topic, 0, EVENT, contents[0])
        data = self.sender_of(topic).seal(topic, EVENT, contents, headers, batch)
        return self._publish(topic, 0, EVENT, damage(data) if damage else data)

    def say_again(self):
        """What was published last, byte for byte, as somebody who replays it would."""
        topic, to, delivery, payload, more = self.last_said
        return self._publish(topic, to, delivery, payload, **more)

    def redial(self, peer):
        """Another channel beside the one that works: make before break."""
        before = peer.best()
        peer.dial = None
        self._dial(peer)
        return lambda: peer.best() not in (None, before)

    def stdin_is_ready(self):
        return any(fd == 0 for fd, _ in self.poller.poll(0))

    def query(self, what, argument="", seconds=10):
        number = self._number()
        body = struct.pack(">Q", number) + lp8(what.encode()) + lp8(argument.encode())
        self._send(records.record(records.QUERY, body))
        self.until(lambda: number in self.answers or number in self.refused, seconds, "ANSWER")
        if number in self.refused:
            raise Refused(self.refused[number])
        return json.loads(self.answers.pop(number))

    def copies(self, topic, payload, headers=(), seconds=10):
        """One to each reader of a topic that is sealed over channels; how many took it."""
        readers = self.registry.readers(self.registry.rule(topic), self.identity.public)
        sent = [
            self.send_direct(self._peer(r), topic, EVENT, payload, headers, copy=True) for r in readers
        ]
        self.until(lambda: all(sent), seconds, "a channel with each reader, or a refusal")
        numbers = [s[0] for s in sent if isinstance(s[0], int)]
        self.until(lambda: all(self.settled >= n for n in numbers), seconds, "ACK")
        return sum(1 for n in numbers if n not in self.refused)

    def settle(self, number, seconds=10):
        self.until(lambda: self.settled >= number, seconds, f"ACK of {number}")
        if number in self.refused:
            raise Refused(self.refused[number])

    def peer_named(self, name):
        component = self.registry.by_name(name)
        if component is None:
            raise Refused(f"{name}: E_PEER_UNKNOWN")
        return self._peer(component)

    def resolve(self, topic, seconds=10):
        number = self._number()
        self._send(records.record(records.RESOLVE, struct.pack(">Q", number) + lp8(topic.encode())))
        self.until(lambda: number in self.answers or number in self.refused, seconds, "RESOLVED")
        if number in self.refused:
            raise Refused(self.refused[number])
        return self.peer_named(self.numbers[self.answers[number]][1])

    def send_direct(
        self, peer, topic, delivery, payload, headers=(), metadata=None, waiting=None, pose=False, **more
    ):
        """A list that holds the id as soon as it is on its way, or why it cannot be. `waiting` gets
        the "reply" or "refused" of a request."""
        sent = []
        waiting = {} if waiting is None else waiting

        def go(c):
            bound = more.pop("ref", bytes(16))
            data, ref = c.seal(topic, delivery, payload, self.settings.padded, bound, headers)
            sent.append(self._publish(topic, self._to(peer), delivery, data, **more))
            if delivery == REQUEST:
                waiting.update(peer=peer, topic=topic, ref=ref)
                self.requests[sent[0]] = waiting

        if pose or peer.component.format0 or self.speaks_format0():
            data = self._seal_format0(peer, topic, payload, metadata, more.pop("as_server", False))
            more.pop("ref", None)
            sent.append(self._publish(topic, self._to(peer), delivery, data, **more))
            if delivery == REQUEST:
                waiting.update(peer=peer, topic=topic, ref=None)
                self.requests[sent[0]] = waiting
        else:
            self.with_channel(peer, go, sent.append)
        return sent

    def request(self, topic, payload, headers=(), seconds=10):
        peer = self.resolve(topic, seconds)
        waiting = {}
        sent = self.send_direct(
            peer, topic, REQUEST, payload, headers, waiting=waiting, timeout_ms=int(1000 * seconds)
        )
        self.until(lambda: sent, seconds, "a channel")
        if not isinstance(sent[0], int):
            raise Refused(sent[0])
        self.until(lambda: "reply" in waiting or "refused" in waiting, seconds, "the reply")
        if "refused" in waiting:
            raise Refused(waiting["refused"])
        return waiting["reply"]

    def reply(self, message, payload, headers=(), **more):
        peer = self.peer_named(message.sender)
        if hasattr(message, "ref"):
            more["ref"] = message.ref
        sent = self.send_direct(
            peer, message.topic, REPLY, payload, headers, request=message.id, **more
        )
        self.until(lambda: sent, 10, "a channel")
        return sent[0]

    def take(self, kind, **want):
        """Takes the first event of that kind out of `events`, or None."""
        for event in self.events:
            if event.kind == kind and all(getattr(event, k, None) == v for k, v in want.items()):
                self.events.remove(event)
                return event
        return None
