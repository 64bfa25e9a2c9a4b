"""Check a batch against its event type's rules, column by column.

Each rule first looks at a whole column's aggregate (null count, extremes, longest text); only a column that breaks a
rule is looked at row by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from collectors.model.event_type import EventType, Field

FUTURE_SKEW_US = 300 * 10**6
"""How far in the future an event may claim to be: clocks differ, but not by more than five minutes."""

EARLIEST_US = -2_208_988_800 * 10**6
LATEST_US = 7_258_118_400 * 10**6
"""The years 1900 and 2200: what other times than event_time must lie between, so that every reader can show them."""

_MICROSECOND = timedelta(microseconds=1)

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a row can't be stored; ``reason`` is a stable code, ``detail`` names the field and the rule, no value."""

    row: int
    reason: str
    detail: str


def validate(batch: pa.RecordBatch, event_type: EventType, now_us: int) -> list[Rejection]:
    """Return the first broken rule of each bad row of ``batch``, which has the type's wire schema."""
    rejected: dict[int, Rejection] = {}
    for index, field in enumerate(event_type.columns):
        column = batch.column(index)
        for reason, detail, broken in _broken(column, field, event_type, now_us):
            for row in np.flatnonzero(broken).tolist():
                rejected.setdefault(row, Rejection(row, reason, detail))
    return [rejected[row] for row in sorted(rejected)]


def _broken(column: pa.Array, field: Field, event_type: EventType, now_us: int) -> list[tuple[str, str, Mask]]:
    """Return (reason, detail, mask of rows) for every rule that ``column`` breaks somewhere."""
    found: list[tuple[str, str, Mask]] = []
    nulls = column.null_count
    if field.required and nulls:
        found.append(("missing", f"{field.name} is required", _numpy(column.is_null())))
    if nulls == len(column):
        return found
    if field.name == "event_time":
        found += _time_rules(column, event_type, now_us)
    elif pa.types.is_timestamp(field.type):
        found += _calendar_rules(column, field)
    elif pa.types.is_string(field.type):
        found += _text_rules(column, field)
    elif pa.types.is_nested(field.type):
        lengths = pc.list_value_length(column) if pa.types.is_list(field.type) else _map_lengths(column)
        if (pc.max(lengths).as_py() or 0) > field.max_bytes:
            found.append(
                ("too_long", f"{field.name} has more than {field.max_bytes} elements", _above(lengths, field.max_bytes))
            )
    elif pa.types.is_floating(field.type) or field.minimum is not None or field.maximum is not None:
        found += _number_rules(column, field)
    return found


def _time_rules(column: pa.Array, event_type: EventType, now_us: int) -> list[tuple[str, str, Mask]]:
    found: list[tuple[str, str, Mask]] = []
    latest = now_us + FUTURE_SKEW_US
    earliest = now_us - event_type.horizon // _MICROSECOND
    times = pc.cast(column, pa.int64())
    extremes = pc.min_max(times)
    if extremes["max"].as_py() > latest:
        found.append(("in_future", "event_time is more than 5 minutes in the future", _above(times, latest)))
    if extremes["min"].as_py() < earliest:
        detail = f"event_time is older than the {event_type.horizon.days} days this type accepts"
        found.append(("too_old", detail, _below(times, earliest)))
    return found


def _calendar_rules(column: pa.Array, field: Field) -> list[tuple[str, str, Mask]]:
    times = pc.cast(column, pa.int64())
    extremes = pc.min_max(times)
    if extremes["min"].as_py() >= EARLIEST_US and extremes["max"].as_py() < LATEST_US:
        return []
    broken = _below(times, EARLIEST_US) | ~_below(times, LATEST_US) & _numpy(column.is_valid())
    return [("not_a_date", f"{field.name} must be a time between the years 1900 and 2200", broken)]


def _text_rules(column: pa.Array, field: Field) -> list[tuple[str, str, Mask]]:
    found: list[tuple[str, str, Mask]] = []
    longest = _longest(column)
    if longest > field.max_bytes:
        broken = _above(pc.binary_length(column), field.max_bytes)
        found.append(("too_long", f"{field.name} is longer than {field.max_bytes} bytes", broken))
    if field.choices:
        allowed = pc.is_in(column, value_set=_choices(field.choices))
        if not pc.all(allowed).as_py():
            broken = _numpy(pc.and_(pc.invert(allowed), column.is_valid()))
            found.append(("not_allowed", f"{field.name} must be one of: {', '.join(field.choices)}", broken))
    return found


def _number_rules(column: pa.Array, field: Field) -> list[tuple[str, str, Mask]]:
    found: list[tuple[str, str, Mask]] = []
    if pa.types.is_floating(field.type):
        finite = pc.is_finite(column)
        if not pc.all(finite).as_py():
            broken = _numpy(pc.fill_null(pc.invert(finite), False))
            found.append(("not_finite", f"{field.name} must be a finite number", broken))
    if field.minimum is None and field.maximum is None:
        return found
    extremes = pc.min_max(column)
    if field.minimum is not None and extremes["min"].as_py() < field.minimum:
        found.append(("too_small", f"{field.name} must be at least {field.minimum:g}", _below(column, field.minimum)))
    if field.maximum is not None and extremes["max"].as_py() > field.maximum:
        found.append(("too_large", f"{field.name} must be at most {field.maximum:g}", _above(column, field.maximum)))
    return found


def _longest(column: pa.Array) -> int:
    """Return the length of the longest text in bytes, from the offsets alone."""
    offsets = np.frombuffer(column.buffers()[1], dtype=np.int32)[column.offset : column.offset + len(column) + 1]
    return int(np.max(offsets[1:] - offsets[:-1]))


def _map_lengths(column: pa.MapArray) -> pa.Array:
    offsets = column.offsets.to_numpy()
    return pa.array(offsets[1:] - offsets[:-1])


def _above(column: pa.Array, limit: float) -> Mask:
    return _numpy(pc.fill_null(pc.greater(column, limit), False))


def _below(column: pa.Array, limit: float) -> Mask:
    return _numpy(pc.fill_null(pc.less(column, limit), False))


def _numpy(mask: pa.BooleanArray) -> Mask:
    result: Mask = mask.to_numpy(zero_copy_only=False)
    return result


def _choices(values: tuple[str, ...]) -> pa.Array:
    array = _CHOICES.get(values)
    if array is None:
        array = _CHOICES[values] = pa.array([*values, None], pa.string())
    return array


_CHOICES: dict[tuple[str, ...], pa.Array] = {}
