"""Columns as files have them into the types of event fields: exact for money, and a bad value costs only its row."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from collectors.intake.times import times_from_numbers, times_from_text
from collectors.model.event_type import TIMESTAMP

EPOCH = "epoch"

_MOST_DIGITS = 40

Failed = npt.NDArray[np.bool_]
Converted = tuple[pa.Array, Failed]
"""A column of the wanted type, and which rows have a value that does not fit; these are null in it."""

_PLAIN = r"^[+-]?(\d{1,30}(\.\d{0,18})?|\.\d{1,18})$"
_RARE = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,4})?", re.ASCII)
_DECIMAL = pa.decimal256(48, 18)
_FACTOR = pa.decimal256(20, 10)
_ZONED = r"[Tt ]\d.*([Zz]|[+-]\d{2}:?(\d{2})?)$"
_TRUE = pa.array(["true", "t", "yes", "y", "1"])
_FALSE = pa.array(["false", "f", "no", "n", "0"])
_NAIVE = pa.timestamp("us")
_ONE = Decimal(1)


@dataclass(frozen=True, slots=True)
class Reading:
    """How texts are to be read.

    ``time_format`` is one of Python's ``strptime``, ``epoch`` for numbers since 1970 whose unit follows from their
    size, or None for ISO 8601. ``zone`` is where times that name no zone were written down.
    """

    time_format: str | None = None
    zone: str = "UTC"
    decimal_comma: bool = False


def to_type(column: pa.Array, kind: pa.DataType, reading: Reading, factor: Decimal | None = None) -> Converted:
    """Convert ``column``; with a ``factor``, numbers are multiplied by it and rounded half to even."""
    column = _spelled_out(column)
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), kind), _nowhere(column)
    if column.type == kind and factor is None:
        return column, _nowhere(column)
    for applies, convert in _BY_KIND:
        if applies(kind):
            return convert(column, kind, reading, factor)
    return _texts(column), _nowhere(column)


def _spelled_out(column: pa.Array) -> pa.Array:
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_large_string(column.type) or pa.types.is_string_view(column.type):
        column = column.cast(pa.string())
    return column


def _nowhere(column: pa.Array) -> Failed:
    return np.zeros(len(column), np.bool_)


def _texts(column: pa.Array) -> pa.StringArray:
    if pa.types.is_string(column.type):
        return column
    if pa.types.is_nested(column.type):
        return pa.array([None if v is None else orjson.dumps(v, default=str).decode() for v in column.to_pylist()])
    return column.cast(pa.string())


def _numerals(column: pa.Array, reading: Reading) -> pa.StringArray:
    """Return numbers as text: the shortest that tells a float from all others is what its writer meant."""
    text = pc.utf8_trim_whitespace(_texts(column))
    if reading.decimal_comma and pa.types.is_string(column.type):
        text = pc.replace_substring(pc.replace_substring(text, ".", ""), ",", ".")
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def _whole(column: pa.Array, kind: pa.DataType, reading: Reading, factor: Decimal | None) -> Converted:
    text = _numerals(column, reading)
    limit = Decimal(2 ** (kind.bit_width - 1))
    plain = pc.match_substring_regex(text, _PLAIN)
    exact = pc.if_else(plain, text, pa.scalar(None, pa.string())).cast(_DECIMAL)
    scaled = exact if factor is None else pc.multiply(exact, pa.scalar(factor, _FACTOR))
    rounded = pc.round(scaled, 0, "half_to_even")
    fits = pc.and_(
        pc.greater_equal(rounded, pa.scalar(-limit, pa.decimal256(40, 0))),
        pc.less(rounded, pa.scalar(limit, pa.decimal256(40, 0))),
    )
    if factor is None:
        fits = pc.and_(fits, pc.equal(rounded, exact))
    numbers = pc.if_else(pc.fill_null(fits, False), rounded, pa.scalar(None, rounded.type)).cast(kind)
    return _odd_ones(text, plain, numbers, lambda t: _whole_number(t, factor, limit))


def _floating(column: pa.Array, _kind: pa.DataType, reading: Reading, factor: Decimal | None) -> Converted:
    text = _numerals(column, reading)
    plain = pc.match_substring_regex(text, _PLAIN)
    usual = pc.if_else(plain, text, pa.scalar(None, pa.string()))
    if factor is None:
        numbers = usual.cast(pa.float64())
    else:
        numbers = pc.multiply(usual.cast(_DECIMAL), pa.scalar(factor, _FACTOR)).cast(pa.float64())
    return _odd_ones(text, plain, numbers, lambda t: float(Decimal(t) * (factor or _ONE)))


def _odd_ones(
    text: pa.StringArray, plain: pa.BooleanArray, numbers: pa.Array, read: Callable[[str], float | None]
) -> Converted:
    """Read numbers that are written in a rarer way one by one, and tell which are none."""
    odd = np.flatnonzero(pc.invert(pc.fill_null(plain, True)).to_numpy(zero_copy_only=False))
    if len(odd):
        values = numbers.to_pylist()
        for i in odd.tolist():
            value = text[i].as_py()
            values[i] = read(value) if _RARE.fullmatch(value) else None
        numbers = pa.array(values, numbers.type)
    return numbers, pc.and_(text.is_valid(), numbers.is_null()).to_numpy(zero_copy_only=False)


def _whole_number(text: str, factor: Decimal | None, limit: Decimal) -> int | None:
    exact = Decimal(text)
    if exact.adjusted() > _MOST_DIGITS:  # not worth writing out
        return None
    scaled = exact if factor is None else exact * factor
    rounded = scaled.to_integral_value(ROUND_HALF_EVEN)
    return int(rounded) if -limit <= rounded < limit and (factor is not None or rounded == scaled) else None


def _flags(column: pa.Array, _kind: pa.DataType, _reading: Reading, _factor: Decimal | None) -> Converted:
    text = pc.utf8_lower(pc.utf8_trim_whitespace(_texts(column)))
    text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    yes, no = pc.is_in(text, value_set=_TRUE), pc.is_in(text, value_set=_FALSE)
    known = pc.or_(yes, no)
    flags = pc.if_else(known, yes, pa.scalar(None, pa.bool_()))
    return flags, pc.and_(text.is_valid(), pc.invert(known)).to_numpy(zero_copy_only=False)


def _nested(column: pa.Array, kind: pa.DataType, _reading: Reading, _factor: Decimal | None) -> Converted:
    """Read lists and maps from JSON text, or take them as they are."""
    values = column.to_pylist()
    failed = _nowhere(column)
    made: list[Any] = []
    for i, value in enumerate(values):
        try:
            made.append(pa.scalar(_items(value), kind).as_py())
        except (orjson.JSONDecodeError, pa.ArrowException, TypeError, ValueError):
            made.append(None)
            failed[i] = True
    return pa.array(made, kind), failed


def _items(value: object) -> object:
    """Return a list, or a list of pairs, of JSON text or of what is one already."""
    item = orjson.loads(value) if isinstance(value, str) else value
    if isinstance(item, dict):
        return list(item.items())
    if item is not None and not isinstance(item, list):
        raise TypeError("Arrow would take a text for a list of its letters")
    return item


def _times(column: pa.Array, _kind: pa.DataType, reading: Reading, _factor: Decimal | None) -> Converted:
    kind = column.type
    if pa.types.is_timestamp(kind):
        # Nanoseconds are cut to microseconds, as intake does.
        if kind.tz is not None:
            return column.cast(TIMESTAMP, safe=False), _nowhere(column)
        return _at(column.cast(_NAIVE, safe=False), reading.zone), _nowhere(column)
    if pa.types.is_date(kind):
        return _at(column.cast(_NAIVE), reading.zone), _nowhere(column)
    if reading.time_format == EPOCH:
        numbers, failed = _whole(column, pa.int64(), reading, None)
        return times_from_numbers(numbers), failed
    if pa.types.is_integer(kind) and reading.time_format is None:
        return times_from_numbers(column.cast(pa.int64())), _nowhere(column)
    text = pc.utf8_trim_whitespace(_texts(column))
    text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
    return _iso(text, reading.zone) if reading.time_format is None else _formatted(text, reading)


def _at(naive: pa.TimestampArray, zone: str) -> pa.TimestampArray:
    """Take times for those of ``zone``; where clocks are set back the first, where they are set on the hour before."""
    return pc.assume_timezone(naive, zone, ambiguous="earliest", nonexistent="earliest").cast(TIMESTAMP)


def _iso(text: pa.StringArray, zone: str) -> Converted:
    times, bad = times_from_text(text)
    failed = _nowhere(text)
    failed[bad] = True
    if zone != "UTC":
        zoned = pc.fill_null(pc.match_substring_regex(text, _ZONED), False)
        times = pc.if_else(zoned, times, _at(times.cast(pa.int64()).cast(_NAIVE), zone))
    return times, failed


def _formatted(text: pa.StringArray, reading: Reading) -> Converted:
    """Read each different text once: dates repeat."""
    assert reading.time_format is not None, "the caller has looked"
    encoded = text.dictionary_encode()
    micros: list[int | None] = []
    zoned: list[bool] = []
    for value in encoded.dictionary.to_pylist():
        try:
            time = datetime.strptime(value, reading.time_format)  # noqa: DTZ007 - those without a zone get one below
        except ValueError:
            micros.append(None)
            zoned.append(True)
            continue
        micros.append(_micros(time if time.tzinfo else time.replace(tzinfo=UTC)))
        zoned.append(time.tzinfo is not None)
    numbers = pa.array(micros, pa.int64())
    local = _at(numbers.cast(_NAIVE), reading.zone)
    times = pc.if_else(pa.array(zoned, pa.bool_()), numbers.cast(TIMESTAMP), local).take(encoded.indices)
    return times, pc.and_(text.is_valid(), times.is_null()).to_numpy(zero_copy_only=False)


def _micros(time: datetime) -> int:
    span = time - datetime(1970, 1, 1, tzinfo=UTC)
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds


def valid_format(time_format: str) -> bool:
    """Tell whether Python can read times by a format."""
    try:
        datetime.strptime("", time_format)  # noqa: DTZ007 - nothing is read
    except ValueError as error:
        return not re.search(r"directive|stray", str(error))
    return False  # an empty format reads no time


_Kinds = tuple[tuple[Callable[[pa.DataType], bool], Callable[..., Converted]], ...]

_BY_KIND: _Kinds = (
    (pa.types.is_timestamp, _times),
    (pa.types.is_integer, _whole),
    (pa.types.is_floating, _floating),
    (pa.types.is_boolean, _flags),
    (pa.types.is_nested, _nested),
)
