"""Byte strings as 64-bit keys, and an index from keys to row numbers; both work on whole arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
Rows = NDArray[np.intp]

_WORD = 8
_MASK = (1 << 64) - 1


def _multipliers(count: int) -> Keys:
    """Return odd constants by the splitmix64 sequence; they are part of every snapshot's meaning, so never change."""
    values, state = [], 0
    for _ in range(count):
        state = (state + 0x9E3779B97F4A7C15) & _MASK
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        values.append((z ^ (z >> 31)) | 1)
    return np.array(values, np.uint64)


_MULTIPLIERS = _multipliers(257)  # identifiers have at most 256 bytes; longer ones are folded


def key64(column: pa.Array) -> Keys:
    """Hash each value of a binary column without nulls to 64 bits, never zero.

    A multilinear hash of the value's words and length, then the finaliser of MurmurHash3. Pseudonyms are the
    output of a keyed function, so that nobody can choose colliding ones; among n of them a collision has the
    probability n^2 / 2^65, 1 in 10^10 for 60,000.
    """
    n = len(column)
    if n == 0:
        return np.empty(0, np.uint64)
    offsets = np.frombuffer(column.buffers()[1], np.int32, n + 1, column.offset * 4)
    lengths = np.diff(offsets)
    first, last = int(offsets[0]), int(offsets[-1])
    data = np.frombuffer(column.buffers()[2], np.uint8, last - first, first) if last > first else np.empty(0, np.uint8)
    longest = int(lengths.max())
    width = -(-longest // _WORD)
    if longest == int(lengths.min()) and longest == width * _WORD:
        words = data.view(np.uint64).reshape(n, width)
    else:
        padded = np.zeros((n, width * _WORD), np.uint8)
        padded[np.arange(width * _WORD) < lengths[:, None]] = data
        words = padded.view(np.uint64)
    hashed: Keys = lengths.astype(np.uint64) * _MULTIPLIERS[-1]
    for at in range(width):
        hashed += words[:, at] * _MULTIPLIERS[at % (len(_MULTIPLIERS) - 1)]
    for shift, multiplier in ((33, 0xFF51AFD7ED558CCD), (33, 0xC4CEB9FE1A85EC53)):
        hashed ^= hashed >> np.uint64(shift)
        hashed *= np.uint64(multiplier)
    hashed ^= hashed >> np.uint64(33)
    return np.maximum(hashed, np.uint64(1))


class KeyIndex:
    """Row numbers by key: open addressing with double hashing, all keys of a call probed at once.

    At most a quarter of the slots are taken, so that a handful of probes settles every key. Keys are never
    removed; a table that drops some makes a new index. Key 0 marks a free slot.
    """

    BYTES_PER_KEY = 4 * (8 + 4)

    def __init__(self, capacity: int) -> None:
        slots = 1 << (4 * capacity - 1).bit_length()
        self._mask = np.uint64(slots - 1)
        self._keys: Keys = np.zeros(slots, np.uint64)
        self._rows = np.full(slots, -1, np.int32)

    def find(self, keys: Keys) -> Rows:
        """Return the row of each key, -1 where there is none."""
        rows: Rows = np.full(len(keys), -1, np.intp)
        todo, slot, step = self._start(keys)
        while todo.size:
            held = self._keys[slot]
            hit = held == keys[todo]
            rows[todo[hit]] = self._rows[slot[hit]]
            todo, slot, step = self._next(~hit & (held != 0), todo, slot, step)
        return rows

    def insert(self, keys: Keys, rows: NDArray[Any]) -> None:
        """Add keys, distinct and not yet there, with their rows."""
        todo, slot, step = self._start(keys)
        while todo.size:
            wanted = keys[todo]
            free = self._keys[slot] == 0
            self._keys[slot[free]] = wanted[free]  # of several that want a slot, the last one gets it
            won = free & (self._keys[slot] == wanted)
            self._rows[slot[won]] = rows[todo[won]]
            todo, slot, step = self._next(~won, todo, slot, step)

    def _start(self, keys: Keys) -> tuple[Rows, Keys, Keys]:
        return np.arange(len(keys)), keys & self._mask, (keys >> np.uint64(32)) | np.uint64(1)

    def _next(self, left: NDArray[np.bool_], todo: Rows, slot: Keys, step: Keys) -> tuple[Rows, Keys, Keys]:
        step = step[left]
        return todo[left], (slot[left] + step) & self._mask, step
