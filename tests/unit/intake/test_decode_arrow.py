"""Arrow IPC bodies: from whatever a producer's library writes to the wire schema."""

from __future__ import annotations

import json
import struct
import uuid
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from arrow_bodies import SAMPLES, body, foreign_batch, stream, wire_batch
from hypothesis import given
from hypothesis import strategies as st

from collectors.intake.decode import decode_arrow
from collectors.intake.decoded import Decoded
from collectors.intake.ndjson import decode_ndjson
from collectors.model.event_type import EVENT_ID, TIMESTAMP, EventType
from collectors.model.event_types import AUTH, EVENT_TYPES, LABEL, PAYMENT, PLAYBACK, PREDICTION, RECOMMENDATION

NEW_YEAR = 1_767_225_600_000_000


def converted(name: str, column: pa.Array, event_type: EventType = PLAYBACK) -> list[object]:
    """Return the wire column that ``column`` becomes, all of its values being good."""
    decoded = decode_arrow(body({name: column}), event_type)
    assert decoded.bad == ()
    assert decoded.row_numbers is None
    result = decoded.table.column(name)
    wanted = event_type.wire_schema.field(name).type
    assert result.type == wanted or (name == "event_id" and result.type == pa.string())
    return (result.cast(pa.int64()) if pa.types.is_timestamp(wanted) else result).to_pylist()


def refused(name: str, column: pa.Array, event_type: EventType = PLAYBACK) -> list[int]:
    """Return the rows that are bad because of ``column``."""
    decoded = decode_arrow(body({name: column}), event_type)
    assert {b.code for b in decoded.bad} <= {f"wrong_type:{name}"}
    assert decoded.rows_offered == len(column) == decoded.table.num_rows + len(decoded.bad)
    return [b.row for b in decoded.bad]


# ---- the lane of those who send just what is wanted


@pytest.mark.parametrize("event_type", EVENT_TYPES.values(), ids=EVENT_TYPES)
@pytest.mark.parametrize("compression", [None, "lz4", "zstd"])
def test_a_batch_in_the_wire_schema_comes_out_as_it_went_in(event_type: EventType, compression: str | None) -> None:
    batch = wire_batch(event_type)
    decoded = decode_arrow(stream(batch, compression), event_type)
    assert decoded.table.equals(batch)
    assert (decoded.bad, decoded.rows_offered, decoded.row_numbers) == ((), 5, None)


def test_batches_of_one_body_are_joined() -> None:
    batch = wire_batch(PREDICTION)
    decoded = decode_arrow(stream(batch, "lz4", times=3), PREDICTION)
    assert decoded.table.equals(pa.concat_batches([batch] * 3))
    assert decoded.rows_offered == 15


def test_a_file_is_read_like_a_stream() -> None:
    batch = wire_batch(PLAYBACK)
    assert decode_arrow(stream(batch, "lz4", file=True, times=2), PLAYBACK).table.equals(pa.concat_batches([batch] * 2))


def test_a_body_without_rows_is_empty() -> None:
    for times in (0, 1):
        decoded = decode_arrow(stream(wire_batch(PLAYBACK)[:0], times=times), PLAYBACK)
        assert decoded.table.num_rows == decoded.rows_offered == 0
        assert decoded.table.schema == PLAYBACK.wire_schema
    assert decode_arrow(stream(foreign_batch()[:0], times=0), PLAYBACK).rows_offered == 0


def test_columns_may_be_missing_and_in_any_order() -> None:
    batch = wire_batch(PLAYBACK)
    decoded = decode_arrow(stream(batch.select(["country", "track_id", "event_id"])), PLAYBACK)
    assert decoded.table.schema == PLAYBACK.wire_schema
    assert decoded.table.column("track_id").equals(batch.column("track_id"))
    assert decoded.table.column("ms_played").null_count == 5


def test_a_buffer_is_taken_like_bytes() -> None:
    assert decode_arrow(pa.py_buffer(stream(wire_batch(AUTH))), AUTH).rows_offered == 5


# ---- types that become the wire types


