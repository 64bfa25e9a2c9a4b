"""Authenticated encryption of fields: AES-256-GCM (NIST SP 800-38D) in Tink's wire format.

A sealed value is ``0x01``, the key's id in 4 bytes big-endian, a random IV of 12 bytes, the ciphertext and a tag of
16 bytes: https://developers.google.com/tink/wire-format. One key may seal at most 2^32 values (SP 800-38D,
section 8.3); whoever seals n values a second rotates it well before 2^32 / n seconds.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pyarrow as pa
from cryptography.exceptions import InvalidTag

from collectors.errors import BadInput
from collectors.privacy.columns import is_all_null
from collectors.privacy.keys import Keyset

_VERSION = b"\x01"
_IV = 12
_PREFIX = 5
OVERHEAD = _PREFIX + _IV + 16
"""Bytes by which a sealed value is longer than its plaintext."""

Opener = Callable[[bytes, bytes, bytes], bytes]


def associated_data(tenant: str, event_type: str, field: str) -> bytes:
    """Return what binds a sealed value to its place: moved elsewhere, it does not open."""
    return f"{tenant}|{event_type}|{field}".encode()


def seal(keyset: Keyset, ad: bytes, plaintext: bytes) -> bytes:
    """Encrypt one value under the keyset's primary key, bound to ``ad``."""
    iv = os.urandom(_IV)
    return _prefix(keyset) + iv + keyset.primary.aesgcm.encrypt(iv, plaintext, ad)


def open_sealed(keyset: Keyset, ad: bytes, sealed: bytes) -> bytes:
    """Return the plaintext of one sealed value.

    Raises BadInput if it is not a sealed value, was altered or belongs elsewhere, UnknownName if its key is not of
    this keyset, and LifecycleError if that key was destroyed.
    """
    return _open(_Openers(keyset), ad, sealed)


def encrypt_column(keyset: Keyset, ad: bytes, column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a ``binary`` column with each text or binary value sealed by itself; nulls stay null.

    Equal values become different ones. Takes some 0.6 µs a value: GCM is called for each.
    """
    values = _binary(column)
    if is_all_null(values):
        return pa.nulls(len(values), pa.binary())
    prefix = _prefix(keyset)
    encrypt = keyset.primary.aesgcm.encrypt
    plain = values.to_pylist()
    random = os.urandom(_IV * len(plain))
    ivs = [random[i : i + _IV] for i in range(0, len(random), _IV)]
    sealed = [
        None if value is None else prefix + iv + encrypt(iv, value, ad) for iv, value in zip(ivs, plain, strict=True)
    ]
    return pa.array(sealed, pa.binary())


def decrypt_column(keyset: Keyset, ad: bytes, column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return a ``binary`` column with the plaintext of each sealed value; nulls stay null.

    Raises as ``open_sealed`` does if any value cannot be opened.
    """
    openers = _Openers(keyset)
    sealed = _binary(column).to_pylist()
    return pa.array([None if value is None else _open(openers, ad, value) for value in sealed], pa.binary())


class _Openers(dict[bytes, Opener]):
    """The decrypting function by the first five bytes of a sealed value."""

    def __init__(self, keyset: Keyset) -> None:
        super().__init__()
        self._keyset = keyset

    def __missing__(self, prefix: bytes) -> Opener:
        opener: Opener = self._keyset.decryption_key(int.from_bytes(prefix[1:], "big")).aesgcm.decrypt
        self[prefix] = opener
        return opener


def _open(openers: _Openers, ad: bytes, sealed: bytes) -> bytes:
    if len(sealed) < OVERHEAD or sealed[:1] != _VERSION:
        raise BadInput("this is not a sealed value; it was stored under another policy")
    try:
        return openers[sealed[:_PREFIX]](sealed[_PREFIX : _PREFIX + _IV], sealed[_PREFIX + _IV :], ad)
    except InvalidTag:
        raise BadInput("a sealed value was altered, or belongs to another tenant, type or field") from None


def _prefix(keyset: Keyset) -> bytes:
    return _VERSION + keyset.primary.id.to_bytes(4, "big")


def _binary(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return column.cast(pa.binary())
