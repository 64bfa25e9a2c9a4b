"""Byte strings as 64-bit keys, a whole column at a time."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Keys = NDArray[np.uint64]

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
