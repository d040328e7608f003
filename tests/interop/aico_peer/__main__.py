# SPDX-License-Identifier: Apache-2.0
"""python3 -m aico_peer vectors FILE | [--as NAME] [--broker URL] COMMAND ...: see --help.

Speaks as aico-bus does, so that scripts can put one in the other's place; tests/interop/run.sh does.
"""
import argparse
import json
import os
import sys
import time

import zmq

from . import vectors
from .channel import Dial
from .client import Client, Refused, Timeout
from .crypto import H, ProtocolError, lp8, now_ms
from .documents import Settings, key_file_load, receipts_parse, registry_load
from .envelope import MAGIC
from .records import REQUEST


def arguments():
    p = argparse.ArgumentParser(prog="aico_peer")
    p.add_argument("--as", dest="name", default=os.environ.get("AICO_IDENTITY"))
    p.add_argument("--home", default=os.environ.get("AICO_HOME"))
    p.add_argument("--broker")
    p.add_argument("--timeout", type=float, default=20)
    p.add_argument("-v", "--verbose", action="store_true")
    sub = p.add_subparsers(dest="command", required=True)
    c = sub.add_parser("vectors", help="check the peer itself against the test vectors")
    c.add_argument("file")
    c = sub.add_parser("receipt", help="check a file of receipts against the registry")
    c.add_argument("file")
    c.add_argument("content")
    c = sub.add_parser("sub", help="print messages and gaps as JSON")
    c.add_argument("filters", nargs="+")
    c.add_argument("--count", type=int, default=1, help="end after so many messages")
    c.add_argument("--epoch", type=int, default=0, help="and when one of an epoch so high was read")
    c.add_argument("--total", type=int, default=0, help="and when so many were read or reported")
    c.add_argument("--gaps", type=int, default=0, help="and when so many were reported missing")
    c.add_argument("--heads", type=int, default=0, help="and when so many HEADS were read")
    c.add_argument("--stall", type=int, default=0, help="no credit before the broker dropped so many")
    c.add_argument("--ready-fd", type=int)
    c = sub.add_parser("pub", help="publish, and wait until the readers have the key")
    c.add_argument("topic")
    c.add_argument("texts", nargs="*")
    c.add_argument("--lines", action="store_true", help="each line of stdin, when it comes")
    c.add_argument("--size", type=int, default=0, help="fill each text up to so many bytes")
    c.add_argument("--header", action="append", default=[])
    c.add_argument("--batch", action="store_true", help="all of them in one envelope")
    c.add_argument("--step", type=int, default=0, help="step the epoch so often after each")
    c.add_argument("--lose", type=int, default=0, help="never send so many after the first")
    c.add_argument("--lose-last", type=int, default=0, help="never send so many after the last")
    c.add_argument("--damage", type=int, help="flip a bit of this byte of the first envelope")
    c.add_argument("--to", help="to one component")
    c.add_argument("--metadata", help="of format 0, in place of topic and timestamp")
    c.add_argument("--pose", action="store_true", help="format 0 whatever the registry says")
    c.add_argument("--twice", action="store_true", help="and the same bytes again")
    c.add_argument("--readers", type=int, default=1, help="how many must have asked for the key")
    c = sub.add_parser("request", help="ask and print the reply")
    c.add_argument("topic")
    c.add_argument("text")
    c.add_argument("--header", action="append", default=[])
    c.add_argument("--repeat", type=int, default=1)
    c = sub.add_parser("reply", help="answer with what came and our name behind it")
    c.add_argument("topic")
    c.add_argument("--count", type=int, default=1)
    c.add_argument("--as-server", action="store_true", help="of format 0: with the answer key")
    c.add_argument("--ready-fd", type=int)
    c = sub.add_parser("ping", help="over the channel of a component")
    c.add_argument("peer")
    c.add_argument("--redial", type=int, default=0, help="and again over so many later channels")
    c = sub.add_parser("probe", help="Hellos that a listener must refuse, and an unknown channel")
    c.add_argument("peer")
    return p.parse_args()


def headers(words):
    return [tuple(w.split("=", 1)) for w in words]


def ready(fd):
    if fd is not None:
        os.write(fd, b"\n")
        os.close(fd)


def show(event):
    if event.kind == "gap":
        line = {"gap": {"topic": event.topic, "count": event.count, "cause": event.cause}}
    elif event.kind == "message":
        line = {"topic": event.topic, "sender": event.sender}
        if len(event.payload) > 1000:
            line["size"] = len(event.payload)
        line["payload"] = event.payload[:1000].decode()
        if event.headers:
            line["headers"] = dict(event.headers)
        if hasattr(event, "metadata"):
            line["metadata"] = event.metadata
    else:
        line = {"presence": json.loads(event.payload)}
    print(json.dumps(line), flush=True)


