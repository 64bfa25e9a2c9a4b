"""Check the fields of one event the moment it is sent, so that a mistake surfaces where it was made.

A check costs well under a microsecond: a value of exactly the expected Python type passes in the loop of ``check``;
everything else (None, numbers of other libraries, datetimes, lists) takes the slower road of ``_convert``. Rules on
values, such as ranges, are the server's; a row that breaks one becomes a dead letter there.
"""

from __future__ import annotations

import difflib
import json
import operator
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import pyarrow as pa

from collectors.clock import Clock
from collectors.errors import BadInput
from collectors.model.event_type import EVENT_ID, TIMESTAMP, EventType

ROW_BYTES = 600
"""What an event costs in memory beside its texts: a dict of about eight fields and their values."""

ELEMENT_BYTES = 64
TEXT_ID = "event_id_text"
"""Where an event id that is no UUID waits; the server maps it to one, the same for every producer."""

_NO_UTF8 = "must be text that UTF-8 can hold; it has a lone surrogate"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_UUID = re.compile(r"[0-9a-fA-F]{8}(-?)[0-9a-fA-F]{4}\1[0-9a-fA-F]{4}\1[0-9a-fA-F]{4}\1[0-9a-fA-F]{12}")
_JSON_OBJECTS = frozenset({"properties", "attributes"})
_CONVERT = object()  # the kind of no value: always convert
_INT32 = 2**31
_INT64 = 2**63

Row: TypeAlias = dict[str, Any]
Converter: TypeAlias = Callable[[Any], Any]


class RowSchema:
    """Checks rows of one event type; ``struct`` is the Arrow type that checked rows convert to."""

    def __init__(self, event_type: EventType, clock: Clock) -> None:
        self.event_type = event_type
        self.struct = pa.struct([*event_type.wire_schema, pa.field(TEXT_ID, pa.string())])
        self._now_us = clock.now_us
        self._kinds: dict[str, Any] = {f.name: _kind(f.name, f.type) for f in event_type.columns}
        self._converters = {f.name: _converter(f.name, f.type) for f in event_type.columns}
        self._required = tuple(f.name for f in event_type.columns if f.required)

    def check(self, fields: Row) -> int:
        """Make ``fields`` a row and return about how many bytes of memory it takes.

        Values are replaced by what Arrow converts exactly, unknown fields move to ``properties``, an absent
        ``event_time`` becomes now. Raises BadInput that names the field and what is expected there.
        """
        kinds = self._kinds
        size = ROW_BYTES
        plain = True
        for name, value in fields.items():
            kind = kinds.get(name)
            cls = value.__class__
            if cls is str and kind is str:
                if value.isascii():
                    size += len(value)
                else:
                    size += _utf8_length(self.event_type, name, value)
            elif cls is int and kind.__class__ is int and -kind <= value < kind:
                pass
            elif cls is not kind and (value is not None or kind is None):
                plain = False
        if not plain:
            size += self._convert(fields)
        for name in self._required:
            if fields.get(name) is None:
                raise self._missing(name, fields)
        if fields.get("event_time") is None:
            fields["event_time"] = self._now_us()
        return size

    def _convert(self, fields: Row) -> int:
        """Convert what ``check`` could not pass at a glance; return the bytes it adds."""
        added = 0
        unknown: Row = {}
        for name, value in fields.items():
            kind = self._kinds.get(name)
            if kind is None:
                unknown[name] = value
            elif value is not None and value.__class__ is not kind:
                try:
                    fields[name] = converted = self._converters[name](value)
                except (TypeError, ValueError) as error:
                    raise BadInput(f"{self.event_type.name}.{name} {error}") from None
                added += _size(converted)
        if unknown:
            added += self._fold(fields, unknown)
        if isinstance(fields.get("event_id"), str):
            fields[TEXT_ID] = fields.pop("event_id")
        return added

    def _fold(self, fields: Row, unknown: Row) -> int:
        """Move ``unknown`` fields into ``properties``; a name that is taken there gets underscores in front."""
        properties: dict[str, Any] = {}
        if fields.get("properties") is not None:
            properties = json.loads(fields["properties"])
        for name, value in unknown.items():
            if not isinstance(name, str):
                raise BadInput(f"{self.event_type.name}: a field's name must be text, not {_named(name)}")
            fields.pop(name, None)
            while name in properties:
                name = f"_{name}"  # noqa: PLW2901  the name that is free is the one to use
            properties[name] = value
        try:
            fields["properties"] = _json_object(properties)
        except ValueError as error:
            names = ", ".join(unknown)
            raise BadInput(f"{self.event_type.name}: {names} would go to properties, which {error}") from None
        return len(fields["properties"])

    def _missing(self, name: str, fields: Row) -> BadInput:
        sent = json.loads(fields.get("properties") or "{}")
        close = difflib.get_close_matches(name, sent, n=1)
        hint = f"; {close[0]!r} is no field of it" if close else ""
        return BadInput(f"{self.event_type.name}.{name} is required{hint}")


