"""Vectorised draws: seeded generators, weighted choice with exactly known probabilities, identifiers, times."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from collectors.model.event_type import EVENT_ID, TIMESTAMP, EventType

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Index = npt.NDArray[np.integer]
Tagged = tuple[str, str, pa.RecordBatch]
"""Tenant, event type, and a batch of the type's ``wire_schema``."""

Columns = TypeVar("Columns", bound=tuple[Any, ...])

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
SLOT_BITS = 24  # most bits a slot table may have; draws that share a word start at multiples of it

_ALPHABET = np.frombuffer(b"abcdefghijkmnpqrstuvwxyz23456789", dtype=np.uint8)  # 32 signs that cannot be confused
_HEX = np.array([int.from_bytes(f"{b:02x}".encode(), "little") for b in range(256)], dtype="<u2")
_VERSION = (np.uint64(0xFF0FFFFFFFFFFFFF), np.uint64(0x0040000000000000))
_VARIANT = (np.uint64(0xFFFFFFFFFFFFFF3F), np.uint64(0x0000000000000080))


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return an independent generator for one purpose, so that a new purpose never shifts another's draws."""
    path = [zlib.crc32(p.encode()) if isinstance(p, str) else p for p in purpose]
    return np.random.default_rng(np.random.SeedSequence([seed, *path]))


def words(rng: np.random.Generator, n: int) -> Words:
    """Draw ``n`` random 64-bit words."""
    return rng.integers(0, 2**64 - 1, n, dtype=np.uint64, endpoint=True)


def bits(source: Words, shift: int, count: int) -> Ints:
    """Cut ``count`` bits out of each word, so that one draw serves several choices."""
    cut = (source >> np.uint64(shift)) & np.uint64((1 << count) - 1)
    return np.asarray(cut.view(np.int64), dtype=np.int64)


def zipf_weights(n: int, exponent: float, shift: float) -> Floats:
    """Zipf-Mandelbrot weights ``(rank + shift) ** -exponent`` of ranks 1 to ``n``, adding up to 1."""
    weights = (np.arange(1, n + 1) + shift) ** -exponent
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def apportion(weights: npt.ArrayLike, total: int) -> Ints:
    """Split ``total`` into integers in proportion to ``weights`` by the largest-remainder method."""
    share = np.asarray(weights, dtype=np.float64)
    exact = share / share.sum() * total
    counts = np.asarray(np.floor(exact), dtype=np.int64)
    order = np.argsort(counts - exact, kind="stable")
    counts[order[: total - int(counts.sum())]] += 1
    return counts


class SlotTable:
    """Weighted choice in one gather: item ``i`` fills ``probability[i] * 2**bits`` of the slots, at least one.

    ``probability`` is exact, because a draw picks a slot uniformly. ``items`` are the values drawn, by default
    the positions of the weights.
    """

    def __init__(self, weights: npt.ArrayLike, *, bits: int, items: npt.ArrayLike | None = None) -> None:
        if bits > SLOT_BITS:
            raise ValueError(f"a slot table has at most {SLOT_BITS} bits")
        share = np.asarray(weights, dtype=np.float64)
        size = 1 << bits
        wanted = share / share.sum() * size
        # One slot for each, and the rest to those who want more; a trace of weight keeps an even table defined.
        counts = 1 + apportion(np.maximum(wanted - 1, 1e-9), size - len(share))
        values = np.arange(len(share)) if items is None else np.asarray(items)
        self.bits = bits
        self.probability: Floats = counts / size
        self._slots = np.repeat(values.astype(np.min_scalar_type(int(values.max()))), counts)

    def pick(self, source: Words, shift: int = 0) -> Index:
        """Draw one item per word from its ``self.bits`` bits at ``shift``."""
        return self._slots.take(bits(source, shift, self.bits))

    def draw(self, rng: np.random.Generator, n: int) -> Index:
        """Draw ``n`` items."""
        return self._slots.take(rng.integers(0, len(self._slots), n))


def spread_times(rng: np.random.Generator, n: int, start_us: int, end_us: int) -> Ints:
    """Draw ``n`` ascending times in ``[start_us, end_us)``, one in each of ``n`` equal parts."""
    part = max(end_us - start_us, 0) / max(n, 1)
    return start_us + ((np.arange(n) + rng.random(n)) * part).astype(np.int64)


