"""A record of the event log, and how it lies in a segment file.

A record is a head, then its body, then its dead letters, each beginning on a multiple of 64 bytes, so that Arrow can
use a mapped body in place. The head has fixed fields and the two names; it carries a CRC-32 of itself and one of the
rest.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from collectors.errors import StorageUnavailable

Bytes = bytes | memoryview
Pieces = Sequence[memoryview]
"""Bytes that lie in several places, and are only put together as they are written."""

_MAGIC = b"EVT1"
_HEAD = struct.Struct("<4sIIHH11q")
_CHECKED_FROM = 8  # of the head: what follows the magic and the head's own checksum
_ALIGNMENT = 64
_NONE = -1


@dataclass(frozen=True, slots=True)
class Record:
    """What one group commit says of one tenant and type.

    ``body`` is an Arrow IPC stream of ``rows`` stored events, None if there are none: one piece as it is read, one or
    several as it is written. ``dead`` is the sealed Arrow IPC stream of the rejected ones.
    offered = rows + duplicate + rejected + dropped; a record that ``replays`` the dead
    letters of an earlier position counts those back with negative numbers. ``covered_since_us`` is since when the
    gateway had every event id in memory as it looked for duplicates; older repeats are found when loading.
    """

    tenant: str
    type: str
    acked_us: int
    covered_since_us: int
    rows: int
    offered: int
    duplicate: int
    rejected: int
    dropped: int
    replays: int = 0
    body: Bytes | Pieces | None = None
    dead: bytes | None = None
    position: int = 0


@dataclass(frozen=True, slots=True)
class Placed:
    """A record found in a segment, without what its body and dead letters say; offsets and lengths in bytes."""

    record: Record
    checksum: int
    body: slice | None
    dead: slice | None
    end: int
    """Where the next record begins."""


def pieces(record: Record, position: int) -> Iterator[Bytes]:
    """Yield what is written for ``record``, in order."""
    tenant, type_ = record.tenant.encode(), record.type.encode()
    parts = [_parts(record.body), _parts(record.dead)]
    checksum = 0
    for piece in itertools.chain(*parts):
        checksum = zlib.crc32(piece, checksum)
    body_length, dead_length = (sum(map(len, pieces)) for pieces in parts)
    head = _HEAD.pack(
        _MAGIC,
        0,
        checksum,
        len(tenant),
        len(type_),
        position,
        record.acked_us,
        record.covered_since_us,
        record.rows,
        record.offered,
        record.duplicate,
        record.rejected,
        record.dropped,
        record.replays,
        _NONE if record.body is None else body_length,
        _NONE if record.dead is None else dead_length,
    )
    checked = head[_CHECKED_FROM:] + tenant + type_
    yield _padded(_MAGIC + struct.pack("<I", zlib.crc32(checked)) + checked)
    for part, length in zip(parts, (body_length, dead_length), strict=True):
        yield from part
        yield bytes(-length % _ALIGNMENT)


def _parts(data: Bytes | Pieces | None) -> Pieces:
    if data is None:
        return ()
    return (memoryview(data),) if isinstance(data, bytes | memoryview) else data


def find(segment: memoryview, offset: int) -> Placed | None:
    """Return the record that begins at ``offset``; None if its head is damaged or its end is missing."""
    after_fields = offset + _HEAD.size
    if after_fields > len(segment):
        return None
    magic, head_checksum, checksum, tenant_length, type_length, position, *numbers, body_length, dead_length = (
        _HEAD.unpack_from(segment, offset)
    )
    after_names = after_fields + tenant_length + type_length
    if magic != _MAGIC or zlib.crc32(segment[offset + _CHECKED_FROM : after_names]) != head_checksum:
        return None
    names = bytes(segment[after_fields:after_names])
    tenant, type_ = names[:tenant_length].decode(), names[tenant_length:].decode()
    body = _slice(_aligned(after_names), body_length)
    dead = _slice(_aligned(body.stop if body else after_names), dead_length)
    end = _aligned(dead.stop if dead else body.stop if body else after_names)
    if end > len(segment):
        return None
    record = replace(Record(tenant, type_, *numbers), position=position)
    return Placed(record, checksum, body, dead, end)


def is_whole(segment: memoryview, placed: Placed) -> bool:
    """Tell whether body and dead letters are what was written."""
    body = segment[placed.body] if placed.body else b""
    dead = segment[placed.dead] if placed.dead else b""
    return zlib.crc32(dead, zlib.crc32(body)) == placed.checksum


def opened(segment: memoryview, placed: Placed, path: str, *, verify: bool = True) -> Record:
    """Return the record with its body, in place, and dead letters; StorageUnavailable if they are damaged."""
    if verify and not is_whole(segment, placed):
        raise StorageUnavailable(damage(placed.record.position, path))
    body = segment[placed.body] if placed.body else None
    dead = bytes(segment[placed.dead]) if placed.dead else None
    return replace(placed.record, body=body, dead=dead)


def damage(position: int, path: str) -> str:
    """Say that the disk gave back something else than was written."""
    return f"the event log is damaged at position {position} in {path}; restore this file from a copy"


def _slice(start: int, length: int) -> slice | None:
    return None if length == _NONE else slice(start, start + length)


def _aligned(offset: int) -> int:
    return offset + -offset % _ALIGNMENT


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNMENT)
