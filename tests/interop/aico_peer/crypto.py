# SPDX-License-Identifier: Apache-2.0
"""Sections 1 and 2 of docs/protocol.md: primitives and what is derived from a seed."""
import base64
import hashlib
import hmac
import itertools
import os
import struct
import time

import nacl.bindings as sodium
import nacl.exceptions


class ProtocolError(Exception):
    """What a peer sent is refused; `code` is the name of the error in docs/protocol.md."""

    def __init__(self, code, text=""):
        super().__init__(f"{code} {text}".strip())
        self.code = code


def lp8(x):
    return struct.pack(">B", len(x)) + x


def lp16(x):
    return struct.pack(">H", len(x)) + x


def now_ms():
    return time.time_ns() // 1000000


def H(x, n=32):
    return hashlib.blake2b(x, digest_size=n).digest()


def TAG(text):
    return lp8(b"aico-bus/1 " + text.encode())


def KDF(k, label, x=b""):
    return hashlib.blake2b(TAG(label) + x, key=k, digest_size=32).digest()


def MAC(k, x):
    return KDF(k, "mac", x)


def keyed16(k, x):
    return hashlib.blake2b(x, key=k, digest_size=16).digest()


equal = hmac.compare_digest


def seal(key, nonce, ad, plain):
    return sodium.crypto_aead_xchacha20poly1305_ietf_encrypt(plain, ad, nonce, key)


def open_(key, nonce, ad, sealed):
    try:
        return sodium.crypto_aead_xchacha20poly1305_ietf_decrypt(sealed, ad, nonce, key)
    except nacl.exceptions.CryptoError:
        raise ProtocolError("E_OPEN") from None


def DH(a, B):
    try:
        shared = sodium.crypto_scalarmult(a, B)
    except nacl.exceptions.CryptoError:
        raise ProtocolError("E_DH") from None
    if shared == bytes(32):
        raise ProtocolError("E_DH")
    return shared


def x25519_public(secret):
    return sodium.crypto_scalarmult_base(secret)


def verify(public, signature, label, x):
    try:
        sodium.crypto_sign_open(signature + TAG(label) + x, public)
    except nacl.exceptions.CryptoError:
        raise ProtocolError("E_SIGNATURE", label) from None


class Identity:
    """Everything that comes from one seed."""

    counter = itertools.count()

    def __init__(self, seed, transport=0):
        self.seed = seed
        self.public, self._secret = sodium.crypto_sign_seed_keypair(seed)
        self.transport_secret = KDF(seed, "transport", struct.pack(">I", transport))
        self.transport_public = x25519_public(self.transport_secret)
        self.hedge = KDF(seed, "hedge")

    def sign(self, label, x):
        return sodium.crypto_sign(TAG(label) + x, self._secret)[:64]

    def fresh(self, purpose):
        clocks = struct.pack(
            ">QQQQ",
            time.time_ns(),
            time.clock_gettime_ns(time.CLOCK_BOOTTIME),
            os.getpid(),
            next(self.counter),
        )
        return KDF(self.hedge, "fresh " + purpose, os.urandom(32) + clocks)

    def format0_keys(self, peer):
        """(receive, send) when we are crypto_kx's client, then the same as its server."""
        own_public = sodium.crypto_sign_ed25519_pk_to_curve25519(self.public)
        own_secret = sodium.crypto_sign_ed25519_sk_to_curve25519(self._secret)
        other = sodium.crypto_sign_ed25519_pk_to_curve25519(peer)
        return (
            sodium.crypto_kx_client_session_keys(own_public, own_secret, other),
            sodium.crypto_kx_server_session_keys(own_public, own_secret, other),
        )


def fingerprint(public):
    text = base64.b32encode(H(TAG("fingerprint") + public, 16)).decode().rstrip("=").lower()
    return "aico:" + "-".join(text[i : i + 4] for i in range(0, len(text), 4))
