#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/fuzz/corpus from the vectors. Needs python3-nacl (Ed25519 of a fixed seed)."""
import hashlib
import json
import pathlib
import re
import struct

from nacl.bindings import crypto_sign_seed_keypair

HERE = pathlib.Path(__file__).parent
V = json.loads((HERE / "../vectors/session-v1.json").read_text())
SEED = json.loads((HERE / "../vectors/aico-msg-vectors.json").read_text())


def put(target, name, data):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def h(text):
    return bytes.fromhex(text)


def lp16(data):
    return struct.pack(">H", len(data)) + data


def zmtp():
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01CURVE" + bytes(47)
    router = b"\x0bSocket-Type\0\0\0\x06ROUTER"
    put("zmtp", "greeting", b"\0" + greeting)
    put("zmtp", "greeting-and-error", b"\0" + greeting + b"\4\x0a\5ERROR\x03400")
    put("zmtp", "web", b"\0HTTP/1.1 400 Bad Request")
    put("zmtp", "welcome", b"\1\4\xa8\7WELCOME" + bytes(160))
    put("zmtp", "welcome-sealed", b"\5" + bytes(range(128)))
    put("zmtp", "welcome-of-low-order", b"\5" + bytes(128))
    put("zmtp", "unknown", b"\2\4\x0a\5ERROR\x03400")
    put("zmtp", "ready", b"\2\4\x2e\5READY" + bytes(40))
    put("zmtp", "ready-sealed", b"\6" + router)
    put("zmtp", "ready-more", b"\6" + b"\x08Identity\0\0\0\0" + router)
    put("zmtp", "message", b"\3\0\x22\7MESSAGE" + bytes(26))
    put("zmtp", "message-long", b"\3\2\0\0\0\0\0\0\1\0\7MESSAGE" + bytes(248))
    put("zmtp", "message-sealed", b"\7\0text")
    put("zmtp", "ping-sealed", b"\7\2\4PING\0\x0acontext")
    put("zmtp", "empty-sealed", b"\7")


def topic():
    for i, (a, b) in enumerate(
        (
            ("a/b/c", "a/b/c"), ("a/+/c", "a/x/c"), ("a/**", "a"), ("#", "$bus/heads"),
            ("*/b/#", "\u00e9/b/c/d"), ("$bus/presence/+", "$bus/presence/backend"),
            ("a/**/c", "a/c"), ("/".join("abcdefgh" * 4), "x" * 255), ("a//b", "a/\x01"),
        )
    ):
        put("topic", f"pair{i}", a.encode() + b"\0" + b.encode())


def registry():
    owner = crypto_sign_seed_keypair(bytes([7]) + bytes(31))[0].hex()
    body = V["registry"]["document"]
    body = body[: body.index("signature ")]
    put("registry", "vector", body.encode())
    mine = re.sub(r"^owner .*$", f"owner {owner}", body, flags=re.M)
    mine = re.sub(r"^owner-next .*\n", "", mine, flags=re.M)
    put("registry", "owned", mine.encode())
    backend = [line for line in mine.splitlines() if line.startswith("component backend ")][0]
    rotated = V["registry"]["rotation"]
    new = crypto_sign_seed_keypair(h(rotated["new_seed"]))[0].hex()
    old = backend.split()[2]
    line = (
        f"component backend {new} {'ab' * 32} active service 1763668800000 replaces {old} "
        f"{rotated['until']} {rotated['signature']}"
    )
    put("registry", "rotation", mine.replace(backend, backend + "\n" + line).encode())
    head = "\n".join(mine.splitlines()[:6]).replace("version 7", "version 1")
    head = re.sub(r"previous .*", "previous " + "0" * 64, head)
    put("registry", "empty", (head + "\n").encode())
    rules = (
        "rule a%20b/** publish * subscribe @ui,backend seal channel authenticity sender padding padme freshness 5 history\n"
        "rule logs/+/x publish @svc subscribe * seal none authenticity signature padding none freshness 0\n"
    )
    put("registry", "rules", (head + "\n" + rules).encode())


