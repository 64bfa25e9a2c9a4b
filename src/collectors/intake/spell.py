"""Arrow values as JSON: for columns no field is named after, and for rows that are kept because they are bad.

Times become text by RFC 3339 in UTC, other temporal values text, durations whole numbers of their unit, decimals text,
16 bytes a UUID, other binary base64, a map with text keys an object; what is not finite becomes null.
"""

from __future__ import annotations

import base64
import uuid
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collectors.errors import MalformedBody
from collectors.intake.cast import Budget, is_bytes, is_list, is_text, spelled_out


def json_values(column: pa.Array, budget: Budget) -> list[Any]:
    """Return the values of ``column`` as what a JSON parser would make of them.

    Raises MalformedBody if it has a type without a counterpart in JSON, TooLarge if the values take more than
    ``budget`` has left.
    """
    column = spelled_out(column, budget)
    kind = column.type
    values: list[Any]
    if pa.types.is_struct(kind):
        members = [json_values(child, budget) for child in column.flatten()]
        names = [kind.field(i).name for i in range(kind.num_fields)]
        values = [dict(zip(names, row, strict=True)) for row in zip(*members, strict=True)] or [{}] * len(column)
        return _where_valid(column, values)
    if pa.types.is_map(kind):
        pairs = json_values(
            column.cast(pa.list_(pa.struct([("key", kind.key_type), ("value", kind.item_type)]))), budget
        )
        return [None if value is None else _object(value) for value in pairs]
    if is_list(kind):
        elements = json_values(column.flatten(), budget)
        ends = np.cumsum(pc.list_value_length(column).fill_null(0).to_numpy()).tolist()
        return _where_valid(column, [elements[start:end] for start, end in pairwise([0, *ends])])
    return _plain_values(column)


def _plain_values(column: pa.Array) -> list[Any]:
    kind = column.type
    if pa.types.is_timestamp(kind):
        column = column.cast(pa.int64()).view(pa.timestamp(kind.unit)).cast(pa.string())
        return [None if text is None else text.replace(" ", "T") + "Z" for text in column.to_pylist()]
    if is_bytes(kind):
        return [None if value is None else _text_of(value) for value in column.to_pylist()]
    if pa.types.is_duration(kind):
        column = column.cast(pa.int64())
    elif pa.types.is_date(kind) or pa.types.is_time(kind) or pa.types.is_decimal(kind):
        column = column.cast(pa.string())
    elif pa.types.is_floating(kind):
        column = column.cast(pa.float64())
    elif not (pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind) or is_text(kind)):
        raise MalformedBody("the body has a column of an Arrow type that JSON has no counterpart for")
    values: list[Any] = column.to_pylist()
    return values


def _where_valid(column: pa.Array, values: list[Any]) -> list[Any]:
    return [value if there else None for value, there in zip(values, column.is_valid().to_pylist(), strict=True)]


def _object(pairs: list[Any]) -> Any:
    keys = [pair["key"] for pair in pairs]
    return {pair["key"]: pair["value"] for pair in pairs} if all(type(key) is str for key in keys) else pairs


def _text_of(value: bytes) -> str:
    return str(uuid.UUID(bytes=value)) if len(value) == 16 else base64.b64encode(value).decode()