def event_ids(rng: np.random.Generator, n: int) -> pa.FixedSizeBinaryArray:
    """Draw ``n`` version-4 UUIDs as 16 bytes each."""
    raw = words(rng, 2 * n).astype("<u8", copy=False)
    raw[0::2] = raw[0::2] & _VERSION[0] | _VERSION[1]
    raw[1::2] = raw[1::2] & _VARIANT[0] | _VARIANT[1]
    return pa.Array.from_buffers(EVENT_ID, n, [None, pa.py_buffer(raw)])


def fixed_text(signs: npt.NDArray[np.uint8]) -> pa.StringArray:
    """View an ``[n, width]`` matrix of ASCII codes as ``n`` strings, without copying when it is contiguous."""
    n, width = signs.shape
    offsets = np.arange(0, (n + 1) * width, width, dtype=np.int32)[: n + 1]
    return pa.StringArray.from_buffers(n, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(signs)))


def hex_digits(keys: Words) -> npt.NDArray[np.uint8]:
    """Return the 16 hexadecimal digits of each key as an ``[n, 16]`` matrix of ASCII codes."""
    digits = _HEX.take(keys.astype("<u8", copy=False).view(np.uint8))
    return digits.view(np.uint8).reshape(-1, 16)


def hex_text(keys: Words, prefix: str = "") -> pa.StringArray:
    """Write each 64-bit key as ``prefix`` and 16 hexadecimal digits."""
    digits = hex_digits(keys)
    if not prefix:
        return fixed_text(digits)
    signs = np.empty((len(keys), len(prefix) + 16), dtype=np.uint8)
    signs[:, : len(prefix)] = np.frombuffer(prefix.encode("ascii"), dtype=np.uint8)
    signs[:, len(prefix) :] = digits
    return fixed_text(signs)


def unique_names(rng: np.random.Generator, n: int, prefix: str, length: int = 8) -> pa.StringArray:
    """Draw ``n`` different names: ``prefix`` and ``length`` (at most 12) signs of a 32-sign alphabet."""
    if n > 1 << 5 * length:
        raise ValueError(f"there are not {n} names of {length} signs")
    keys = np.empty(0, dtype=np.int64)
    while len(keys) < n:
        drawn = np.concatenate([keys, rng.integers(0, 1 << 5 * length, n)])
        keys = drawn[np.sort(np.unique(drawn, return_index=True)[1])][:n]
    head = np.broadcast_to(np.frombuffer(prefix.encode("ascii"), dtype=np.uint8), (n, len(prefix)))
    return fixed_text(np.hstack([head, _ALPHABET.take(keys[:, None] >> 5 * np.arange(length) & 31)]))


def mix64(keys: Words) -> Words:
    """Scramble 64-bit keys one to one (the finaliser of SplitMix64, Steele, Lea & Flood 2014)."""
    with np.errstate(over="ignore"):
        z = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)), dtype=np.uint64)


def text_of(pool: pa.StringArray, index: Index, missing: Flags | None = None) -> pa.StringArray:
    """Look strings up in a pool; null where ``missing``."""
    return pool.take(pa.array(index, mask=missing))


def picked(columns: Columns, rows: Index | Flags | slice) -> Columns:
    """Pick the same rows of every column of a named tuple of arrays."""
    return type(columns)(*(column[rows] for column in columns))


def joined(parts: Sequence[Columns]) -> Columns:
    """Join named tuples of arrays column by column."""
    return type(parts[0])(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def time_array(times: Ints) -> pa.TimestampArray:
    """View UTC microseconds as Arrow timestamps."""
    return pa.Array.from_buffers(TIMESTAMP, len(times), [None, pa.py_buffer(times)])


def record_batch(
    event_type: EventType, rng: np.random.Generator, times: Ints, columns: dict[str, pa.Array]
) -> pa.RecordBatch:
    """Assemble a batch of the type's ``wire_schema`` with fresh event ids; columns not given are null."""
    n = len(times)
    given = {"event_id": event_ids(rng, n), "event_time": time_array(times), **columns}
    schema = event_type.wire_schema
    arrays = [given[f.name] if f.name in given else pa.nulls(n, f.type) for f in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
