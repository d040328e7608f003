# SPDX-License-Identifier: Apache-2.0
"""Key file, registry and topics (docs/protocol.md 2, 3, Topics) and the few settings a peer needs."""
import hashlib
import os
import re
import stat
import urllib.parse

import nacl.bindings as sodium

from .crypto import H, KDF, TAG, Identity, ProtocolError, lp8, open_, verify


def key_file_parse(text, passphrase=None):
    """(name, Identity) of the bytes of a key file."""
    body, _, check = text.rpartition(b"check ")
    if check.rstrip(b"\n").decode() != H(TAG("keyfile check") + body, 16).hex():
        raise ProtocolError("E_KEYFILE_DAMAGED")
    before_secret, _, secret = body.rpartition(b"secret ")
    fields = dict(line.split(" ", 1) for line in before_secret.decode().splitlines())
    secret = bytes.fromhex(secret.decode().strip())
    protection = fields["protection"].split(" ")
    if protection[0] == "argon2id":
        if passphrase is None:
            raise ProtocolError("E_PASSPHRASE")
        k = sodium.crypto_pwhash_alg(
            32, passphrase, bytes.fromhex(protection[3]), int(protection[1]), int(protection[2]), 2
        )
        if KDF(k, "keyfile verifier")[:16].hex() != fields["verifier"]:
            raise ProtocolError("E_PASSPHRASE")
        secret = open_(KDF(k, "keyfile seal"), secret[:24], before_secret, secret[24:])
    identity = Identity(secret, int(fields["transport"]))
    if identity.public.hex() != fields["public"]:
        raise ProtocolError("E_KEYFILE_MISMATCH")
    return fields["name"], identity


def key_file_load(path, passphrase=None):
    status = os.lstat(path)
    if not stat.S_ISREG(status.st_mode) or status.st_mode & 0o077 or status.st_uid != os.geteuid():
        raise ProtocolError("E_KEYFILE_MODE", path)
    with open(path, "rb") as file:
        return key_file_parse(file.read(), passphrase)


def filter_matches(pattern, topic):
    levels, parts = pattern.split("/"), topic.split("/")
    if topic.startswith("$") and levels[0] in ("*", "+", "**", "#"):
        return False
    if levels[-1] in ("**", "#"):
        levels.pop()
        if len(parts) < len(levels):
            return False
        parts = parts[: len(levels)]
    return len(levels) == len(parts) and all(a in ("*", "+", b) for a, b in zip(levels, parts))


class Component:
    def __init__(self, words):
        self.name, identity, transport, self.state, roles, _since = words[:6]
        self.identity = bytes.fromhex(identity)
        self.transport = bytes.fromhex(transport)
        self.roles = roles.split(",")
        self.format0 = words[-2:] == ["peer", "aico"]
        self.replaces = words[7:10] if len(words) > 9 and words[6] == "replaces" else None

    def is_one_of(self, who):
        return any(
            w == "*" or w == self.name or (w[0] == "@" and w[1:] in self.roles) for w in who.split(",")
        )


class Rule:
    def __init__(self, words):
        self.filter = urllib.parse.unquote(words[0])
        fields = dict(zip(words[1:-1:2], words[2::2]))
        self.publish, self.subscribe = fields["publish"], fields["subscribe"]
        self.seal, self.authenticity = fields["seal"], fields["authenticity"]
        self.padded = fields["padding"] == "padme"
        self.freshness = int(fields["freshness"])
        self.history = words[-1] == "history"


class Registry:
    def __init__(self, document, owner, namespace):
        """Raises unless `owner` signed it; nothing is parsed before."""
        body, _, signature = document.rpartition(b"signature ")
        try:
            verify(owner, bytes.fromhex(signature.decode().rstrip("\n")), "registry", body)
        except ProtocolError:
            raise ProtocolError("E_REGISTRY_SIGNATURE") from None
        self.document = document
        self.hash = H(TAG("registry hash") + document, 16)
        self.components, self.rules = [], []
        self.owner, self.owner_next = owner, None
        for line in body.decode().splitlines():
            words = line.split(" ")
            if words[0] == "component":
                self.components.append(Component(words[1:]))
            elif words[0] == "rule":
                self.rules.append(Rule(words[1:]))
            elif words[0] == "version":
                self.version = int(words[1])
            elif words[0] == "namespace" and words[1] != namespace:
                raise ProtocolError("E_NAMESPACE")
            elif words[0] == "owner-next":
                self.owner_next = bytes.fromhex(words[1])
                verify(self.owner_next, bytes.fromhex(words[2]), "owner", lp8(namespace.encode()) + owner)

    def by_identity(self, identity):
        return next((c for c in self.components if c.identity == identity), None)

    def by_name(self, name):
        """The one that dials: the last line of that name."""
        return next((c for c in reversed(self.components) if c.name == name), None)

    def broker(self):
        return next(c for c in self.components if "broker" in c.roles and c.state == "active")

    def rule(self, topic):
        return next((r for r in self.rules if filter_matches(r.filter, topic)), None)

    def readers(self, rule, publisher):
        return [
            c
            for c in self.components
            if c.state == "active" and c.identity != publisher and c.is_one_of(rule.subscribe)
        ]

    def may(self, component, what, topic):
        rule = self.rule(topic)
        return bool(rule and component.state == "active" and component.is_one_of(getattr(rule, what)))