def keyfile():
    for name in ("plain", "encrypted", "mismatch"):
        text = V["keyfile"][name]
        put("keyfile", name, text[: text.index("check ")].encode())
    text = V["registry"]["public_file_backend"]
    put("keyfile", "public-backend", text[: text.index("signature ")].encode())
    public = crypto_sign_seed_keypair(bytes([9]) + bytes(31))[0].hex()
    put("keyfile", "public-own", re.sub(r"^public .*$", f"public {public}", text[: text.index("signature ")], flags=re.M).encode())
    signed = f"aico-signature 1\nnamespace aico\nname backend\npublic {public}\ncreated 2026-11-20T20:00:00Z\nsize 12\nhash {'ab' * 64}\n"
    put("keyfile", "signature", signed.encode())
    sender = crypto_sign_seed_keypair(bytes([8]) + bytes(31))[0].hex()
    receipt = (
        f"aico-receipt 1\nnamespace aico\nsender cli {sender}\nreceiver backend {public}\ntopic a%20b/c\n"
        f"message {99:016x} {7:016x}\ntaken 1763668800000\nsize 12\nhash {'ab' * 64}\n"
    )
    put("keyfile", "receipt", receipt.encode())
    put("keyfile", "master", f"aico-master 1\nargon2id 3 268435456 {'cd' * 16}\nverifier {'ef' * 16}\n".encode())


def hello():
    hs = V["handshake"]
    for i, name in enumerate(("hello1", "hello2", "hello3")):
        for how in (0, 4, 8, 12):
            put("hello", f"{name}-{how}", bytes([i + how]) + h(hs[name]))
    refuse = struct.pack(">BBHQ", 1, 4, 60, 1763668800000) + bytes(range(32))
    put("hello", "refuse", bytes([3]) + refuse)
    for i, name in enumerate(("resume1", "resume2")):
        for how in (16, 24):
            put("hello", f"{name}-{how}", bytes([i + how]) + h(V["resume"][name]))


def control():
    for kind in ("group", "vector", "signature"):
        put("control", f"group-key-{kind}", h(V["group"][kind]["key_message_frontend"]))
        put("control", f"group-key-{kind}-later", h(V["group"][kind]["key_message_studio_after_3"]))
    key = b"\1\1" + lp16(b"a/**") + struct.pack(">QI", 1763668801000, 3) + bytes(range(32)) + b"twelve bytes"
    put("control", "group-key-listed", key + b"\0" + bytes(32) + struct.pack(">H", 2) + lp16(b"a/b") + b"\0\0\0\5" + lp16(b"a/c") + b"\0\0\0\0")
    put("control", "group-key-own", b"\1\0" + lp16(b"a/**") + struct.pack(">QI", 1763668801000, 0) + bytes(range(32)) + b"twelve bytes" + b"\xff" + bytes(32) + b"\xff\xff")
    put("control", "key-request", b"\2" + lp16(b"a/**") + b"twelve bytes" + struct.pack(">IQ", 4, 1763668801000))
    put("control", "key-refuse", b"\3" + struct.pack(">H", 20) + lp16(b"a/**"))
    put("control", "registry", b"\4" + b"aico-registry 1\n")
    heads = struct.pack(">QH", 1763668801000, 2) + lp16(b"a/b") + b"\0\0\0\5" + lp16(b"a/c") + b"\0\0\1\0"
    put("control", "heads", b"\5" + heads + heads)
    put("control", "final", b"\6\0\0\0\7")
    put("control", "ping", b"\7twelve bytes\0\0\0\7")
    put("control", "pong", b"\x08twelve bytes\0\0\0\7")
    put("control", "reset", b"\x09twelve bytes")
    put("control", "again", b"\x0b" + lp16(b"a/b"))
    receipt = struct.pack(">QQQ", 99, 7, 1763668801000)
    put("control", "receipt", b"\x0c\1" + receipt)
    put("control", "receipts", b"\x0c" + (b"\1" + receipt + b"\2" + receipt + bytes(range(64))) * 2)
    put("control", "time", b"\x0a" + struct.pack(">Q", 1763668801000))


