# SPDX-License-Identifier: Apache-2.0
"""The peer against tests/vectors/session-v1.json, before it meets anybody."""
import json

from . import channel, documents, envelope, group
from .crypto import H, KDF, MAC, DH, Identity, ProtocolError, fingerprint, lp8

un = bytes.fromhex


def primitives(v):
    p = v["primitives"]
    for case in p["H"]:
        assert H(un(case["x"])) == un(case["out"])
    for case in p["KDF"]:
        assert KDF(un(case["k"]), case["label"], un(case["x"])) == un(case["out"])
    assert MAC(un(p["MAC"]["k"]), un(p["MAC"]["x"])) == un(p["MAC"]["out"])
    for size, padded in p["padded_size"]:
        assert envelope.padded_size(size) == padded, size


def identities(v):
    for case in v["identity"]:
        identity = Identity(un(case["seed"]))
        assert identity.public.hex() == case["ed25519"]
        assert identity.transport_secret.hex() == case["transport_secret_0"]
        assert identity.transport_public.hex() == case["transport_public_0"]
        assert fingerprint(identity.public) == case["fingerprint"]
    k = v["keyfile"]
    for text in (k["plain"], k["encrypted"]):
        name, identity = documents.key_file_parse(text.encode(), k["passphrase"].encode())
        assert name == "backend" and identity.public.hex() == v["identity"][0]["ed25519"]
    for text, code in (
        (k["mismatch"], "E_KEYFILE_MISMATCH"),
        (k["plain"].replace("transport 0", "transport 1"), "E_KEYFILE_DAMAGED"),
    ):
        refused(code, documents.key_file_parse, text.encode())
    r = v["registry"]
    registry = documents.Registry(r["document"].encode(), un(r["owner"]), "aico")
    assert registry.hash.hex() == r["hash"] and registry.version == 7
    bad = r["document"].replace("version 7", "version 8").encode()
    refused("E_REGISTRY_SIGNATURE", documents.Registry, bad, un(r["owner"]), "aico")


def refused(code, call, *arguments):
    try:
        call(*arguments)
    except ProtocolError as error:
        assert error.code == code, f"{error.code} instead of {code}"
        return
    raise AssertionError(f"passed instead of {code}")


def keys_of(v):
    h = v["handshake"]
    ns = lp8(h["namespace"].encode())
    T, keys = channel.derive(
        ns, un(h["hello1"]), un(h["hello2"]), un(h["e_d"]), un(h["hello2"])[72:104]
    )
    return h, T, keys


def handshake(v):
    h, T, keys = keys_of(v)
    assert T.hex() == h["T"]
    for ours, theirs in (
        ("confirm listener", "k_cl"),
        ("confirm dialer", "k_cd"),
        ("traffic dialer", "k_dl"),
        ("traffic listener", "k_ld"),
    ):
        assert keys[ours].hex() == h[theirs]
    assert keys["channel"][:12].hex() == h["id"]
    assert MAC(keys["confirm dialer"], T).hex() == h["confirm_d"]
    assert DH(un(h["e_l"]), un(h["hello1"])[104:136]).hex() == h["shared"]
    registry = documents.Registry(v["registry"]["document"].encode(), un(v["registry"]["owner"]), "aico")
    identity, settings = Identity(un(h["listener_seed"])), documents.Settings()
    assert settings.policy() == h["policy"]
    for case in v["hello1_negative"]:
        arguments = (b"aico", identity, settings, registry, case["stamp"], un(case["hello1"]), case["now"])
        if case["expect"] == "ok":
            channel.Listen(*arguments, set())
        elif case["expect"] not in ("E_RATE", "E_NOT_ALLOWED", "E_REPLAY", "E_REVOKED"):
            refused(case["expect"], channel.Listen, *arguments, set())


