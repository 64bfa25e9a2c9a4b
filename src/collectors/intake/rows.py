"""Parsed JSON objects into Arrow columns: the tolerant lane, in which a bad row costs only itself.

What a member may be, by the type of its field (null and absence are the same everywhere):

- text: a string. ``attributes`` of a log record may also be an object, which is kept as JSON text.
- whole number: a number without fraction that fits, however it is written (``12``, ``12.0``, ``1.2e1``).
- number: any number; truth value: ``true`` or ``false``. Neither may come as a string.
- time: text or a number, see ``times``.
- list, map: an array, an object; the elements follow the same rules.
- ``properties``: an object, or a string that holds one. Members that no field is named after are added to it; one
  whose name is taken there gets underscores in front.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Set as AbstractSet
from functools import cache
from typing import Any

import orjson
import pyarrow as pa

from collectors.intake.decoded import TOO_DEEP, BadRow, Decoded, Fault, Limits, RowNumbers, assemble, wrong_type
from collectors.intake.times import parse_epoch, parse_time, times_from_numbers, times_from_text
from collectors.model.event_type import EventType, Field

Row = dict[str, Any]

PROPERTIES = "properties"
JSON_TEXT_FIELDS = frozenset({"attributes"})
"""Text fields that are described as a JSON object, so that they may also arrive as one."""

_LONG_INTEGER = re.compile(rb"\d{19}")
_EXACT: dict[pa.DataType, type] = {
    pa.string(): str,
    pa.int32(): int,
    pa.int64(): int,
    pa.float64(): float,
    pa.bool_(): bool,
}
"""The Python type that Arrow turns into each type without losing or guessing anything."""


class _Mismatch(Exception):
    """A value is not of the type its field wants."""


def loads(text: bytes) -> Any:
    """Parse strict JSON (UTF-8, no NaN, no lone surrogates; the last of equal keys wins), exact also in long integers.

    Raises ``orjson.JSONDecodeError``.
    """
    value = orjson.loads(text)
    return json.loads(text) if _LONG_INTEGER.search(text) else value  # orjson makes them floats beyond 64 bits


def dumps(value: Any) -> str:
    """Spell ``value`` as compact JSON text."""
    try:
        return orjson.dumps(value).decode()
    except orjson.JSONEncodeError:  # an integer beyond 64 bits
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def decode_rows(
    event_type: EventType,
    rows: Sequence[Row],
    limits: Limits,
    *,
    raw: Callable[[int], bytes] | None = None,
    numbers: Sequence[int] | RowNumbers | None = None,
    unread: Sequence[BadRow] = (),
) -> Decoded:
    """Turn parsed objects into columns of ``event_type``.

    ``raw`` returns the bytes of the i-th of ``rows`` (without it they are spelled anew), ``numbers`` are the rows'
    places in the body, and ``unread`` the rows of the body that could not be parsed.
    """
    names: set[str] = set().union(*rows)
    columns: dict[str, pa.Array] = {}
    faults: dict[int, Fault] = {}
    for field in event_type.columns:
        if field.name in names and field.name != PROPERTIES:
            columns[field.name], failed = _column(field, [row.get(field.name) for row in rows])
            for i in failed:
                faults.setdefault(i, type_fault(field))
    unknown = names - event_type.by_name.keys()
    if unknown or PROPERTIES in names:
        texts = []
        for i, row in enumerate(rows):
            text, fault = _properties(row, unknown, raw and raw(i), limits.max_depth)
            texts.append(text)
            if fault is not None:
                faults.setdefault(i, fault)
        columns[PROPERTIES] = pa.array(texts, pa.string())
    spell = raw or (lambda i: dumps(rows[i]).encode())
    return assemble(event_type, columns, len(rows), faults, spell, numbers=numbers, unread=unread)


def type_fault(field: Field) -> Fault:
    """Return the fault of a row whose value of ``field`` has the wrong type."""
    wanted = "a JSON object" if field.name == PROPERTIES else _described(field.type)
    return Fault(wrong_type(field.name), f"{field.name} must be {wanted}")


def merge_properties(given: Row, extras: Iterable[tuple[str, Any]]) -> Row:
    """Add ``extras`` to ``given`` and overwrite nothing: a name that is taken gets underscores in front."""
    merged = dict(given)
    for name, value in extras:
        free = name
        while free in merged:
            free = "_" + free
        merged[free] = value
    return merged


def parse_properties(given: object) -> Row | None:
    """Return the properties of a row as an object, empty if there are none, and None if they are something else."""
    if isinstance(given, str):
        try:
            given = loads(given.encode())
        except orjson.JSONDecodeError:
            return None
    elif given is None:
        return {}
    return given if isinstance(given, dict) else None


def _properties(
    row: Row, unknown: AbstractSet[str], raw: bytes | None, max_depth: int
) -> tuple[str | None, Fault | None]:
    """Return the text of what goes to ``properties``, or the fault of the row."""
    if raw is not None and _LONG_INTEGER.search(raw):
        row = json.loads(raw)
    extras = [(name, value) for name, value in row.items() if name in unknown] if unknown else []
    given = row.get(PROPERTIES)
    if given is None and not extras:
        return None, None
    merged = parse_properties(given)
    if merged is None:
        return None, Fault(wrong_type(PROPERTIES), "properties must be a JSON object")
    if extras:
        merged = merge_properties(merged, extras)
    try:
        text = orjson.dumps(merged).decode()
        suspect = text.count("{") + text.count("[") > max_depth
    except orjson.JSONEncodeError:  # nested beyond orjson's own limit, or an integer beyond 64 bits
        suspect, text = True, ""
    if suspect and _nests_deeper(merged, max_depth):
        return None, Fault(TOO_DEEP, f"properties must not nest deeper than {max_depth} levels")
    return text or dumps(merged), None


def _nests_deeper(value: Row, levels: int) -> bool:
    layer: list[Any] = [value]
    for _ in range(levels):
        inner = (member for holder in layer for member in (holder.values() if type(holder) is dict else holder))
        layer = [member for member in inner if type(member) in (dict, list)]
        if not layer:
            return False
    return True


def _column(field: Field, values: list[Any]) -> tuple[pa.Array, list[int]]:
    """Return the column, and the places of the values that do not fit, which are null in it."""
    kind = pa.string() if pa.types.is_fixed_size_binary(field.type) else field.type
    given = set(map(type, values)) - {type(None)}
    try:
        if given <= {_EXACT.get(kind)}:
            return pa.array(values, kind), []
        if pa.types.is_timestamp(kind):
            if given == {str}:
                return times_from_text(pa.array(values, pa.string()))
            if given == {int}:
                return times_from_numbers(pa.array(values, pa.int64())), []
    except (pa.ArrowInvalid, OverflowError):
        pass  # an integer that does not fit
    check = _json_text if field.name in JSON_TEXT_FIELDS else _check(kind)
    failed = []
    for i, value in enumerate(values):
        if value is not None:
            try:
                values[i] = check(value)
            except _Mismatch:
                values[i] = None
                failed.append(i)
    return pa.array(values, kind), failed


@cache
def _check(kind: pa.DataType) -> Callable[[Any], Any]:
    """Return a function that turns a value into what Arrow wants for ``kind``, or raises _Mismatch."""
    if pa.types.is_map(kind):
        element = _check(kind.item_type)
        return lambda v: {k: e if e is None else element(e) for k, e in _of(dict, v).items()}
    if pa.types.is_list(kind):
        element = _check(kind.value_type)
        return lambda v: [e if e is None else element(e) for e in _of(list, v)]
    if pa.types.is_integer(kind):
        bound = 1 << (kind.bit_width - 1)
        return lambda v: _whole(v, bound)
    if pa.types.is_floating(kind):
        return _number
    if pa.types.is_timestamp(kind):
        return _time
    wanted = _EXACT[kind]
    return lambda v: _of(wanted, v)


def _of(wanted: type, value: Any) -> Any:
    if type(value) is not wanted:  # not isinstance: True is no whole number
        raise _Mismatch
    return value


def _whole(value: Any, bound: int) -> int:
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not -bound <= value < bound:
        raise _Mismatch
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise _Mismatch
    try:
        return float(value)
    except OverflowError:
        raise _Mismatch from None


def _time(value: Any) -> int:
    micros = parse_time(value) if type(value) is str else parse_epoch(value) if type(value) in (int, float) else None
    if micros is None:
        raise _Mismatch
    return micros


def _json_text(value: Any) -> str:
    return value if type(value) is str else dumps(_of(dict, value))


def _described(kind: pa.DataType) -> str:
    if pa.types.is_map(kind):
        return f"an object of which each member is {_described(kind.item_type)}"
    if pa.types.is_list(kind):
        return f"an array of which each element is {_described(kind.value_type)}"
    if pa.types.is_timestamp(kind):
        return "a time by RFC 3339, or a number since 1970"
    return _NOUNS.get(kind, "text")


_NOUNS = {
    pa.int32(): "a whole number of 32 bits",
    pa.int64(): "a whole number of 64 bits",
    pa.float64(): "a number",
    pa.bool_(): "true or false",
}
