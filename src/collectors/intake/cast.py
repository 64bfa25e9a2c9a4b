"""Arrow columns of foreign producers into the types of the wire schema, without losing or guessing anything.

Accepted, for a field of type

- text: any string type; binary that is UTF-8
- whole number: integers, and floats and decimals without fraction, that are in range
- number: integers up to 2^53, floats, decimals; truth value: truth values
- time: timestamps of any unit and zone (UTC if there is none; nanoseconds are cut to microseconds), dates, text by
  RFC 3339, integers as microseconds since 1970 UTC
- list: lists of any offset width or of fixed size; map: maps; their elements likewise
- ``event_id``: 16 bytes (UUID type, fixed-size or variable binary) or text

any of it dictionary-encoded or in extension types, or all null. A value that does not fit costs its row; a column of a
type that is not listed costs the rows in which it has a value.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collectors.errors import TooLarge
from collectors.intake.times import times_from_text
from collectors.model.event_type import EVENT_ID, TIMESTAMP, Field

Cast = Callable[[pa.Array], pa.Array]
Converted = tuple[pa.Array, list[int]]
"""A column, and the places of the values that do not fit, which are null in it."""

_NANOS_PER_MICRO = 1000


class Budget:
    """Bytes that may still be used to spell out what a body encodes in fewer."""

    def __init__(self, limit: int) -> None:
        self._limit = self._left = limit

    def spend(self, amount: int) -> None:
        """Take ``amount`` off; raises TooLarge if that much is not left."""
        self._left -= amount
        if self._left < 0:
            raise TooLarge(f"the body takes more than {self._limit} bytes of memory; send it in parts")


def to_field(column: pa.Array, field: Field, budget: Budget) -> Converted:
    """Convert ``column`` to the wire type of ``field``; an ``event_id`` that is text stays text.

    Raises TooLarge if that takes more than ``budget`` has left.
    """
    if column.type == field.type:
        return column, []
    if field.type != EVENT_ID:
        return _convert(column, field.type, budget)
    column = spelled_out(column, budget)
    if is_bytes(column.type):
        return _cast_each(column, EVENT_ID, lambda part: part.cast(EVENT_ID))
    return _convert(column, pa.string(), budget)


def spelled_out(column: pa.Array, budget: Budget) -> pa.Array:
    """Return ``column`` free of extension types, dictionaries of plain values, and views; inner columns stay."""
    if isinstance(column, pa.ExtensionArray):
        return spelled_out(column.storage, budget)
    kind = column.type
    if pa.types.is_dictionary(kind) and not pa.types.is_nested(kind.value_type):
        values = spelled_out(column.dictionary, budget)
        if is_text(values.type) or is_bytes(values.type):
            budget.spend(pc.sum(pc.binary_length(values).take(column.indices)).as_py() or 0)
        return values.take(column.indices)
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return _without_views(column, budget)
    return column


def is_text(kind: pa.DataType) -> bool:
    """Whether ``kind`` is text with offsets."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_bytes(kind: pa.DataType) -> bool:
    """Whether ``kind`` is binary with offsets or of fixed size."""
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _without_views(column: pa.Array, budget: Budget) -> pa.Array:
    """Return a column of views as one with offsets.

    Arrow's cast follows the views of nulls as well, which may point anywhere, as no validation looks at them; so they
    are emptied first. A view is 16 bytes that begin with the length.
    """
    validity, views, *texts = column.buffers()
    end = column.offset + len(column)
    words = np.frombuffer(views, np.int32, 4 * end).reshape(-1, 4).copy()
    mine = words[column.offset :]
    mine[column.is_null().to_numpy(zero_copy_only=False)] = 0
    budget.spend(int(mine[:, 0].sum(dtype=np.int64)))
    buffers = [validity, pa.py_buffer(words), *texts]
    emptied = pa.Array.from_buffers(column.type, len(column), buffers, offset=column.offset)
    return emptied.cast(pa.string() if pa.types.is_string_view(column.type) else pa.binary())


def _convert(column: pa.Array, kind: pa.DataType, budget: Budget) -> Converted:
    column = spelled_out(column, budget)
    if column.type == kind:
        return column, []
    if pa.types.is_list(kind) and is_list(column.type):
        return _convert_lists(column, kind, budget)
    if pa.types.is_timestamp(kind) and is_text(column.type):
        return times_from_text(column.cast(pa.string()))
    cast = _caster(column.type, kind)
    if cast is not None:
        return _cast_each(column, kind, cast)
    return pa.nulls(len(column), kind), np.flatnonzero(column.is_valid()).tolist()


def _caster(given: pa.DataType, kind: pa.DataType) -> Cast | None:
    """Return how to cast a column, to raise ArrowInvalid if a value does not fit; None if no value can."""
    if pa.types.is_null(given):
        return lambda column: pa.nulls(len(column), kind)
    if _castable(given, kind):
        return lambda column: column.cast(kind)
    if pa.types.is_timestamp(kind) and (pa.types.is_timestamp(given) or pa.types.is_date(given) or _is_whole(given)):
        return _to_time
    return None


def _castable(given: pa.DataType, kind: pa.DataType) -> bool:
    """Whether Arrow's own safe cast does just what is wanted."""
    if pa.types.is_string(kind):
        return is_text(given) or (is_bytes(given) and not pa.types.is_fixed_size_binary(given))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return bool(_is_whole(given) or pa.types.is_floating(given) or pa.types.is_decimal(given))
    if pa.types.is_map(kind) and pa.types.is_map(given):
        return _castable(given.key_type, kind.key_type) and _castable(given.item_type, kind.item_type)
    return False


def _is_whole(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind))


def is_list(kind: pa.DataType) -> bool:
    """Whether ``kind`` is a list whose elements lie one after the other."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _to_time(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_date(kind):
        return column.cast(pa.timestamp("us")).view(TIMESTAMP)
    numbers = column.cast(pa.int64())
    if _is_whole(kind):
        return numbers.view(TIMESTAMP)
    if kind.unit == "ns":  # a safe cast would refuse what is finer than a microsecond
        micros = numbers.fill_null(0).to_numpy() // _NANOS_PER_MICRO
        return pa.array(micros, mask=column.is_null().to_numpy(zero_copy_only=False)).view(TIMESTAMP)
    return numbers.view(pa.timestamp(kind.unit, "UTC")).cast(TIMESTAMP)


def _convert_lists(column: pa.Array, kind: pa.DataType, budget: Budget) -> Converted:
    values, failed = _convert(column.flatten(), kind.value_type, budget)
    lengths = pc.list_value_length(column).fill_null(0).to_numpy()
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    mask = column.is_null() if column.null_count else None
    lists = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values, mask=mask)
    rows = np.searchsorted(offsets, failed, side="right") - 1
    return lists, np.unique(rows).tolist()


def _cast_each(column: pa.Array, kind: pa.DataType, cast: Cast) -> Converted:
    """Cast what can be cast, by halving until a value that cannot stands alone."""
    try:
        return cast(column), []
    except pa.ArrowInvalid:
        if len(column) == 1:
            return pa.nulls(1, kind), [0]
    middle = len(column) // 2
    left, left_failed = _cast_each(column[:middle], kind, cast)
    right, right_failed = _cast_each(column[middle:], kind, cast)
    return pa.concat_arrays([left, right]), left_failed + [middle + i for i in right_failed]