def channels(v):
    h, _, keys = keys_of(v)
    dialer, listener = Identity(un(h["dialer_seed"])).public, Identity(un(h["listener_seed"])).public
    for case in v["channel"]["cases"]:
        sender, receiver = (dialer, listener) if case["direction"] == "dialer" else (listener, dialer)
        data = un(case["envelope"])
        head = envelope.Head(data)
        key = keys["traffic " + case["direction"]]
        for _ in range(case["epoch"]):
            key = KDF(key, "channel step")
        ref = un(case.get("ref", "00" * 16))
        ctx = envelope.context(
            b"aico", envelope.CHANNEL, case["delivery"], sender, receiver, ref, case["topic"]
        )
        messages = envelope.read(head, key, ctx, case.get("padded", False))
        batch = case.get("format") == 2
        if not batch:
            assert messages == [([], un(case["content"]))]
        again = envelope.write(
            key,
            head.key_id,
            head.epoch,
            head.time,
            head.sequence,
            ctx,
            [payload for _, payload in messages],
            head.padded,
            batch=batch,
        )
        assert again == data
    for case in v["channel_negative"]:
        c = channel.Channel(b"aico", listener, dialer, False, keys, 0, h["t0"])
        opened = lambda text: c.open(
            envelope.Head(un(text)), case["topic"], case["delivery"], case["padded"]
        )
        if not case["strict"] or case["name"] == "sent back to its sender":
            continue
        for text in case["before"]:
            opened(text)
        if case["expect"] == "ok":
            opened(case["envelope"])
        else:
            refused(case["expect"], opened, case["envelope"])


def groups(v):
    for kind in ("group", "vector", "signature"):
        g = v["group"][kind]
        publisher, reader = Identity(un(g["publisher_seed"])).public, un(g["readers"][0])
        receiver = group.Receiver(b"aico", publisher, reader, un(g["key_message_frontend"]))
        assert receiver.id.hex() == g["gid"] and receiver.filter == g["rule"]
        assert group.topic_key(receiver.chain, g["cases"][0]["topic"]).hex() == g["topic_key_epoch_0"]
        for case in g["cases"]:
            messages, gap, _ = receiver.open(
                envelope.Head(un(case["envelope"])), case["topic"], case.get("delivery", 0), False
            )
            assert messages == [([], un(case["content"]))] and gap == 0
    for case in v["group_negative"]:
        receiver = group.Receiver(
            b"aico", un(case["publisher"]), bytes(32), un(case["key_message"])
        )
        opened = lambda: receiver.open(
            envelope.Head(un(case["envelope"])), case["topic"], case["delivery"], False
        )
        if case["expect"] == "ok":
            opened()
        else:
            refused(case["expect"], opened)


def format0(v):
    f = v["format0"]
    for case in f["cases"]:
        head = envelope.Head(un(case["envelope"]))
        payload, metadata = envelope.format0_read(head, [un(f["key"])])
        assert payload == un(case["plaintext"]) and json.dumps(metadata) == case["metadata"]
        again = envelope.format0_write(un(f["key"]), metadata, payload, un(case["nonce"]))
        assert again == un(case["envelope"])
    kx = f["static_kx"]
    client, server = Identity(un(kx["client_seed"])), Identity(un(kx["server_seed"]))
    (receive, send), _ = client.format0_keys(server.public)
    assert receive.hex() == kx["client_rx"] and send.hex() == kx["client_tx"]
    _, (receive, send) = server.format0_keys(client.public)
    assert send.hex() == kx["client_rx"] and receive.hex() == kx["client_tx"]


def receipts(path):
    """Beside the others: it came later."""
    with open(path, encoding="utf-8") as file:
        v = json.load(file)
    sender, receiver = Identity(un(v["sender_seed"])), Identity(un(v["receiver_seed"]))
    text = documents.receipt_text(
        v["namespace"], (v["sender"], sender.public), (v["receiver"], receiver.public), v["topic"],
        int(v["run"], 16), v["number"], v["taken_ms"], v["payload"].encode(),
    )  # fmt: skip
    assert text + b"signature " + receiver.sign("receipt", text).hex().encode() + b"\n" == v["document"].encode()


def run(path):
    with open(path, encoding="utf-8") as file:
        v = json.load(file)
    for test in (primitives, identities, handshake, channels, groups, format0):
        test(v)
        print(f"ok    vectors: {test.__name__}")
    receipts(path.replace("session-v1", "receipt-v1"))
    print("ok    vectors: receipts")