def ratchet():
    for i, step in enumerate(V["ratchet"]["log"]):
        wire = h(step["envelope"])
        put("ratchet", f"log{i}", b"\0" + wire)
        put("ratchet", f"own{i}", b"\2" + wire)
        put("ratchet", f"far{i}", b"\2" + wire[:28] + struct.pack(">I", 40 + i) + wire[32:])
    put("ratchet", "init", b"\0" + h(V["prekeys"]["with_one_time"]["envelope"]))
    chain = bytes(range(32)) + b"\0\0\0\5"
    head = b"a ratchet id" + bytes([1] * 32) + bytes([2] * 32) + struct.pack(">Q", 1763668800000)
    keys = bytes([3] * 32) + bytes([4] * 32) + bytes([5] * 32) + bytes(128)
    rest = chain + chain + b"\0\0\0\7"
    skipped = bytes([6] * 32) + bytes([7] * 32) + b"\0\0\0\3" + struct.pack(">Q", 1763668900000)
    put("ratchet", "state", b"\1\1\7" + head + keys + rest + b"\0\0\0\0")
    put("ratchet", "state-skipped", b"\1\1\7" + head + keys + rest + b"\0\0\0\2" + skipped * 2)
    init = h(V["prekeys"]["with_one_time"]["init"])
    put("ratchet", "state-init", b"\1\1\x0d" + head + keys + rest + init + b"\0\0\0\0")


def prekey():
    statement, init = h(V["prekeys"]["statement"]), h(V["prekeys"]["with_one_time"]["init"])
    for name, flag in (("", 0), ("-signed", 4)):
        put("prekey", f"statement{name}", bytes([{0: 0, 4: 6}[flag]]) + statement)
        put("prekey", f"init{name}", bytes([{0: 1, 4: 4}[flag]]) + init)

    def row(key, value):
        return bytes([len(key)]) + struct.pack(">H", len(value)) + key + value

    number = statement[4:8]
    rows = row(b"e" + bytes(64), struct.pack(">Q", 1763668900000))
    rows += row(b"o" + number + b"\0\0\0\1", bytes([8] * 32))
    rows += row(b"s" + number, statement + bytes([9] * 32) + b"\0\0\0\2")
    put("prekey", "rows", b"\2" + rows)


def envelope():
    for i, case in enumerate(V["channel"]["cases"][:4]):
        put("envelope", f"channel{i}", b"\0" + h(case["envelope"]))
    for kind in ("group", "vector", "signature"):
        put("envelope", kind, b"\0" + h(V["group"][kind]["cases"][0]["envelope"]))
    put("envelope", "ratchet", b"\0" + h(V["ratchet"]["log"][0]["envelope"]))
    put("envelope", "init", b"\0" + h(V["prekeys"]["with_one_time"]["envelope"]))
    put("envelope", "seed", b"\0" + h(SEED["cases"][1]["message"]))
    block = b"\4name" + lp16(b"value") + b"\1k" + lp16(b"")
    put("envelope", "plain", b"\1payload")
    put("envelope", "plain-headers", b"\5" + lp16(block) + b"payload")
    item = struct.pack(">I", 3) + b"one"
    put("envelope", "plain-batch", b"\3" + item + item)
    with_block = lp16(block) + b"two"
    put("envelope", "plain-batch-headers", b"\7" + (struct.pack(">I", len(with_block)) + with_block) * 2)
    put("envelope", "plain-padded", b"\x09" + struct.pack(">I", 7) + b"payload" + bytes(256 - 11))


def format0():
    for i, case in enumerate(V["format0"]["cases"]):
        put("format0", f"vector{i}", case["metadata"].encode() + b"\0" + h(case["plaintext"])[:64])
    for i, case in enumerate(SEED["cases"][:6]):
        put("format0", f"seed{i}", case["metadata_bytes"].encode() + b"\0" + h(case["plaintext"])[:64])
    for i, text in enumerate(V["format0"]["never_emit"]):
        put("format0", f"never{i}", text.encode())
    put("format0", "envelope", h(SEED["cases"][1]["message"]))


