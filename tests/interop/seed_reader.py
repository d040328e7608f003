#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""PROTOCOL 14 row 45: the seed's reader and ours, against each other.

seed_reader.py FORMAT0 [COUNT [SEED]]

The seed's reader parses the metadata, writes it again with json.dumps and takes that as associated
data, so it opens only what we spell exactly as Python does. Ends with "N passed, N failed".
"""
import json
import random
import re
import subprocess
import sys

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt as decrypt,
    crypto_aead_xchacha20poly1305_ietf_encrypt as encrypt,
)

KEY = bytes([3]) * 32
MAGIC = b"AICO-MSG"
# What json.dumps never writes between the strings of a text, or inside them.
NEVER_OUTSIDE = re.compile(
    rb"[0-9][eE]|NaN|Infinity|-0(?![.0-9])|(?<![0-9.])0[0-9]|[,:](?! )| [,:\]}]|\{ |\[ "
)
CHARACTER = re.compile(rb"\\u.{4}|\\.|.", re.DOTALL)
NEVER_INSIDE = re.compile(rb"\\/|\\u.*[A-F].*|\\u00(0[89acd]|22|5c|[2-6][0-9a-f]|7[0-9a-e])|[^ -~]")
STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')


def seed_open(message):
    """The reader of the seed document, its own words kept."""
    header = message[:8]
    nonce = message[8:32]
    metadata_len = int.from_bytes(message[32:36], "big")
    metadata = json.loads(message[36 : 36 + metadata_len])
    ciphertext = message[36 + metadata_len :]
    assert header == MAGIC
    plaintext = decrypt(ciphertext, json.dumps(metadata).encode(), nonce, KEY)
    return plaintext, metadata, message[36 : 36 + metadata_len]


def seed_seal(plaintext, metadata, nonce):
    additional_data = json.dumps(metadata).encode()
    ciphertext = encrypt(plaintext, additional_data, nonce, KEY)
    return MAGIC + nonce + len(additional_data).to_bytes(4, "big") + additional_data + ciphertext


def never_emitted(metadata):
    inside = STRING.findall(metadata)
    outside = STRING.sub(b'""', metadata)
    return NEVER_OUTSIDE.search(outside) or any(
        NEVER_INSIDE.fullmatch(c) for s in inside for c in CHARACTER.findall(s[1:-1])
    )


def theirs(program, count, seed):
    """The seed's reader opens what we seal."""
    lines = subprocess.run(
        [program, "write", str(count), str(seed)], check=True, capture_output=True, timeout=300
    ).stdout.splitlines()
    assert len(lines) == count, f"{len(lines)} lines instead of {count}"
    for line in lines:
        message, payload = (bytes.fromhex(word.decode()) for word in line.split(b" "))
        plaintext, metadata, spelled = seed_open(message)
        assert plaintext == payload
        assert json.dumps(metadata).encode() == spelled
        assert not never_emitted(spelled), spelled


def the_check_itself():
    """The pattern of spellings would notice each of them."""
    for wrong in (
        b'{"a":1}', b'{"a": 1 }', b'{ "a": 1}', b'{"a": 1,"b": 2}', b'{"a": 1e5}', b'{"a": 1E+5}',
        b'{"a": NaN}', b'{"a": -Infinity}', b'{"a": -0}', b'{"a": 01}', b'{"a": "\\/"}',
        b'{"a": "\\u00E9"}', b'{"a": "\\u0041"}', b'{"a": "\\u000a"}', b'{"a": "\\u0022"}',
        '{"a": "\u00e9"}'.encode(),
    ):
        assert never_emitted(wrong), wrong
    for right in ({}, {"a": [1, -1, 0, 0.5, "x/y", "\x00\x7f\u00e9\U0001f600\n\"\\"], "b": {"c": None}}):
        assert not never_emitted(json.dumps(right).encode()), right


def some_value(rng, depth=0):
    kind = rng.randrange(9 if depth < 4 else 6)
    if kind == 0:
        return "".join(
            chr(rng.choice((rng.randrange(128), rng.randrange(0x20, 0xD800), rng.randrange(0xE000, 0x110000))))
            for _ in range(rng.randrange(20))
        )
    if kind == 1:
        return rng.randrange(-(2 ** rng.randrange(1, 70)), 2 ** rng.randrange(1, 70))
    if kind == 2:
        return rng.uniform(-1, 1) * 10 ** rng.randrange(-300, 300)
    if kind == 3:
        return rng.choice((True, False, None, 0.0, -0.0, 1e22, 1e-7))
    if kind in (4, 5):
        return rng.randrange(1000)
    if kind == 6:
        return [some_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {f"k{i}\u00e9": some_value(rng, depth + 1) for i in range(rng.randrange(4))}


def ours(program, count, seed):
    """We open what the seed seals, with everything json.dumps can spell."""
    rng = random.Random(seed)
    lines = []
    for i in range(count):
        ms = rng.randrange(4102444800000)
        metadata = {"timestamp": ms // 1000 if i % 7 == 0 else ms / 1000}
        # A float has no exact ms: what we must read is its shortest spelling, cut off.
        spelled = json.dumps(metadata["timestamp"])
        whole, _, fraction = spelled.partition(".")
        expected = int(whole) * 1000 + int((fraction + "000")[:3])
        for n in range(rng.randrange(5)):
            metadata[f"member {n}"] = some_value(rng)
        payload = rng.randbytes(rng.randrange(200))
        message = seed_seal(payload, metadata, rng.randbytes(24))
        lines.append(f"{message.hex()} {payload.hex()} {expected}\n")
    done = subprocess.run(
        [program, "read"], input="".join(lines), text=True, check=True, capture_output=True, timeout=300
    )
    assert done.stdout == f"{count}\n", done.stdout


def main():
    program = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 10000
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 20261120
    failed = 0
    tests = (
        ("the_check_itself", the_check_itself),
        ("seed_reader", lambda: theirs(program, count, seed)),
        ("seed_writer", lambda: ours(program, count // 5, seed)),
    )
    for name, test in tests:
        try:
            test()
            print(f"ok {name}")
        except Exception as error:  # pylint: disable=broad-except
            failed += 1
            print(f"FAILED {name} (seed {seed}): {type(error).__name__}: {error}")
            if isinstance(error, subprocess.CalledProcessError):
                print(error.stderr)
    print(f"{len(tests) - failed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