def _kind(name: str, arrow: pa.DataType) -> Any:
    """Return what a value's class is compared with at a glance: a class, or for integers their limit."""
    if name in _JSON_OBJECTS:
        return _CONVERT
    return {
        pa.string(): str,
        pa.bool_(): bool,
        pa.float64(): float,
        pa.int32(): _INT32,
        pa.int64(): _INT64,
        TIMESTAMP: _INT64,
    }.get(arrow, _CONVERT)


def _converter(name: str, arrow: pa.DataType) -> Converter:
    """Return a function from any acceptable value to what Arrow converts exactly; it raises what was expected."""
    if name in _JSON_OBJECTS:
        return _json_object
    if pa.types.is_list(arrow):
        element = _converter("", arrow.value_type)
        return lambda value: _list(value, element)
    if pa.types.is_map(arrow):
        item = _converter("", arrow.item_type)
        return lambda value: _map(value, item)
    return {
        pa.string(): _text,
        pa.bool_(): _flag,
        pa.float64(): _number,
        pa.int32(): lambda value: _integer(value, 32),
        pa.int64(): lambda value: _integer(value, 64),
        TIMESTAMP: _time,
        EVENT_ID: _event_id,
    }[arrow]


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"must be text (str), not {_named(value)}")
    text = str.__str__(value)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(_NO_UTF8) from None
    return text


def _flag(value: Any) -> bool:
    raise TypeError(f"must be true or false (bool), not {_named(value)}")


def _integer(value: Any, bits: int) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"must be a whole number (int), not {_named(value)}")
    number = operator.index(value)
    limit = 1 << (bits - 1)
    if not -limit <= number < limit:
        raise ValueError(f"must be a whole number of {bits} bits")
    return number


def _number(value: Any) -> float:
    if isinstance(value, bool | str | bytes) or not (hasattr(value, "__float__") or hasattr(value, "__index__")):
        raise TypeError(f"must be a number (float), not {_named(value)}")
    try:
        return float(value)
    except OverflowError:
        raise ValueError("must be a number that fits in 64 bits (float)") from None


def _time(value: Any) -> int:
    if isinstance(value, datetime):
        if value.utcoffset() is None:
            raise ValueError("has no time zone; pass an aware datetime (tzinfo=UTC) or microseconds since 1970 (int)")
        return (value - _EPOCH) // _MICROSECOND
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"must be an aware datetime or microseconds since 1970 (int), not {_named(value)}")
    return _integer(value, 64)


def _event_id(value: Any) -> bytes | str:
    if isinstance(value, uuid.UUID):
        return value.bytes
    if isinstance(value, bytes) and len(value) == 16:
        return bytes(value)
    if not isinstance(value, str):
        raise TypeError(f"must be a UUID, its 16 bytes or text (str), not {_named(value)}")
    text = _text(value)
    return uuid.UUID(text).bytes if _UUID.fullmatch(text) else text


def _list(value: Any, element: Converter) -> list[Any]:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise TypeError(f"must be a list, not {_named(value)}")
    try:
        return [None if item is None else element(item) for item in value]
    except (TypeError, ValueError) as error:
        raise TypeError(f"must be a list, each element of which {error}") from None


def _map(value: Any, item: Converter) -> list[tuple[str, Any]]:
    if not isinstance(value, Mapping):
        raise TypeError(f"must be a mapping (dict), not {_named(value)}")
    try:
        return [(_text(key), None if each is None else item(each)) for key, each in value.items()]
    except (TypeError, ValueError) as error:
        raise TypeError(f"must be a mapping, each key or value of which {error}") from None


def _json_object(value: Any) -> str:
    """Return a mapping, or text that holds one, as compact JSON text in ASCII."""
    try:
        if isinstance(value, str):
            value = json.loads(value)
        if isinstance(value, Mapping):
            return json.dumps(dict(value), allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError):
        raise ValueError("must be a JSON object; convert what JSON cannot hold") from None
    raise TypeError("must be a mapping (dict), or a JSON object as text")


def _utf8_length(event_type: EventType, name: str, text: str) -> int:
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        raise BadInput(f"{event_type.name}.{name} {_NO_UTF8}") from None


def _size(value: Any) -> int:
    if isinstance(value, list):
        return sum(_size(item) for item in value)
    if isinstance(value, tuple):
        return sum(_size(item) for item in value)
    return ELEMENT_BYTES + (len(value) if isinstance(value, str) else 0)


def _named(value: object) -> str:
    cls = type(value)
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