@pytest.mark.parametrize(
    "kind",
    [
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.large_binary(),
        pa.binary_view(),
        pa.json_(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.dictionary(pa.uint32(), pa.large_string()),
    ],
    ids=str,
)
def test_any_text_becomes_text(kind: pa.DataType) -> None:
    values = ["a", None, "é", "longer than twelve bytes", ""]
    column = pa.array(values).cast(kind) if kind != pa.json_() else pa.array(values, kind)
    assert converted("track_id", column) == values
    assert converted("track_id", column[1:4]) == values[1:4]


def test_binary_that_is_no_text_costs_its_rows() -> None:
    assert refused("track_id", pa.array([b"a", b"\xff", None, b"\xc3"])) == [1, 3]
    assert refused("track_id", pa.array([b"a", b"b"], pa.binary(1))) == [0, 1]


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint16(), pa.int64(), pa.uint64(), pa.float32(), pa.float64()], ids=str)
def test_numbers_without_fraction_become_whole_numbers(kind: pa.DataType) -> None:
    assert converted("ms_played", pa.array([0, None, 100], kind)) == [0, None, 100]


def test_other_numbers_that_fit_become_whole_numbers() -> None:
    assert converted("ms_played", pa.array([Decimal("7.00"), None])) == [7, None]
    assert converted("ms_played", pa.array([1, 1, None]).dictionary_encode()) == [1, 1, None]
    assert converted("ms_played", pa.nulls(2)) == [None, None]


def test_values_that_do_not_fit_cost_their_rows_and_no_others() -> None:
    assert refused("ms_played", pa.array([0, 2**31, None, -(2**31) - 1, 2**31 - 1])) == [1, 3]
    assert refused("ms_played", pa.array([1.5, 2.0, float("nan"), float("inf"), None])) == [0, 2, 3]
    assert refused("ms_played", pa.array([Decimal("7.50"), Decimal("8.00")])) == [0]
    assert refused("amount_minor", pa.array([2**63, 5], pa.uint64()), PAYMENT) == [0]
    assert refused("value", pa.array([2**53 + 1, 2**53]), LABEL) == [0]


