# SPDX-License-Identifier: Apache-2.0
"""docs/protocol.md 5: AICO-MSG of formats 0, 1 and 2."""
import json
import os
import struct

from .crypto import H, KDF, TAG, ProtocolError, equal, keyed16, lp8, lp16, open_, seal
from .records import Reader

MAGIC = b"AICO-MSG"
NONE, VECTOR, SIGNATURE = 0, 1, 2
PADDED, HEADERS = 0x20, 0x10
CHANNEL, GROUP = 1, 2


def padded_size(size):
    if size <= 256:
        return 256
    exponent = size.bit_length() - 1
    step = 1 << (exponent - exponent.bit_length())
    return (size + step - 1) // step * step


def context(namespace, kind, delivery, sender, receiver, ref, topic):
    return H(
        TAG("context")
        + lp8(namespace)
        + bytes([kind, delivery])
        + sender
        + receiver
        + ref
        + lp16(topic.encode())
    )


def headers_write(headers):
    block = b"".join(lp8(k.encode()) + lp16(v.encode()) for k, v in headers)
    return lp16(block)


def headers_parse(content):
    r = Reader(content)
    block, headers = Reader(r.lp16()), []
    while not block.done():
        headers.append((block.lp8().decode("ascii"), block.lp16().decode()))
    return headers, r.rest()


def digest(key, ctx, sealed):
    return H(TAG("signature") + KDF(key, "commit") + ctx + sealed)


class Head:
    """What stands in the clear."""

    def __init__(self, data):
        if len(data) < 52:
            raise ProtocolError("E_SIZE")
        if data[:8] != MAGIC:
            raise ProtocolError("E_MAGIC")
        flags = data[32]
        self.nonce, self.format, self.trailer = data[8:32], flags & 15, flags >> 6
        self.padded, self.headers = bool(flags & PADDED), bool(flags & HEADERS)
        size = int.from_bytes(data[33:36], "big")
        if self.format > 2 or self.trailer == 3 or (self.format == 0 and flags):
            raise ProtocolError("E_FORMAT")
        if size > 65535 or len(data) < 52 + size:
            raise ProtocolError("E_SIZE")
        if self.format and size:
            raise ProtocolError("E_FORMAT")
        trailer = 0
        if self.trailer == SIGNATURE:
            trailer = 64
        elif self.trailer == VECTOR:
            trailer = 16 * data[-1] + 1
        if len(data) < 52 + size + trailer:
            raise ProtocolError("E_SIZE")
        self.metadata = data[36 : 36 + size]
        self.clear = data[: 36 + size]
        self.signed = data[: len(data) - trailer]
        self.sealed = self.signed[36 + size :]
        self.proof = data[len(data) - trailer :]
        self.key_id, self.ref = data[8:20], data[8:20] + data[28:32]
        self.epoch, self.time, self.sequence = struct.unpack(">III", data[20:32])


def write(key, key_id, epoch, time, sequence, ctx, contents, padded, prove=None, headers=(), batch=False):
    """`prove(digest)` gives (trailer kind, bytes). `contents` are several only in a batch, each with
    the same headers."""
    if headers:
        contents = [headers_write(headers) + c for c in contents]
    content = b"".join(struct.pack(">I", len(c)) + c for c in contents) if batch else contents[0]
    if padded:
        plain = struct.pack(">I", len(content)) + content
        plain += bytes(padded_size(len(plain)) - len(plain))
    else:
        plain = content
    trailer, _ = prove(bytes(32)) if prove else (NONE, b"")
    flags = trailer << 6 | (PADDED if padded else 0) | (HEADERS if headers else 0) | (2 if batch else 1)
    nonce = key_id + struct.pack(">III", epoch, time, sequence)
    clear = MAGIC + nonce + bytes([flags]) + bytes(3)
    signed = clear + seal(key, nonce, clear + ctx, plain)
    return signed + (prove(digest(key, ctx, signed))[1] if prove else b"")


def read(head, key, ctx, padded, check=None):
    """[(headers, payload)...] of an envelope; `check(digest)` raises when the proof is wrong."""
    if head.padded != padded:
        raise ProtocolError("E_PADDING")
    content = open_(key, head.nonce, head.clear + ctx, head.sealed)
    if padded:
        if len(content) < 4:
            raise ProtocolError("E_PADDING")
        size = int.from_bytes(content[:4], "big")
        if 4 + size > len(content) or len(content) != padded_size(4 + size) or any(content[4 + size :]):
            raise ProtocolError("E_PADDING")
        content = content[4 : 4 + size]
    if check:
        check(digest(key, ctx, head.signed))
    headers = []
    if head.headers and head.format == 1:
        headers, content = headers_parse(content)
    if head.format == 1:
        return [(headers, content)]
    r, messages = Reader(content), []
    while not r.done():
        one = r.take(r.u32())
        messages.append(headers_parse(one) if head.headers else ([], one))
    return messages


def vector_proof(keys):
    return lambda d: (VECTOR, b"".join(keyed16(k, d) for k in keys) + bytes([len(keys)]))


def vector_check(head, slot, key):
    def check(d):
        if slot >= head.proof[-1]:
            raise ProtocolError("E_AUTHENTICITY", "no slot of ours")
        if not equal(head.proof[16 * slot : 16 * slot + 16], keyed16(key, d)):
            raise ProtocolError("E_SIGNATURE")

    return check


def format0_write(key, metadata, payload, nonce=None):
    text = json.dumps(metadata).encode()
    nonce = nonce or os.urandom(24)
    return MAGIC + nonce + struct.pack(">I", len(text)) + text + seal(key, nonce, text, payload)


def format0_read(head, keys):
    """(payload, metadata) with the first of `keys` that opens it."""
    for key in keys:
        try:
            return open_(key, head.nonce, head.metadata, head.sealed), json.loads(head.metadata)
        except ProtocolError:
            pass
    raise ProtocolError("E_OPEN")
