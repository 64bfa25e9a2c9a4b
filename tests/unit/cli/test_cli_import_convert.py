"""Columns of files into types of fields, against Python's decimal, datetime and zoneinfo value by value."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import ROUND_HALF_EVEN, Decimal
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.cli.importing.convert import EPOCH, Reading, to_type, valid_format
from collectors.model.event_type import TIMESTAMP

PLAIN = Reading()
AMOUNTS = st.one_of(
    st.decimals(-(10**14), 10**14, places=4).map(str),
    st.decimals(-(10**30), 10**30, allow_nan=False).map(str),
    st.from_regex(r"\A[ ]?[+-]?(\d{1,22}(\.\d{0,20})?|\.\d{1,5})([eE][+-]?\d{1,2})?[ ]?\Z"),
    st.sampled_from(["", " ", "0.125", "0.135", "2.5e0", "9223372036854775807", "9223372036854775808", "-0.005"]),
)
JUNK = st.sampled_from(["x", "1,5", "--1", "1e", "NaN", "Infinity", "1_000", "0x10", "1e99999", "1e999", "\u0661"])


def _whole(text: str, factor: Decimal | None, bits: int) -> tuple[int | None, bool]:
    """The oracle: the value, and whether the text is no fitting number."""
    stripped = text.strip(" ")
    if not stripped:
        return None, False
    if "_" in stripped or not stripped.isascii():
        return None, True
    try:
        exact = Decimal(stripped)
    except ArithmeticError:
        return None, True
    if not exact.is_finite() or exact.adjusted() > 40:
        return None, True
    scaled = exact * (factor or 1)
    value = scaled.to_integral_value(ROUND_HALF_EVEN)
    if not -(2 ** (bits - 1)) <= value < 2 ** (bits - 1) or (factor is None and value != scaled):
        return None, True
    return int(value), False


@given(
    st.lists(AMOUNTS | JUNK, max_size=20),
    st.sampled_from([None, Decimal(100), Decimal("0.01"), Decimal("-2.5")]),
    st.sampled_from([pa.int64(), pa.int32()]),
)
def test_whole_numbers_are_exact_and_rounded_half_to_even(
    texts: list[str], factor: Decimal | None, kind: pa.DataType
) -> None:
    column, failed = to_type(pa.array(texts, pa.string()), kind, PLAIN, factor)
    expected = [_whole(text, factor, kind.bit_width) for text in texts]
    assert column.type == kind
    assert column.to_pylist() == [value for value, _ in expected]
    assert failed.tolist() == [bad for _, bad in expected]


@given(st.lists(st.integers(-(10**10), 10**10), max_size=20))
def test_amounts_in_floats_mean_what_was_written(cents: list[int]) -> None:
    column, failed = to_type(pa.array([c / 100 for c in cents], pa.float64()), pa.int64(), PLAIN, Decimal(100))
    assert column.to_pylist() == cents
    assert not failed.any()


@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)), max_size=20))
def test_floating_numbers_survive_being_text(values: list[float | None]) -> None:
    texts = [None if v is None else repr(v) for v in values]
    column, failed = to_type(pa.array(texts, pa.string()), pa.float64(), PLAIN)
    assert column.to_pylist() == values
    assert not failed.any()


def test_floating_numbers_can_have_a_factor_and_be_wrong() -> None:
    column, failed = to_type(pa.array(["1.5", "1e3", "x", None, ""]), pa.float64(), PLAIN, Decimal("0.1"))
    assert column.to_pylist() == [0.15, 100.0, None, None, None]
    assert failed.tolist() == [False, False, True, False, False]


def test_decimal_comma_and_its_thousands() -> None:
    reading = Reading(decimal_comma=True)
    column, failed = to_type(pa.array(["1.234,50", "0,5", "-7"]), pa.int64(), reading, Decimal(100))
    assert column.to_pylist() == [123450, 50, -700]
    assert not failed.any()
    # Numbers that are numbers already have no commas to read.
    assert to_type(pa.array([1.5]), pa.int64(), reading, Decimal(10))[0].to_pylist() == [15]


def test_flags() -> None:
    texts = ["true", "FALSE", "Yes", "n", "1", " 0 ", "", None, "maybe"]
    column, failed = to_type(pa.array(texts), pa.bool_(), PLAIN)
    assert column.to_pylist() == [True, False, True, False, True, False, None, None, None]
    assert failed.tolist() == [False] * 8 + [True]


def test_lists_and_maps_come_as_json_text_or_as_they_are() -> None:
    lists, failed = to_type(pa.array(['["a","b"]', "[1", '"x"', None, "[]"]), pa.list_(pa.string()), PLAIN)
    assert lists.to_pylist() == [["a", "b"], None, None, None, []]
    assert failed.tolist() == [False, True, True, False, False]
    kind = pa.map_(pa.string(), pa.float64())
    maps, failed = to_type(pa.array(['{"a": 1.5}', '{"a": "x"}']), kind, PLAIN)
    assert maps.to_pylist() == [[("a", 1.5)], None]
    assert failed.tolist() == [False, True]
    given_ = pa.array([["a"], None], pa.list_(pa.large_string()))
    assert to_type(given_, pa.list_(pa.string()), PLAIN)[0].to_pylist() == [["a"], None]


def test_texts_are_made_of_anything() -> None:
    for column, expected in (
        (pa.array([1, None]), ["1", None]),
        (pa.array(["a", "a"]).dictionary_encode(), ["a", "a"]),
        (pa.array(["a"], pa.large_string()), ["a"]),
        (pa.array(["a"], pa.string_view()), ["a"]),
        (pa.array([True]), ["true"]),
        (pa.array([b"x"]), ["x"]),
        (pa.nulls(1), [None]),
        (pa.array([Decimal("1.50")]), ["1.50"]),
    ):
        converted, failed = to_type(column, pa.string(), PLAIN)
        assert (converted.type, converted.to_pylist(), failed.tolist()) == (
            pa.string(),
            expected,
            [False] * len(expected),
        )
    nested, _ = to_type(pa.array([{"a": date(2020, 1, 1)}, None]), pa.string(), PLAIN)
    assert json.loads(nested[0].as_py()) == {"a": "2020-01-01"}
    assert nested[1].as_py() is None
    uuids = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0123456789abcdef"], pa.binary(16)))
    assert to_type(uuids, pa.binary(16), PLAIN)[0].to_pylist() == [b"0123456789abcdef"]


# Until 2037: beyond the last change that zone files write out, Arrow takes standard time for what holds.
TIMES = st.datetimes(datetime(1950, 1, 1), datetime(2037, 1, 1))  # noqa: DTZ001 - written without a zone on purpose
ZONES = st.sampled_from(["UTC", "Europe/Stockholm", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe"])


def _in_zone(naive: datetime, zone: str) -> datetime:
    return naive.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def _exists(naive: datetime, zone: str) -> bool:
    return _in_zone(naive, zone).astimezone(ZoneInfo(zone)).replace(tzinfo=None) == naive


@given(st.lists(TIMES, max_size=10), ZONES)
def test_iso_times_without_a_zone_are_of_the_given_one(times: list[datetime], zone: str) -> None:
    times = [t for t in times if _exists(t, zone)]
    column, failed = to_type(pa.array([t.isoformat() for t in times], pa.string()), TIMESTAMP, Reading(zone=zone))
    assert column.type == TIMESTAMP
    assert column.to_pylist() == [_in_zone(t, zone) for t in times]
    assert not failed.any()


@given(st.lists(TIMES, max_size=10), ZONES, st.sampled_from(["%Y-%m-%d %H:%M:%S.%f", "%d.%m.%Y %H:%M:%S", "%Y%m%d"]))
def test_times_in_a_format_are_those_python_reads(times: list[datetime], zone: str, form: str) -> None:
    written = [t.strftime(form) for t in times]
    naive = [datetime.strptime(w, form) for w in written]  # noqa: DTZ007
    kept = [(w, n) for w, n in zip(written, naive, strict=True) if _exists(n, zone)]
    column, failed = to_type(pa.array([w for w, _ in kept], pa.string()), TIMESTAMP, Reading(form, zone))
    assert column.to_pylist() == [_in_zone(n, zone) for _, n in kept]
    assert not failed.any()


def test_times_that_name_a_zone_keep_it() -> None:
    reading = Reading(zone="America/New_York")
    column, failed = to_type(
        pa.array(["2020-01-01T00:00:00Z", "2020-01-01 02:00+02", "2020-01-01", "soon", None, ""]), TIMESTAMP, reading
    )
    midnight = datetime(2020, 1, 1, tzinfo=UTC)
    assert column.to_pylist() == [midnight, midnight, midnight + timedelta(hours=5), None, None, None]
    assert failed.tolist() == [False, False, False, True, False, False]
    column, failed = to_type(pa.array(["01/01/2020 00:00 +0100", "x"]), TIMESTAMP, Reading("%d/%m/%Y %H:%M %z", "UTC"))
    assert column.to_pylist() == [midnight - timedelta(hours=1), None]
    assert failed.tolist() == [False, True]


def test_days_that_do_not_exist_are_no_times() -> None:
    _, failed = to_type(pa.array(["20210229", "20210228"]), TIMESTAMP, Reading("%Y%m%d"))
    assert failed.tolist() == [True, False]


def test_numbers_since_1970() -> None:
    day = datetime(2020, 1, 1, tzinfo=UTC)
    seconds = int(day.timestamp())
    texts = [str(seconds), str(seconds * 1000), str(seconds * 10**6), "x"]
    column, failed = to_type(pa.array(texts), TIMESTAMP, Reading(EPOCH))
    assert column.to_pylist() == [day, day, day, None]
    assert failed.tolist() == [False, False, False, True]
    assert to_type(pa.array([seconds]), TIMESTAMP, PLAIN)[0].to_pylist() == [day]
    # Digits without a format could be 1997-01-01 as well as a moment in August 1970.
    assert to_type(pa.array(["19970101"]), TIMESTAMP, PLAIN)[1].tolist() == [True]
    assert to_type(pa.array([19970101]), TIMESTAMP, Reading("%Y%m%d"))[0].to_pylist() == [
        datetime(1997, 1, 1, tzinfo=UTC)
    ]


def test_columns_of_times_and_days() -> None:
    reading = Reading(zone="Asia/Tokyo")
    nine = datetime(2020, 1, 1, 9)  # noqa: DTZ001
    midnight = datetime(2020, 1, 1, tzinfo=UTC)
    for column in (
        pa.array([nine], pa.timestamp("ns")),
        pa.array([nine], pa.timestamp("s")),
        pa.array([midnight], pa.timestamp("ms", "UTC")),
        pa.array([midnight.astimezone(timezone(timedelta(hours=3)))], pa.timestamp("us", "+03:00")),
    ):
        assert to_type(column, TIMESTAMP, reading)[0].to_pylist() == [midnight]
    days, _ = to_type(pa.array([date(2020, 1, 2)]), TIMESTAMP, reading)
    assert days.to_pylist() == [midnight + timedelta(hours=15)]
    fine = pa.array([1_500], pa.int64()).cast(pa.timestamp("ns"))
    assert to_type(fine, TIMESTAMP, PLAIN)[0].cast(pa.int64()).to_pylist() == [1]


@pytest.mark.parametrize(
    ("form", "valid"), [("%Y%m%d", True), ("%d %b %y", True), ("%Q", False), ("100%", False), ("", False)]
)
def test_formats_are_checked_before_use(form: str, valid: bool) -> None:
    assert valid_format(form) is valid
