"""Text columns as NumPy bytes and back, so that a transform costs no Python object per row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

WIDEST = 64
"""Widest window of ``Rows.windows``, in bytes."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The values of a text column that are not null, as slices of one buffer.

    ``starts`` and ``lengths`` have one element a value; ``valid`` has one a row of the column, and is None if no
    row is null. ``data`` ends in ``WIDEST`` bytes of padding.
    """

    data: Bytes
    starts: Integers
    lengths: Integers
    valid: Flags | None

    def __len__(self) -> int:
        return len(self.starts)

    @classmethod
    def of(cls, column: pa.Array) -> Rows:
        """Take the values of a string or binary column of at least one row, of 32- or 64-bit offsets, sliced or not."""
        kind = column.type
        if pa.types.is_string(kind) or pa.types.is_binary(kind):
            width: type[np.signedinteger] = np.int32
        elif pa.types.is_large_string(kind) or pa.types.is_large_binary(kind):
            width = np.int64
        else:
            raise TypeError(f"a column of text is needed, not of {kind}")
        _, offsets_buffer, data_buffer = column.buffers()
        raw = np.frombuffer(offsets_buffer, width, len(column) + 1, column.offset * np.dtype(width).itemsize)
        offsets: Integers = raw.astype(np.int64)
        first, last = int(offsets[0]), int(offsets[-1])
        # A window that starts at the last byte reaches past it, and Arrow does not promise any padding.
        data = np.empty(last - first + WIDEST, np.uint8)
        if last > first:
            data[: last - first] = np.frombuffer(data_buffer, np.uint8, last - first, first)
        offsets -= first
        starts = offsets[:-1]
        lengths = offsets[1:] - starts
        if column.null_count == 0:
            return cls(data, starts, lengths, None)
        valid = column.is_valid().to_numpy(zero_copy_only=False)
        return cls(data, starts[valid], lengths[valid], valid)

    def take(self, at: Integers) -> Rows:
        """Return the values at the positions ``at``; they no longer know their rows."""
        return Rows(self.data, self.starts[at], self.lengths[at], None)

    def windows(self, width: int, starts: Integers) -> Bytes:
        """Copy the ``width`` bytes from each of ``starts`` into an array of shape (starts, width)."""
        every = np.ndarray((len(self.data) - width + 1,), np.dtype((np.void, width)), self.data, strides=(1,))
        return every[starts].view(np.uint8).reshape(-1, width)


def map_values(column: pa.Array | pa.ChunkedArray, kernel: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """Apply a ``kernel``, which maps each value by itself, to a plain, chunked or dictionary-encoded column.

    Of a dictionary-encoded column only the dictionary is mapped, unless it is longer than the column.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if not pa.types.is_dictionary(column.type):
        return kernel(column)
    if len(column.dictionary) > len(column):
        return kernel(column.dictionary_decode())
    return kernel(column.dictionary).take(column.indices)


def is_all_null(column: pa.Array) -> bool:
    """Tell whether no row has a value, which is so of an empty column too."""
    return bool(column.null_count == len(column))


def binary_array(data: Bytes, lengths: int | Integers, valid: Flags | None) -> pa.Array:
    """Build a ``binary`` column from its values' bytes end to end and their lengths.

    ``data`` is any C-contiguous array; nulls take no bytes in it. Its size must stay below 2 GiB.
    """
    n = len(data) if valid is None else len(valid)
    offsets = np.zeros(n + 1, np.int32)
    if valid is None:
        offsets[1:] = lengths
        bitmap = None
    else:
        offsets[1:][valid] = lengths
        bitmap = pa.py_buffer(np.packbits(valid, bitorder="little"))
    np.cumsum(offsets, out=offsets)
    return pa.Array.from_buffers(pa.binary(), n, [bitmap, pa.py_buffer(offsets), pa.py_buffer(data)])


def fixed_array(values: Bytes, valid: Flags | None) -> pa.Array:
    """Build a fixed-size binary column from one row of ``values``, of shape (values, width), for each valid row."""
    width = values.shape[1]
    if valid is None:
        return pa.Array.from_buffers(pa.binary(width), len(values), [None, pa.py_buffer(values)])
    full = np.zeros((len(valid), width), np.uint8)
    full[valid] = values
    bitmap = pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(pa.binary(width), len(valid), [bitmap, pa.py_buffer(full)])