def sub(client, a):
    for pattern in a.filters + ["$bus/heads"]:
        client.subscribe(pattern)
    ready(a.ready_fd)
    messages = gaps = 0
    client.hold_credit = a.stall > 0
    end = time.monotonic() + a.timeout
    while client.hold_credit and time.monotonic() < end:
        dropped = sum(client.query("status")["dropped"].values())
        client.hold_credit = dropped < a.stall
        turn = time.monotonic() + 0.2
        client.until(lambda: time.monotonic() > turn, 1)  # pylint: disable=cell-var-from-loop

    def enough():
        nonlocal messages, gaps
        while client.events:
            event = client.events.pop(0)
            show(event)
            messages += event.kind == "message"
            gaps += event.count if event.kind == "gap" else 0
        epoch = max((e for _, _, e in client.epochs_seen), default=0)
        return (
            messages >= a.count
            and gaps >= a.gaps
            and messages + gaps >= a.total
            and epoch >= a.epoch
            and client.heads_seen >= a.heads
        )

    client.until(enough, a.timeout, f"{a.count} messages, {a.gaps} missing, epoch {a.epoch}")
    for sender, trailer, form, padded in sorted(client.trailers_seen):
        print(json.dumps({"from": sender, "trailer": trailer, "format": form, "padded": padded}))


def pub(client, a):
    texts = [t.ljust(a.size, ".").encode() for t in a.texts]
    if a.to:
        for text in texts:
            metadata = json.loads(a.metadata) if a.metadata else None
            sent = client.send_direct(
                client.peer_named(a.to), a.topic, 0, text, headers(a.header), metadata, pose=a.pose
            )
            client.until(lambda: sent, a.timeout, "a channel")  # pylint: disable=cell-var-from-loop
            if a.twice:
                sent[0] = client.say_again()
            client.settle(sent[0])
        return
    if client.registry.rule(a.topic).seal == "channel":
        for text in texts:
            print(json.dumps({"copies": client.copies(a.topic, text, headers(a.header), a.timeout)}))
        return
    if a.lines:
        lines(client, a)
        return
    group = client.sender_of(a.topic)

    def damage(data):
        data = bytearray(data)
        data[a.damage] ^= 1
        return bytes(data)

    def lose(count):
        for _ in range(count):
            group.seal(a.topic, 0, [b"never sent"])

    number = 0
    for i, one in enumerate([texts] if a.batch else [[t] for t in texts]):
        number = client.publish(
            a.topic,
            one,
            headers(a.header),
            a.batch,
            damage if a.damage is not None and i == 0 else None,
        )
        lose(a.lose if i == 0 else 0)
        if a.step:
            # Who has not the key by now will never read what was sealed under it.
            client.until(lambda: len(client.keys_given) >= a.readers, a.timeout, "KEY_REQUEST")
        for _ in range(a.step):
            group.step()
    lose(a.lose_last)
    client.settle(number)
    client.until(lambda: len(client.keys_given) >= a.readers, a.timeout, "KEY_REQUEST")


def lines(client, a):
    os.set_blocking(0, False)
    client.poller.register(0, zmq.POLLIN)
    rest, ended = b"", False
    while not ended:
        try:
            data = os.read(0, 65536)
            rest, ended = rest + data, not data
        except BlockingIOError:
            client.until(client.stdin_is_ready, a.timeout, "a line of stdin")
            continue
        *whole, rest = rest.split(b"\n")
        for line in whole:
            client.settle(client.publish(a.topic, [line], headers(a.header)))
            print(json.dumps({"published": line.decode(), "version": client.registry.version}), flush=True)
    client.poller.unregister(0)
    client.until(lambda: len(client.keys_given) >= a.readers, a.timeout, "KEY_REQUEST")


def request(client, a):
    for _ in range(a.repeat):
        got, payload = client.request(a.topic, a.text.encode(), headers(a.header), a.timeout)
    sys.stdout.write(payload.decode() + "\n")
    for key, value in got:
        print(f"{key}={value}")


def reply(client, a):
    client.subscribe(a.topic, serve=True)
    ready(a.ready_fd)
    for _ in range(a.count):
        found = []

        def one():
            message = client.take("message", delivery=REQUEST)
            if message:
                found.append(message)  # pylint: disable=cell-var-from-loop
            return message

        client.until(one, a.timeout, "a request")
        message = found[0]
        show(message)
        text = message.payload + b" " + client.name.encode()
        more = {"as_server": True} if a.as_server else {}
        client.settle(client.reply(message, text, [("answered-by", client.name)], **more))


