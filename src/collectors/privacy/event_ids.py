"""Event identities as 16 bytes, whatever text the producer calls them."""

from __future__ import annotations

import re
import uuid

import numpy as np
import pyarrow as pa

from collectors.model.event_type import EVENT_ID
from collectors.privacy.cmac import Cmac
from collectors.privacy.columns import Bytes, Flags, Rows, fixed_array, is_all_null, map_values

TEXT_KEY = b"collectors/event-id/text-to-uuid"
"""Published on purpose: it keeps no secret but makes the mapping the same for everyone, for ever."""

_TEXT_CMAC = Cmac(TEXT_KEY)
_HEX = re.compile(r"[0-9a-fA-F]{8}(-?)[0-9a-fA-F]{4}\1[0-9a-fA-F]{4}\1[0-9a-fA-F]{4}\1[0-9a-fA-F]{12}")
_INVALID = np.uint16(0x100)


def event_uuid(text: str) -> uuid.UUID:
    """Return the identity of an event whose producer calls it ``text``.

    A UUID written as 8-4-4-4-12 or 32 hexadecimal digits is itself. Any other text becomes a UUID of version 8
    (RFC 9562, section 5.8): its AES-256-CMAC under ``TEXT_KEY`` with the version and variant bits set.
    """
    if _HEX.fullmatch(text):
        return uuid.UUID(text)
    mac = bytearray(_TEXT_CMAC.digest(text.encode()))
    mac[6] = mac[6] & 0x0F | 0x80
    mac[8] = mac[8] & 0x3F | 0x80
    return uuid.UUID(bytes=bytes(mac))


def canonical_event_ids(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return ``event_uuid`` of every text of the column as ``fixed_size_binary(16)``; nulls stay null.

    A column that is already of that type passes through. A ``binary`` column is taken as UTF-8 text.
    """
    if column.type == EVENT_ID:
        return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return map_values(column, _ids)


def _ids(column: pa.Array) -> pa.Array:
    if is_all_null(column):
        return pa.nulls(len(column), EVENT_ID)
    rows = Rows.of(column)
    ids = np.empty((len(rows), 16), np.uint8)
    is_text = np.ones(len(rows), np.bool_)
    for length, parse in ((36, _parse_dashed), (32, _parse_hex)):
        at = np.flatnonzero(rows.lengths == length)
        if len(at):
            parsed, good = parse(rows.windows(length, rows.starts[at]))
            ids[at] = parsed
            is_text[at] = ~good
    at = np.flatnonzero(is_text)
    if len(at):
        macs = _TEXT_CMAC.rows(rows.take(at))
        macs[:, 6] = macs[:, 6] & 0x0F | 0x80
        macs[:, 8] = macs[:, 8] & 0x3F | 0x80
        ids[at] = macs
    return fixed_array(ids, rows.valid)


def _pair_values() -> np.ndarray[tuple[int], np.dtype[np.uint16]]:
    """Return, by two characters read as one native 16-bit number, the byte they write, or ``_INVALID``."""
    values = np.full(0x10000, _INVALID)
    for digits in ("0123456789abcdef", "0123456789ABCDEF"):
        for others in ("0123456789abcdef", "0123456789ABCDEF"):
            pairs = "".join(high + low for high in digits for low in others)
            values[np.frombuffer(pairs.encode(), np.uint16)] = np.arange(256)
    return values


_PAIRS = _pair_values()


def _parse_hex(digits: Bytes) -> tuple[Bytes, Flags]:
    """Return the 16 bytes that rows of 32 characters write, and which rows are hexadecimal."""
    values = _PAIRS[digits.view(np.uint16)]
    words = values.view(np.uint64)
    bad = (words[:, 0] | words[:, 1] | words[:, 2] | words[:, 3]) & np.uint64(0x0100_0100_0100_0100)
    return values.astype(np.uint8), bad == 0


def _parse_dashed(text: Bytes) -> tuple[Bytes, Flags]:
    """Return the same of rows of 36 characters in the form 8-4-4-4-12."""
    digits = np.empty((len(text), 32), np.uint8)
    digits[:, 0:8] = text[:, 0:8]
    digits[:, 8:12] = text[:, 9:13]
    digits[:, 12:16] = text[:, 14:18]
    digits[:, 16:20] = text[:, 19:23]
    digits[:, 20:32] = text[:, 24:36]
    parsed, good = _parse_hex(digits)
    for dash in (8, 13, 18, 23):
        good &= text[:, dash] == ord("-")
    return parsed, good
