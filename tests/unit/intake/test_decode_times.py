"""Times as text and as numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pyarrow as pa
import pytest
from decode_oracle import EPOCH, read_time
from hypothesis import given
from hypothesis import strategies as st

from collectors.intake.times import parse_epoch, parse_time, times_from_numbers, times_from_text

NEW_YEAR = 1_767_225_600_000_000


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("text", "offset_us"),
    [
        ("2026-01-01T00:00:00Z", 0),
        ("2026-01-01t00:00:00z", 0),
        ("2026-01-01 00:00:00Z", 0),
        ("2026-01-01T00:00:00", 0),
        ("2026-01-01T00:00", 0),
        ("2026-01-01T00", 0),
        ("2026-01-01", 0),
        ("2026-01-01T00:00:00.5Z", 500_000),
        ("2026-01-01T00:00:00.123456789Z", 123_456),
        ("2026-01-01T00:00:00.1234567+00:00", 123_456),
        ("2026-01-01T02:00:00+02:00", 0),
        ("2026-01-01T02:00:00+0200", 0),
        ("2026-01-01T02:00:00+02", 0),
        ("2025-12-31T18:30:00-05:30", 0),
        ("2025-12-31T23:59:60Z", 0),
        ("2026-01-01T00:00:00-00:00", 0),
    ],
)
def test_rfc_3339_is_read_leniently(text: str, offset_us: int) -> None:
    assert parse_time(text) == NEW_YEAR + offset_us


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026",
        "2026-01",
        "2026-13-01",
        "2026-02-30T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:61Z",
        "2026-01-01T00:00:00.Z",
        "2026-01-01T00:00:00+24:00",
        "2026-01-01T00:00:00+02:60",
        "2026-01-01T00:00:00 Z",
        "2026-01-01Z",
        "20260101T000000Z",
        "2026-W01-1",
        "٢٠٢٦-01-01",
        "1767225600",
        "-2026-01-01T00:00:00Z",
        " 2026-01-01",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    assert parse_time(text) is None
    column, failed = times_from_text(pa.array([text, None, "2026-01-01T00:00:00Z"]))
    assert failed == [0]
    assert column.cast(pa.int64()).to_pylist() == [None, None, NEW_YEAR]


def test_years_before_the_first_are_read_as_the_calendar_goes_on() -> None:
    assert parse_time("0001-01-01T00:00:00Z") == micros(datetime(1, 1, 1, tzinfo=UTC))
    assert parse_time("0000-12-31T00:00:00Z") == micros(datetime(1, 1, 1, tzinfo=UTC)) - 86_400_000_000


@given(
    st.datetimes(
        timezones=st.builds(
            timezone,
            st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(
                lambda d: timedelta(minutes=d // timedelta(minutes=1))
            ),
        )
    )
)
def test_any_moment_written_by_the_standard_library_is_read_back(moment: datetime) -> None:
    assert parse_time(moment.isoformat()) == micros(moment)


FRAGMENTS = st.lists(
    st.sampled_from(["2026", "0000", "9999", "-", "01", "12", "29", "02", "T", "t", " ", ":", "00", "23", "59", "60"])
    | st.sampled_from([".", "5", "123456", "1234567", "Z", "z", "+", "+02:00", "-0530", "+14", "x"]),
    max_size=16,
).map("".join)
SHAPED = st.from_regex(
    r"\A[0-2][09]{3}-(0[0-9]|1[0-3])-[0-3][0-9]([T ][0-2][0-9](:[0-6][0-9](:[0-6][0-9](\.[0-9]{0,8})?)?)?)?"
    r"(Z|[+-][0-2][0-9](:?[0-6][0-9])?)?\Z"
)


@given(SHAPED | FRAGMENTS)
def test_a_value_read_alone_is_read_as_in_a_column(text: str) -> None:
    column, failed = times_from_text(pa.array([text]))
    alone = parse_time(text)
    assert column.cast(pa.int64()).to_pylist() == [alone]
    assert failed == ([0] if alone is None else [])


@given(st.lists(SHAPED | FRAGMENTS | st.none(), max_size=6))
def test_what_a_column_makes_of_a_value_does_not_depend_on_its_neighbours(texts: list[str | None]) -> None:
    column, failed = times_from_text(pa.array(texts, pa.string()))
    expected = [None if text is None else parse_time(text) for text in texts]
    assert column.cast(pa.int64()).to_pylist() == expected
    assert failed == [i for i, text in enumerate(texts) if text is not None and expected[i] is None]


@pytest.mark.parametrize(
    "number",
    [1_767_225_600, 1_767_225_600_000, 1_767_225_600_000_000, 1_767_225_600_000_000_000, 1_767_225_600.0, 1.7672256e12],
)
def test_the_unit_of_a_number_follows_from_its_magnitude(number: float) -> None:
    assert parse_epoch(number) == NEW_YEAR


def test_fractions_of_seconds_and_milliseconds_are_kept_to_the_microsecond() -> None:
    assert parse_epoch(1_767_225_600.25) == NEW_YEAR + 250_000
    assert parse_epoch(1_767_225_600_000.125) == NEW_YEAR + 125


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 1e300, float("inf"), float("nan")])
def test_numbers_beyond_64_bits_are_no_times(number: float) -> None:
    assert parse_epoch(number) is None


BOUNDARIES = [s * (10**e + d) for s in (1, -1) for e in (11, 14, 17) for d in (-1, 0, 1)]


@given(st.lists(st.integers(-(2**63), 2**63 - 1) | st.sampled_from([*BOUNDARIES, -(2**63), 0]) | st.none()))
def test_columns_of_numbers_are_read_like_single_numbers(numbers: list[int | None]) -> None:
    column = times_from_numbers(pa.array(numbers, pa.int64())).cast(pa.int64()).to_pylist()
    assert column == [None if n is None else parse_epoch(n) for n in numbers]
    assert column == [None if n is None else read_time(n) if n > -(2**63) else n // 1000 for n in numbers]