def ping(client, a):
    peer = client.peer_named(a.peer)
    client.ping(peer)
    client.until(lambda: client.pongs, a.timeout, "PONG")
    for _ in range(a.redial):
        before, old = client.pongs, peer.best()
        client.until(client.redial(peer), a.timeout, "a channel")
        # The dialer's PING comes with it; what ends the old one is the other end's FINAL.
        client.until(
            lambda: client.pongs > before and old.ended,  # pylint: disable=cell-var-from-loop
            a.timeout,
            "PONG, and FINAL on the old channel",
        )
    print("pong")


def probe(client, a):
    peer = client.peer_named(a.peer)
    me, settings, registry = client.identity, client.settings, client.registry

    def hello(change=lambda h: None, late=0):
        """Signed after `change`."""
        dial = Dial(client.ns, me, settings, registry, peer.component, now_ms() + late)
        body = bytearray(dial.hello1[:168])
        change(body)
        return bytes(body) + me.sign("hello1", lp8(client.ns) + bytes(body))

    def put(at, value):
        def change(body):
            body[at : at + len(value)] = value

        return change

    good = hello()
    wrong = good[:-1] + bytes([good[-1] ^ 1])
    version = registry.version.to_bytes(8, "big")
    expected = [
        ("E_SIZE", good[:-1]),
        ("E_VERSION", b"\x02" + good[1:]),
        ("E_SUITE", hello(put(2, b"\x00\x02"))),
        ("E_TARGET", hello(put(40, bytes(32)))),
        ("E_UNKNOWN", hello(put(72, bytes(31) + b"\x01"))),
        ("E_STAMP", hello(put(72, registry.by_name("broker").identity))),
        ("E_CLOCK", hello(late=-2 * settings.synchrony_ms)),
        ("E_CLOCK", hello(late=2 * settings.synchrony_ms)),
        ("E_POLICY", hello(put(4, b"\x00\x00\x01\x02"))),
        ("E_SIGNATURE", wrong),
        ("E_EQUIVOCATION", hello(put(16, version + bytes(16)))),
        ("E_DH", hello(put(104, bytes(32)))),
    ]
    for code, data in expected:
        client.claims.clear()
        client.say(peer, data)
        client.until(lambda: client.claims, a.timeout, code)
        assert client.claims[0][0] == code, f"{client.claims[0][0]} instead of {code}"
        assert client.claims[0][1] == H(data), code
        print(code)
    # An honest one opens a channel; what it is worth afterwards: once.
    client.ping(peer)
    client.until(lambda: client.pongs, a.timeout, "PONG")
    client.claims.clear()
    client.say(peer, peer.last_hello1)
    client.until(lambda: client.claims, a.timeout, "E_REPLAY")
    assert client.claims[0][0] == "E_REPLAY", client.claims
    print("E_REPLAY")
    # An envelope of a channel that does not exist.
    client.claims.clear()
    unknown = MAGIC + bytes(12) + bytes(12) + b"\x01" + bytes(3) + bytes(32)
    client.say(peer, unknown)
    client.until(lambda: client.claims, a.timeout, "CHANNEL_UNKNOWN")
    assert client.claims[0] == ("CHANNEL_UNKNOWN", bytes(32)), client.claims
    print("CHANNEL_UNKNOWN")


def main():
    a = arguments()
    if a.command == "vectors":
        vectors.run(a.file)
        return 0
    settings = Settings(f"{a.home}/security.yaml")
    if a.command == "receipt":
        with open(a.file, "rb") as file, open(a.content, "rb") as content:
            for name in receipts_parse(file.read(), registry_load(a.home, settings.namespace), content.read()):
                print(name)
        return 0
    name, identity = key_file_load(f"{a.home}/identities/{a.name}.key")
    log = lambda text: print(f"{name}: {text}", file=sys.stderr, flush=True)
    endpoint = a.broker or f"ipc://{a.home}/run/bus.sock"
    client = Client(
        a.home,
        name,
        identity,
        endpoint,
        registry_load(a.home, settings.namespace),
        settings,
        log if a.verbose else lambda text: None,
    )
    try:
        client.connect(a.timeout)
        {"sub": sub, "pub": pub, "request": request, "reply": reply, "ping": ping, "probe": probe}[a.command](
            client, a
        )
        client.close()
        for error in client.errors:
            log(error)
        return 0 if not client.errors else 9
    except (Refused, Timeout, ProtocolError) as error:
        log(f"{type(error).__name__}: {error}; {client.errors}")
        return 1


sys.exit(main())