def records():
    def record(kind, body, flags=0, aux=0):
        return struct.pack(">BBHI", kind, flags, aux, len(body)) + body

    def frame(who, *rows):
        return bytes([who]) + lp16(b"".join(rows))

    sub = record(10, struct.pack(">QIB", 1, 7, 0) + b"\4a/**" + b"\0")
    pub = record(14, struct.pack(">QII", 2, 0, 0) + b"\3a/b" + b"payload")
    request = record(14, struct.pack(">QIII", 3, 0, 0xFFFFFFFF, 500) + b"\3a/b\1b" + b"x", 8, 3 << 8)
    fragment = record(14, struct.pack(">QIIII", 4, 0, 0, 100, 0) + b"\3a/b" + b"y" * 50, 1)
    put("records", "publish", frame(0, sub) + frame(1, sub, pub))
    put("records", "request", frame(1, record(10, struct.pack(">QIB", 1, 7, 2) + b"\3a/b\0", 1)) + frame(0, request))
    put("records", "fragments", frame(0, sub) + frame(1, fragment))
    asks = record(14, struct.pack(">QII", 5, 0, 0) + b"\3a/b" + b"payload", 0x80)
    put("records", "receipt", frame(0, sub) + frame(1, sub, asks) + frame(2, record(40, struct.pack(">QII", 5, 1, 2))))
    put("records", "audit", frame(0, record(36, lp16(b"head 7 " + b"ab" * 32))))
    told = record(27, struct.pack(">IQ", 3, 7) + b"\0", 2)
    missed = record(45, struct.pack(">IQHIIQQ", 3, 7, 1, 4, 0, 10, 99) + b"\3a/b", 1, 38)
    put("records", "missed", frame(0, sub) + frame(0, told) + frame(1, missed))
    put("records", "query", frame(2, record(20, struct.pack(">Q", 1) + b"\6status\0"), record(4, bytes(7) + b"\1")))
    put("records", "small", frame(0, record(6, struct.pack(">I", 100)), record(18, struct.pack(">Q", 2) + b"\3a/b"), record(11, struct.pack(">QI", 3, 7)), record(3, lp16(b"bye"))))


def peers():
    def step(what, data=b""):
        return bytes([what]) + lp16(data)

    pass_1s, hand_on = step(5, struct.pack(">H", 100)), step(6)
    key = b"\1\0" + lp16(b"a/**") + struct.pack(">QI", 1763668800000, 0) + bytes(range(32)) + b"twelve bytes"
    key += b"\xff" + bytes(32)
    put("peers", "publish", step(2, b"\0\0payload") + hand_on + pass_1s + step(2, b"\0\0more") + hand_on)
    put("peers", "group-key", step(1, key + struct.pack(">H", 1) + lp16(b"a/b") + b"\0\0\0\5") + hand_on)
    put("peers", "final", step(1, b"\6\0\0\0\7") + hand_on + pass_1s + step(7, b"\7") + hand_on)
    put("peers", "request", step(1, b"\2" + lp16(b"a/**") + b"twelve bytes" + struct.pack(">IQ", 0, 0)) + hand_on)
    put("peers", "ping", step(1, b"\7twelve bytes\0\0\1\0") + hand_on)
    put("peers", "hello", step(0, h(V["handshake"]["hello1"])) + step(0, h(V["handshake"]["hello3"])) + pass_1s)
    unknown = struct.pack(">BBHQ", 1, 4, 70, 1763668800000) + bytes(range(32))
    put("peers", "refuse", step(0, unknown) + hand_on + step(3, h(V["channel"]["cases"][0]["envelope"])) + hand_on)
    put("peers", "unknown", step(4, h(V["group"]["group"]["cases"][0]["envelope"])) * 3 + step(5, b"\x20\0"))
    put("peers", "outside", b"".join(step(7, bytes([i])) + hand_on + step(2, b"\0\0x") for i in range(8)))