@given(st.lists(st.none() | st.integers(-(2**33), 2**33), max_size=40))
def test_rows_are_refused_exactly_where_the_value_does_not_fit(values: list[int | None]) -> None:
    decoded = decode_arrow(body({"ms_played": pa.array(values, pa.int64())}), PLAYBACK)
    bad = [i for i, v in enumerate(values) if v is not None and not -(2**31) <= v < 2**31]
    assert [b.row for b in decoded.bad] == bad
    assert decoded.table.column("ms_played").to_pylist() == [v for i, v in enumerate(values) if i not in bad]
    kept = [i for i in range(len(values)) if i not in bad]
    assert (list(range(len(kept))) if decoded.row_numbers is None else decoded.row_numbers.tolist()) == kept


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("ms_played", pa.array(["12", None])),
        ("ms_played", pa.array([True, None])),
        ("skipped", pa.array([1, None])),
        ("skipped", pa.array([1, None], pa.bool8())),
        ("track_id", pa.array([12, None])),
        ("track_id", pa.array([["a"], None])),
        ("event_time", pa.array([1.5, None])),
        ("event_time", pa.array(["yesterday", None])),
        ("event_id", pa.array([7, None])),
    ],
    ids=str,
)
def test_a_column_of_the_wrong_type_costs_the_rows_with_a_value(name: str, column: pa.Array) -> None:
    assert refused(name, column) == [0]


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.int8(), pa.uint64(), pa.decimal128(38, 2)], ids=str)
def test_any_number_becomes_a_float(kind: pa.DataType) -> None:
    assert converted("value", pa.array([1, None, 2]).cast(kind), LABEL) == [1.0, None, 2.0]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([NEW_YEAR // 10**6], pa.int64()).view(pa.timestamp("s")), NEW_YEAR),
        (pa.array([NEW_YEAR // 10**3], pa.int64()).view(pa.timestamp("ms", "Asia/Tokyo")), NEW_YEAR),
        (pa.array([NEW_YEAR + 1], pa.int64()).view(pa.timestamp("us")), NEW_YEAR + 1),
        (pa.array([NEW_YEAR], pa.int64()).view(pa.timestamp("us", "No/Such_Zone")), NEW_YEAR),
        (pa.array([NEW_YEAR * 1000 + 1999], pa.int64()).view(pa.timestamp("ns", "UTC")), NEW_YEAR + 1),
        (pa.array([-1], pa.int64()).view(pa.timestamp("ns")), -1),
        (pa.array([date(2026, 1, 1)]), NEW_YEAR),
        (pa.array([datetime(2026, 1, 1, tzinfo=UTC)], pa.date64()), NEW_YEAR),
        (pa.array([NEW_YEAR]), NEW_YEAR),
        (pa.array([5], pa.uint8()), 5),
        (pa.array(["2026-01-01T01:00:00+01:00"]), NEW_YEAR),
        (pa.array(["2026-01-01T00:00:00Z"], pa.large_string()), NEW_YEAR),
        (pa.array(["2026-01-01"]).dictionary_encode(), NEW_YEAR),
    ],
    ids=lambda x: str(getattr(x, "type", "")),
)
def test_times_come_in_any_unit_zone_and_form(column: pa.Array, expected: int) -> None:
    with_null = pa.concat_arrays([column, pa.nulls(1, column.type)])
    assert converted("event_time", with_null) == [expected, None]


def test_times_beyond_microseconds_cost_their_rows() -> None:
    assert refused("event_time", pa.array([2**60, 0]).view(pa.timestamp("s"))) == [0]
    assert refused("event_time", pa.array([2**31 - 1, 0], pa.int32()).view(pa.date32())) == [0]
    assert refused("event_time", pa.array([2**63, 0], pa.uint64())) == [0]


@pytest.mark.parametrize(
    "kind",
    [
        pa.large_list(pa.string()),
        pa.list_(pa.large_string()),
        pa.list_(pa.string_view()),
        pa.list_(pa.dictionary(pa.int8(), pa.string())),
        pa.list_(pa.field("element", pa.string(), nullable=False)),
    ],
    ids=str,
)
def test_any_list_of_text_becomes_a_list_of_text(kind: pa.DataType) -> None:
    values = [["a", "b"], None, [], ["c"]]
    column = pa.array(values, kind)
    assert converted("items", column, RECOMMENDATION) == values
    assert converted("items", column[1:], RECOMMENDATION) == values[1:]


def test_lists_of_numbers_are_converted_element_by_element() -> None:
    assert converted("propensities", pa.array([[1, 2], None], pa.list_(pa.int8(), 2)), RECOMMENDATION) == [[1, 2], None]
    assert converted("propensities", pa.array([[1.5], [None]], pa.list_(pa.float32())), RECOMMENDATION) == [
        [1.5],
        [None],
    ]
    assert converted("propensities", pa.array([[], None], pa.list_(pa.null())), RECOMMENDATION) == [[], None]


def test_an_element_that_does_not_fit_costs_its_row_once() -> None:
    column = pa.array([[1], [2**53 + 1, 2, 2**53 + 1], None, [], [3], [2**60 + 1]])
    assert refused("propensities", column, RECOMMENDATION) == [1, 5]
    assert refused("items", pa.array([["a"], [], None], pa.list_(pa.binary())), RECOMMENDATION) == []
    assert refused("items", pa.array([[1], [], None]), RECOMMENDATION) == [0]
    assert refused("items", pa.array(["ab", None]), RECOMMENDATION) == [0]


def test_maps_of_numbers_become_maps_of_floats() -> None:
    values = [[("a", 1), ("b", None)], None, []]
    for kind in (pa.map_(pa.large_string(), pa.int64()), pa.map_(pa.string(), pa.float32())):
        assert converted("features", pa.array(values, kind), PREDICTION) == values
    assert refused("features", pa.array([[("a", "x")], None], pa.map_(pa.string(), pa.string())), PREDICTION) == [0]
    assert refused("features", pa.array([{"a": 1.0}, None]), PREDICTION) == [0]


def test_event_ids_keep_the_form_they_came_in() -> None:
    ids = [uuid.UUID(int=i) for i in (1, 2)]
    octets = [i.bytes for i in ids]
    for kind in (EVENT_ID, pa.uuid(), pa.binary(), pa.large_binary(), pa.binary_view()):
        column = pa.array(octets, pa.binary()).cast(kind) if kind != pa.uuid() else pa.array(octets, kind)
        decoded = decode_arrow(body({"event_id": column}), PLAYBACK)
        assert decoded.table.column("event_id").type == EVENT_ID
        assert decoded.table.column("event_id").to_pylist() == octets
    for kind in (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())):
        decoded = decode_arrow(body({"event_id": pa.array([str(i) for i in ids]).cast(kind)}), PLAYBACK)
        assert decoded.table.schema.field("event_id").type == pa.string()
        assert decoded.table.column("event_id").to_pylist() == [str(i) for i in ids]
    assert refused("event_id", pa.array([b"x" * 16, b"short", None])) == [1]


# ---- columns nobody knows, and rows that are kept


def test_unknown_columns_become_members_of_properties() -> None:
    decoded = decode_arrow(stream(foreign_batch()), PLAYBACK)
    assert [b.row for b in decoded.bad] == [1, 4]  # their ms_played has a fraction
    first, last = (json.loads(decoded.table.column("properties")[i].as_py()) for i in (0, 1))
    assert first == {
        "k": 1,
        "struct": {"a": [1, 2], "d": "2026-01-01"},
        "map": {"a": "eA=="},
        "decimal": "1.50",
        "views": ["a"],
        "codes": ["q", "w"],
        "pairs": [1, 2],
    }
    assert last == {
        "struct": {"a": None, "d": None},
        "map": {},
        "decimal": "-2.25",
        "views": ["longer than twelve bytes"],
        "codes": [],
        "pairs": [3, None],
    }
    assert decoded.row_numbers is not None
    assert decoded.row_numbers.tolist() == [0, 2, 3, 5]


def unknown(column: pa.Array) -> list[object]:
    texts = decode_arrow(body({"x": column}), PLAYBACK).table.column("properties").to_pylist()
    return [None if text is None else json.loads(text)["x"] for text in texts]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([1.5, float("nan"), float("-inf"), None]), [1.5, None, None, None]),
        (pa.array([1.5, None], pa.float16()), [1.5, None]),
        (pa.array([2**64 - 1, None], pa.uint64()), [2**64 - 1, None]),
        (pa.array([True, None]), [True, None]),
        (pa.array([b"", b"\xff", uuid.UUID(int=7).bytes]), ["", "/w==", str(uuid.UUID(int=7))]),
        (pa.array([NEW_YEAR, None]).view(pa.timestamp("us", "Asia/Tokyo")), ["2026-01-01T00:00:00.000000Z", None]),
        (pa.array([5, None]).view(pa.duration("s")), [5, None]),
        (pa.array([5], pa.int32()).view(pa.time32("s")), ["00:00:05"]),
        (pa.array([[], [{"a": 1}], None], pa.list_(pa.struct([("a", pa.int8())]))), [[], [{"a": 1}], None]),
        (pa.array([[(1, 2)]], pa.map_(pa.int8(), pa.int8())), [[{"key": 1, "value": 2}]]),
        (pa.array([{}, None], pa.struct([])), [{}, None]),
        (pa.array(["é", None], pa.large_string()), ["é", None]),
    ],
    ids=lambda x: str(getattr(x, "type", "")),
)
def test_unknown_values_of_any_type_are_spelled_in_json(column: pa.Array, expected: list[object]) -> None:
    assert unknown(column) == expected


