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
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cache, partial
from itertools import chain, repeat
from typing import Any

import orjson
import pyarrow as pa

from collectors.errors import TooLarge
from collectors.intake.decoded import TOO_DEEP, BadRow, Decoded, Fault, Limits, RowNumbers, assemble, wrong_type
from collectors.intake.times import parse_epoch, parse_time, times_from_numbers, times_from_text
from collectors.model.event_type import EventType, Field

Row = dict[str, Any]

PROPERTIES = "properties"
JSON_TEXT_FIELDS = frozenset({"attributes"})
"""Text fields that are described as a JSON object, so that they may also arrive as one."""

_LONG_INTEGER = b"0" * 19
_DIGITS_TO_ZERO = bytes.maketrans(b"123456789", b"0" * 9)
_EXACT: dict[pa.DataType, type] = {
    pa.string(): str,
    pa.int32(): int,
    pa.int64(): int,
    pa.float64(): float,
    pa.bool_(): bool,
}
"""The Python type that Arrow turns into each type without losing or guessing anything."""
_CONTAINERS = frozenset({dict, list})
_FEW = 64
"""Up to so many numbers are read as times sooner one by one than as a column."""


class _Mismatch(Exception):
    """A value is not of the type its field wants."""


def parser_for(body: bytes) -> Callable[[bytes], Any]:
    """Return a function that parses strict JSON out of ``body``, or raises ``orjson.JSONDecodeError``.

    Strict: UTF-8, no NaN, no lone surrogates, numbers within the range of floats; the last of equal members wins.
    Integers keep every digit: where one may have more than 64 bits, the slower parser reads the text once more.
    """
    return _loads_exactly if _LONG_INTEGER in body.translate(_DIGITS_TO_ZERO) else orjson.loads


def _loads_exactly(text: bytes) -> Any:
    value = orjson.loads(text)
    try:
        return json.loads(text)
    except RecursionError:  # deeper than is allowed anyway
        return value


def loads(text: bytes) -> Any:
    """Parse ``text`` as ``parser_for`` says."""
    return parser_for(text)(text)


def dumps(value: Any) -> bytes:
    """Spell ``value`` as compact JSON text; raises TooLarge if it nests too deep for that."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:  # an integer beyond 64 bits, or nesting beyond orjson's limit
        try:
            return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
        except RecursionError:
            raise TooLarge("the body nests too deep; send flatter objects") from None


def dumps_each(objects: Sequence[Row | None]) -> list[bytes | None]:
    """Spell each of ``objects``, in one call: orjson takes longer to make room for a text than to write it.

    Line breaks are put between the texts, as they can be nowhere else: inside strings they are escaped.
    """
    try:
        text = orjson.dumps(list(chain.from_iterable(zip(objects, repeat(orjson.Fragment(b"\n")), strict=False))))
    except orjson.JSONEncodeError:  # see dumps
        return [None if value is None else dumps(value) for value in objects]
    return [None if part == b"null" else part for part in text[1:-3].split(b",\n,")]


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

    ``raw`` returns what was sent as the i-th of ``rows`` (without it they are spelled anew), ``numbers`` are the rows'
    places in the body, and ``unread`` the rows of the body that could not be parsed.
    """
    plan = _plan(event_type)
    odd = _odd_members(rows, plan.exact)
    columns: dict[str, pa.Array] = {}
    faults: dict[int, Fault] = {}
    try:
        plain = {name: kind for name, kind in plan.plain.items() if name not in odd} if odd else plan.plain
        struct = pa.array(rows, pa.struct(plain.items()) if odd else plan.struct)
        columns = dict(zip(plain, struct.flatten(), strict=True))
    except (pa.ArrowInvalid, OverflowError):  # an integer that does not fit
        odd |= plan.exact.keys()
    for field in event_type.columns:
        if field.name == PROPERTIES:
            continue
        if field.name in odd:
            columns[field.name], failed = _column(field, [row.get(field.name) for row in rows], limits.max_depth)
        elif pa.types.is_timestamp(field.type):
            columns[field.name], failed = times_from_text(columns[field.name])
        else:
            continue
        for i in failed:
            faults.setdefault(i, type_fault(field))
    unknown = odd - event_type.by_name.keys()
    if unknown or PROPERTIES in odd:
        columns[PROPERTIES], failed_rows = _properties(rows, unknown, limits.max_depth)
        for i, fault in failed_rows.items():
            faults.setdefault(i, fault)
    return assemble(
        event_type, columns, len(rows), faults, raw or (lambda i: dumps(rows[i])), numbers=numbers, unread=unread
    )


