"""What a line of JSON is worth, worked out value by value with the standard library alone."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from collectors.intake.decoded import Decoded
from collectors.model.event_type import EventType, Field

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Bad(Exception):
    """A row that cannot be read; the argument is its code."""


def read_line(line: bytes, event_type: EventType) -> dict[str, Any] | None:
    """Return the row of a line, with times as integers; None if the line is blank. Raises Bad."""
    line = line.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r")
    if not line:
        return None
    try:
        value = json.loads(line.decode(), parse_constant=_refuse)
        json.dumps(value, ensure_ascii=False).encode()  # fails on lone surrogates
        _refuse_infinity(value)
    except (ValueError, RecursionError):
        raise Bad("not_json") from None
    if not isinstance(value, dict):
        raise Bad("not_object")
    row: dict[str, Any] = {}
    for field in event_type.columns:
        if field.name != "properties":
            given = value.pop(field.name, None)
            row[field.name] = None if given is None else _value(field, given)
    row["properties"] = _properties(value)
    return row


def _refuse(_: str) -> None:
    raise ValueError


def _refuse_infinity(value: Any) -> None:
    if isinstance(value, float) and math.isinf(value):
        raise ValueError
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _refuse_infinity(inner)


def _properties(rest: dict[str, Any]) -> dict[str, Any] | None:
    given = rest.pop("properties", None)
    if isinstance(given, str):
        try:
            given = json.loads(given, parse_constant=_refuse)
        except ValueError:
            raise Bad("wrong_type:properties") from None
        if given is None:
            raise Bad("wrong_type:properties")
    if given is None and not rest:
        return None
    if given is not None and not isinstance(given, dict):
        raise Bad("wrong_type:properties")
    merged = dict(given or {})
    for name, value in rest.items():
        underscores = 0
        while "_" * underscores + name in merged:
            underscores += 1
        merged["_" * underscores + name] = value
    return merged


def _value(field: Field, given: Any) -> Any:
    try:
        return _typed(field, field.type, given)
    except ValueError:
        raise Bad(f"wrong_type:{field.name}") from None


def _typed(field: Field, kind: pa.DataType, given: Any) -> Any:
    if field.name == "attributes" and isinstance(given, dict):
        return json.dumps(given, ensure_ascii=False, separators=(",", ":"))
    if pa.types.is_map(kind):
        return [(k, None if v is None else _typed(field, kind.item_type, v)) for k, v in _is(dict, given).items()]
    if pa.types.is_list(kind):
        return [None if v is None else _typed(field, kind.value_type, v) for v in _is(list, given)]
    if pa.types.is_timestamp(kind):
        return read_time(given)
    if pa.types.is_boolean(kind):
        return _is(bool, given)
    if pa.types.is_integer(kind):
        number = int(given) if isinstance(given, float) and given == math.floor(given) else given
        if type(number) is not int or abs(number + 0.5) > 2 ** (kind.bit_width - 1):
            raise ValueError
        return number
    if pa.types.is_floating(kind):
        if type(given) not in (int, float):
            raise ValueError
        return float(given)
    return _is(str, given)


def _is(kind: type, given: Any) -> Any:
    if type(given) is not kind:
        raise ValueError
    return given


def read_time(given: Any) -> int:
    if isinstance(given, str):
        if len(given) < 10 or given[4] != "-" or given[7] != "-":  # fromisoformat also reads weeks and days of the year
            raise ValueError
        moment = datetime.fromisoformat(given.upper())
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return (moment - EPOCH) // timedelta(microseconds=1)
    if type(given) not in (int, float) or abs(given) >= 2**63:
        raise ValueError
    for limit, unit in ((10**11, 10**6), (10**14, 10**3), (10**17, 1)):
        if abs(given) < limit:
            return round(given * unit)
    return math.floor(given) // 1000


def rows_of(decoded: Decoded) -> dict[int, dict[str, Any]]:
    """Return the decoded rows by their place in the body, times as integers and properties parsed."""
    numbers = range(decoded.table.num_rows) if decoded.row_numbers is None else decoded.row_numbers.tolist()
    columns = {}
    for name in decoded.table.schema.names:
        column = decoded.table.column(name)
        columns[name] = (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).to_pylist()
    rows = {}
    for i, number in enumerate(numbers):
        row = {name: values[i] for name, values in columns.items()}
        row["properties"] = None if row["properties"] is None else json.loads(row["properties"])
        rows[number] = row
    return rows