def test_times_that_no_calendar_has_are_still_kept() -> None:
    assert str(2**62) in str(unknown(pa.array([2**62]).view(pa.timestamp("us"))))


def test_unknown_columns_overwrite_no_property_and_leave_rows_without_values_alone() -> None:
    columns = {"properties": pa.array(['{"x": 1}', '{"y":2}', None, '{"z" : 3}']), "x": pa.array([5, 6, 7, None])}
    texts = decode_arrow(body(columns), PLAYBACK).table.column("properties").to_pylist()
    assert texts == ['{"x":1,"_x":5}', '{"y":2,"x":6}', '{"x":7}', '{"z" : 3}']


def test_properties_that_are_no_object_cost_their_row_if_something_has_to_be_added() -> None:
    columns = {"properties": pa.array(["[]", "{", "{}", "[]"]), "x": pa.array([1, 2, 3, None])}
    decoded = decode_arrow(body(columns), PLAYBACK)
    assert [(b.row, b.code) for b in decoded.bad] == [(0, "wrong_type:properties"), (1, "wrong_type:properties")]
    assert decoded.table.column("properties").to_pylist() == ['{"x":3}', "[]"]


def test_an_unknown_column_without_values_adds_nothing() -> None:
    assert decode_arrow(body({"x": pa.nulls(3, pa.int64())}), PLAYBACK).table.column("properties").null_count == 3