@dataclass(frozen=True, slots=True)
class _Plan:
    """How the rows of an event type become columns when all members have the expected types.

    ``exact`` are the members Arrow then converts by itself without losing or guessing anything, ``plain`` the columns
    it makes of them, in which times are still text.
    """

    event_type: EventType
    exact: Mapping[str, type]
    plain: Mapping[str, pa.DataType]
    struct: pa.StructType


_plans: dict[str, _Plan] = {}


def _plan(event_type: EventType) -> _Plan:
    plan = _plans.get(event_type.name)
    if plan is None or plan.event_type is not event_type:
        kinds = {f.name: pa.string() if pa.types.is_timestamp(f.type) else _json_type(f) for f in event_type.columns}
        plain = {name: kind for name, kind in kinds.items() if kind in _EXACT and name != PROPERTIES}
        exact = {name: _EXACT[kind] for name, kind in plain.items()}
        plan = _plans[event_type.name] = _Plan(event_type, exact, plain, pa.struct(plain.items()))
    return plan


def _json_type(field: Field) -> pa.DataType:
    """Return the type of the column that JSON values of ``field`` make: identities are text there."""
    return pa.string() if pa.types.is_fixed_size_binary(field.type) else field.type


def _odd_members(rows: Sequence[Row], exact: Mapping[str, type]) -> set[str]:
    """Return the names of members that need a closer look, because a value is not of the type in ``exact``."""
    odd = set()
    for row in rows:
        for name, value in row.items():
            if type(value) is not exact.get(name) and (value is not None or name not in exact):
                odd.add(name)
    return odd


def type_fault(field: Field) -> Fault:
    """Return the fault of a row whose value of ``field`` has the wrong type."""
    if field.name == PROPERTIES:
        wanted = "a JSON object"
    elif field.name in JSON_TEXT_FIELDS:
        wanted = "text, or a JSON object that does not nest too deep"
    else:
        wanted = _described(field.type)
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
    if type(given) is str:
        try:
            given = loads(given.encode())
        except orjson.JSONDecodeError:
            return None
    elif given is None:
        return {}
    return given if isinstance(given, dict) else None


def _properties(rows: Sequence[Row], unknown: AbstractSet[str], max_depth: int) -> tuple[pa.Array, dict[int, Fault]]:
    """Return the column of what goes to ``properties``, and the faults of rows it cannot be made of."""
    objects: list[Row | None] = []
    faults: dict[int, Fault] = {}
    for i, row in enumerate(rows):
        given = row.get(PROPERTIES)
        extras = [(name, value) for name, value in row.items() if name in unknown] if unknown else []
        merged = parse_properties(given) if extras or given is not None else None
        if merged is None and given is not None:
            faults[i] = Fault(wrong_type(PROPERTIES), "properties must be a JSON object")
        elif merged is not None:
            merged = merge_properties(merged, extras) if extras else merged
            if not _CONTAINERS.isdisjoint(map(type, merged.values())) and _nests_deeper(merged, max_depth):
                faults[i] = Fault(TOO_DEEP, f"properties must not nest deeper than {max_depth} levels")
                merged = None
        objects.append(merged)
    return pa.array(dumps_each(objects), pa.string()), faults


def _nests_deeper(value: Row, levels: int) -> bool:
    layer: list[Any] = [value]
    for _ in range(levels):
        inner = (member for holder in layer for member in (holder.values() if type(holder) is dict else holder))
        layer = [member for member in inner if type(member) in _CONTAINERS]
        if not layer:
            return False
    return True


def _column(field: Field, values: list[Any], max_depth: int) -> tuple[pa.Array, list[int]]:
    """Return the column, and the places of the values that do not fit, which are null in it."""
    kind = _json_type(field)
    given = set(map(type, values)) - {type(None)}
    try:
        if given <= {_EXACT.get(kind)}:
            return pa.array(values, kind), []
        if pa.types.is_timestamp(kind):
            if given == {str}:
                return times_from_text(pa.array(values, pa.string()))
            if given == {int} and len(values) > _FEW:
                return times_from_numbers(pa.array(values, pa.int64())), []
    except (pa.ArrowInvalid, OverflowError):
        pass  # an integer that does not fit
    check = partial(_json_text, max_depth=max_depth) if field.name in JSON_TEXT_FIELDS else _check(kind)
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


def _json_text(value: Any, max_depth: int) -> str:
    if type(value) is str:
        return value
    if _nests_deeper(_of(dict, value), max_depth):
        raise _Mismatch
    return dumps(value).decode()


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