def registry_load(home, namespace):
    with open(f"{home}/owner.public", encoding="ascii") as file:
        owner = bytes.fromhex(re.search(r"^public ([0-9a-f]{64})$", file.read(), re.M).group(1))
    with open(f"{home}/registry", "rb") as file:
        return Registry(file.read(), owner, namespace)


def registry_accept(document, before, namespace):
    """A later document: of the same owner, or of the one it named."""
    try:
        return Registry(document, before.owner, namespace)
    except ProtocolError as error:
        if error.code != "E_REGISTRY_SIGNATURE" or before.owner_next is None:
            raise
        return Registry(document, before.owner_next, namespace)


class Settings:
    """security.yaml as far as two ends must agree on it; everything else stays at its default."""

    def __init__(self, path=None):
        values = {}
        if path and os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                for line in file:
                    match = re.match(r"\s*([a-z_]+):\s*([^#\s]+)", line)
                    if match:
                        values[match.group(1)] = match.group(2)
        number = lambda key, default: int(values.get(key, default))
        true = lambda key, default: values.get(key, default) == "true"
        self.namespace = values.get("namespace", "aico")
        self.level = ["standard", "high", "maximum"].index(values.get("security_level", "high"))
        self.padded = values.get("padding", "none") == "padme"
        self.strict = true("enforce_message_ordering", "true")
        self.fresh_handshake = true("require_fresh_handshake", "true")
        self.key_reuse = true("allow_key_reuse", "false")
        self.handshake_timeout_ms = 1000 * number("handshake_timeout", 30)
        self.keepalive_ms = 1000 * number("keepalive_interval", 60)
        self.group_epoch_ms = 1000 * number("group_epoch", 60)
        self.synchrony_ms = 1000 * number("synchrony_bound", 30)

    def policy(self):
        return (
            (1 if self.strict else 0)
            | (2 if self.fresh_handshake else 0)
            | (4 if self.key_reuse else 0)
            | (8 if self.padded else 0)
            | self.level << 8
        )


def receipt_text(namespace, sender, receiver, topic, run, number, taken, payload):
    """What a reader signs (docs/protocol.md 6); `sender` and `receiver` are (name, identity)."""
    word = "".join(f"%{ord(c):02X}" if c <= " " or c in "%\x7f" else c for c in topic)
    return (
        f"aico-receipt 1\nnamespace {namespace}\nsender {sender[0]} {sender[1].hex()}\n"
        f"receiver {receiver[0]} {receiver[1].hex()}\ntopic {word}\nmessage {run:016x} {number:016x}\n"
        f"taken {taken}\nsize {len(payload)}\nhash {hashlib.blake2b(payload).hexdigest()}\n"
    ).encode()


def receipts_parse(text, registry, payload=None):
    """Who signed each receipt of a file; raises unless all of them are right."""
    names = []
    for one in text.split(b"aico-receipt 1\n")[1:]:
        body, _, signature = (b"aico-receipt 1\n" + one).rpartition(b"signature ")
        fields = dict(line.split(" ", 1) for line in body.decode().splitlines())
        (sender, _), (receiver, key) = fields["sender"].split(" "), fields["receiver"].split(" ")
        component = registry.by_identity(bytes.fromhex(key))
        if component is None or component.name != receiver or component.state != "active":
            raise ProtocolError("E_UNKNOWN", receiver)
        verify(component.identity, bytes.fromhex(signature.decode().strip()), "receipt", body)
        if payload is not None and fields["hash"] != hashlib.blake2b(payload).hexdigest():
            raise ProtocolError("E_OPEN", receiver)
        if registry.by_name(sender).identity.hex() not in fields["sender"]:
            raise ProtocolError("E_UNKNOWN", sender)
        names.append(receiver)
    return names
