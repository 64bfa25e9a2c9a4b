"""Points in time as producers write them, as UTC microseconds.

Text: RFC 3339, read leniently: a space or ``t`` for ``T``, offsets as ``+02``, ``+0200`` or ``+02:00``, UTC if there
is none, seconds, minutes or the whole time of day left out. Digits beyond microseconds are cut off; a leap second is
the second after it.

Numbers: time since 1970-01-01 UTC whose unit follows from the magnitude: below 10^11 seconds, below 10^14
milliseconds, below 10^17 microseconds, else nanoseconds. Each unit so covers the years up to 5138; times before
March 1973 cannot be written as milliseconds.
"""

from __future__ import annotations

import re
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from collectors.model.event_type import TIMESTAMP

SECONDS_BELOW = 10**11
MILLIS_BELOW = 10**14
MICROS_BELOW = 10**17

_NAIVE = pa.timestamp("us")
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_CYCLE_YEARS, _CYCLE_DAYS = 400, 146_097
_RFC3339 = re.compile(
    r"(\d{4})-(\d{2})-(\d{2})"
    r"(?:[Tt ](\d{2})(?::(\d{2})(?::(\d{2})(?:\.(\d+))?)?)?"
    r"(?:[Zz]|([+-])(\d{2}):?(\d{2})?)?)?",
    re.ASCII,
)


def _cut_to_micros(texts: pa.StringArray) -> pa.StringArray:
    """Cut off more digits than microseconds, as Go and .NET write them."""
    return pc.replace_substring_regex(texts, r"(\.\d{6})\d+", r"\1")


def _as_they_are(texts: pa.StringArray) -> pa.StringArray:
    return texts


_ATTEMPTS = ((_as_they_are, TIMESTAMP), (_as_they_are, _NAIVE), (_cut_to_micros, TIMESTAMP), (_cut_to_micros, _NAIVE))
"""Arrow wants to know whether a column has offsets; where rows differ, or one is broken, each is read by itself."""


def parse_time(text: str) -> int | None:
    """Return the UTC microseconds that ``text`` names, or None if it is not a time."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, off_hour, off_minute = match.groups()
    h, m, s = int(hour or 0), int(minute or 0), int(second or 0)
    oh, om = int(off_hour or 0), int(off_minute or 0)
    if h > 23 or m > 59 or s > 60 or oh > 23 or om > 59:
        return None
    try:  # shifted by whole calendar cycles, because date() begins with year 1
        days = date(int(year) % _CYCLE_YEARS + _CYCLE_YEARS, int(month), int(day)).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    days += (int(year) // _CYCLE_YEARS - 1) * _CYCLE_DAYS
    offset = (oh * 60 + om) * (-60 if sign == "-" else 60)
    micros = int((fraction or "0")[:6].ljust(6, "0"))
    return (days * 86_400 + h * 3600 + m * 60 + s - offset) * 1_000_000 + micros


def parse_epoch(value: float) -> int | None:
    """Return the UTC microseconds of a number since the epoch, or None if it is beyond what 64 bits hold."""
    if not -(2**63) <= value < 2**63:
        return None
    magnitude = abs(value)
    if magnitude < SECONDS_BELOW:
        micros = value * 1_000_000
    elif magnitude < MILLIS_BELOW:
        micros = value * 1_000
    elif magnitude < MICROS_BELOW:
        micros = value
    else:
        return int(value) // 1_000
    return round(micros)


def times_from_text(texts: pa.StringArray) -> tuple[pa.TimestampArray, list[int]]:
    """Read a column of text; also return the rows that are no times, which become null."""
    for prepare, target in _ATTEMPTS:
        try:
            return prepare(texts).cast(target).view(TIMESTAMP), []
        except pa.ArrowInvalid:
            continue
    micros = [None if text is None else parse_time(text) for text in texts.to_pylist()]
    failed = [i for i, value in enumerate(micros) if value is None and texts[i].is_valid]
    return pa.array(micros, pa.int64()).view(TIMESTAMP), failed


def times_from_numbers(numbers: pa.Int64Array) -> pa.TimestampArray:
    """Read a column of whole numbers since the epoch, each by its own magnitude."""
    value = numbers.fill_null(0).to_numpy(zero_copy_only=False)

    limits = (SECONDS_BELOW, MILLIS_BELOW, MICROS_BELOW)
    micros = np.select(
        [(value > -limit) & (value < limit) for limit in limits],
        [value * 1_000_000, value * 1_000, value],  # what overflows here is not selected
        default=value // 1_000,
    )
    return pa.array(micros, pa.int64(), mask=numbers.is_null().to_numpy(zero_copy_only=False)).view(TIMESTAMP)