def yaml():
    root = HERE / "../.."
    security = (root / "config/security.yaml").read_bytes()
    put("yaml", "security", security)
    for own in sorted((root / "config").glob("*.yaml")):
        if own.name != "security.yaml":
            put("yaml", own.stem, b"\0" + own.read_bytes())
    put("yaml", "settings", b"transport_security:\n  namespace: acme\n  synchrony_bound: 10s\n")
    put("yaml", "odd", b"a: [1, {b: c}]\n? d\n: |\n  e\n--- \n&x y: *x\n")


def audit():
    entry = "%d 2026-11-20T20:00:0%dZ connected frontend ipc:uid=0 0 session %d begins\n"
    entries = "".join(entry % (i, i, i) for i in range(1, 4)).encode()
    head = f"head {'01' + '00' * 15} 3 {'ab' * 32} 1763668800000 {'cd' * 64}"
    lines = f"aico-audit 1\nnamespace aico\nbroker {'12' * 32}\nlog {'01' * 16}\nprevious {'00' * 32}\n".encode()
    put("audit", "log", b"\0" + lines + entries)
    put("audit", "entries", b"\1" + entries)
    put("audit", "signed", b"\4" + entries)
    put("audit", "cut", b"\4" + entries[:-7])
    put("audit", "head", b"\2" + head.encode())
    put("audit", "forged", b"\1" + entries + head.encode() + b"\n")


def stored():
    reading = struct.pack(">BBHIQ", 1, 9, 1, 1, 1763668800000) + bytes(32) + bytes(range(32)) + bytes(64)
    key = struct.pack(">BBHIQ", 1, 10, 1, 1, 1763668800000) + b"twelve bytes" + b"\2\0" + bytes(64)
    key += bytes(range(32)) + lp16(b"a/**") + bytes(48) + bytes(64)
    for flag, name in ((0, ""), (2, "-signed")):
        put("stored", f"reading{name}", bytes([flag]) + reading)
        put("stored", f"key{name}", bytes([1 | flag]) + key)


def chains():
    def chain(generation, number, trailer=0, topics=b"passed/**", epoch=3):
        head = bytes(range(32)) + struct.pack(">Q", generation) + b"id %09d" % number + bytes([trailer, 1])
        return head + struct.pack(">I", epoch) + bytes([5] * 32) + lp16(topics)

    now = 1763668800000
    put("chains", "one", b"\1" + chain(now, 1))
    put("chains", "two", b"\1" + chain(now, 1) + chain(now - 1000, 2, 2))
    put("chains", "again", b"\1" + chain(now, 1, epoch=9) + chain(now, 1, epoch=2))
    put("chains", "old", b"\0" + chain(1000, 1))
    put("chains", "late", b"\1" + chain((1 << 62) - 1, 1))
    put("chains", "never", b"\1" + chain((1 << 63) - 1, 1))
    put("chains", "elsewhere", b"\1" + chain(now, 1, topics=b"live/**"))


def backup():
    def line(path, content, mode="600"):
        label = b"aico-bus/1 backup file"
        found = hashlib.blake2b(bytes([len(label)]) + label + content, digest_size=32).hexdigest()
        return f"file {len(content)} {mode} {found} {path}\n"

    head, key = "aico-backup 1\ncreated 1763668800000\n", line("identities/cli.key", b"a key\n")
    registry = line("registry", b"a registry\n", "644")
    put("backup", "whole", (head + registry + key + "without run/broker.lock\nend\n").encode())
    put("backup", "cut", (head + registry + key).encode())
    put("backup", "behind", (head + registry + "end\n" + key).encode())
    put("backup", "changed", (head + line("registry", b"another one\n") + "end\n").encode())
    put("backup", "missing", (head + line("elsewhere", b"x") + "end\n").encode())
    put("backup", "outside", (head + line("identities/../../out", b"x") + line("/out", b"") + "end\n").encode())
    put("backup", "twice", (head + key + key + "end\n").encode())


for make in (
    topic, registry, keyfile, audit, hello, control, ratchet, prekey, stored, chains, envelope, format0, records, peers, yaml,
    backup, zmtp
):
    make()