def test_a_bad_row_is_kept_as_json_and_becomes_the_same_row_when_the_fault_is_mended() -> None:
    columns: Mapping[str, pa.Array] = {
        "event_id": pa.array([uuid.UUID(int=7).bytes], EVENT_ID),
        "event_time": pa.array([NEW_YEAR], TIMESTAMP),
        "score": pa.array([0.5]),
        "features": pa.array([[("a", 1.0)]], pa.map_(pa.string(), pa.float64())),
        "latency_us": pa.array(["12"]),
        "x": pa.array([1]),
    }
    (bad,) = decode_arrow(body(columns), PREDICTION).bad
    assert (bad.row, bad.code) == (0, "wrong_type:latency_us")
    assert "latency_us must be a whole number of 64 bits" in bad.message
    kept = json.loads(bad.raw)
    assert kept["latency_us"] == "12"
    mended = decode_ndjson(json.dumps(kept | {"latency_us": 12}).encode(), PREDICTION)
    direct = decode_arrow(body({**columns, "latency_us": pa.array([12])}), PREDICTION)
    names = [n for n in mended.table.schema.names if n != "event_id"]
    assert mended.table.select(names).equals(direct.table.select(names))
    assert mended.table.column("event_id").to_pylist() == [str(uuid.UUID(int=7))]


def test_samples_cover_every_type_of_the_vocabulary() -> None:
    assert {str(f.type) for t in EVENT_TYPES.values() for f in t.wire_schema} == set(SAMPLES)


def test_the_result_does_not_depend_on_how_rows_are_cut_into_batches() -> None:
    batch = foreign_batch()
    whole = decode_arrow(stream(pa.concat_batches([batch, batch])), PLAYBACK)
    cut = decode_arrow(stream(batch, "lz4", times=2), PLAYBACK)

    def everything(decoded: Decoded) -> tuple[object, ...]:
        assert decoded.row_numbers is not None
        return decoded.table.to_pylist(), decoded.bad, decoded.rows_offered, decoded.row_numbers.tolist()

    assert everything(whole) == everything(cut)


def test_what_hides_behind_nulls_is_never_looked_at() -> None:
    views = struct.pack("<i12s", 5, b"valid") + struct.pack("<i4sii", 2**30, b"wild", 7, 2**30)
    column = pa.Array.from_buffers(
        pa.string_view(), 2, [pa.py_buffer(b"\x01"), pa.py_buffer(views), pa.py_buffer(b"x")]
    )
    assert converted("track_id", column) == ["valid", None]
    assert converted("track_id", pa.concat_arrays([column, column])[1:]) == [None, "valid", None]
    codes = pa.DictionaryArray.from_buffers(
        pa.dictionary(pa.int32(), pa.string()),
        2,
        [pa.py_buffer(b"\x01"), pa.py_buffer(struct.pack("<2i", 0, 2**30))],
        pa.array(["valid"]),
    )
    assert converted("track_id", codes) == ["valid", None]
