"""Events into request bodies."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from intake_double import START_US, QuickClock

from collectors.client.fields import RowSchema
from collectors.client.packing import Chunk, conform, event_ids
from collectors.errors import BadInput
from collectors.model.event_types import event_type

PLAYBACK = event_type("playback")
LABEL = event_type("label")


def pack(name, content, source=None, ticket=7):
    schema = RowSchema(event_type(name), QuickClock())
    if isinstance(content, list):
        for row in content:
            schema.check(row)
    else:
        [content] = conform(schema.event_type, content).to_batches()
    return Chunk(ticket, schema, len(content), 1, START_US, content).pack(source)


def read(parcel) -> pa.Table:
    return pa.ipc.open_stream(parcel.body).read_all()


def labels(n, **columns):
    return pa.table({"prediction_id": [f"p-{i}" for i in range(n)], "value": np.arange(n, dtype=float), **columns})


def refusal(kind, table) -> str:
    with pytest.raises(BadInput) as caught:
        conform(kind, table)
    return str(caught.value)


@given(st.integers(0, 50), st.integers(0, 2**48 - 1))
def test_identities_are_distinct_uuids_of_version_7_of_their_time(count, time_ms):
    ids = [uuid.UUID(bytes=b) for b in event_ids(count, time_ms).to_pylist()]
    assert len(set(ids)) == count
    for identity in ids:
        assert identity.variant == uuid.RFC_4122
        assert identity.version == 7
        assert identity.int >> 80 == time_ms


def test_random_bits_of_identities_are_spread_evenly():
    bits = np.unpackbits(np.array([list(b) for b in event_ids(4000, 0).to_pylist()], dtype=np.uint8), axis=1)
    free = [i for i in range(52, 128) if i not in (64, 65)]
    assert np.all(np.abs(bits[:, free].mean(axis=0) - 0.5) < 0.06)  # 7 standard deviations


def test_a_body_is_a_compressed_stream_of_the_wire_schema():
    [parcel] = pack("label", labels(1000))
    table = read(parcel)
    assert table.schema == LABEL.wire_schema
    assert table["prediction_id"].to_pylist() == [f"p-{i}" for i in range(1000)]
    assert (parcel.rows, parcel.size, parcel.event_type) == (1000, len(parcel.body), "label")
    assert parcel.size < table.nbytes
    assert set(table["event_time"].to_pylist()) == {datetime.fromtimestamp(START_US / 1e6, UTC)}


def test_packing_twice_gives_the_same_parcels():
    schema = RowSchema(LABEL, QuickClock())
    chunk = Chunk(1, schema, 2, 1, START_US, conform(LABEL, labels(2)).to_batches()[0])
    assert chunk.pack(None) is chunk.pack(None)


def test_what_was_given_is_kept_and_only_gaps_are_filled():
    when = START_US - 5
    rows = [
        {"prediction_id": "a", "value": 1, "event_id": uuid.UUID(int=5), "source": "own", "event_time": when},
        {"prediction_id": "b", "value": 2},
    ]
    [parcel] = pack("label", rows, source="app")
    first, second = read(parcel).to_pylist()
    assert (first["event_id"], first["source"]) == (uuid.UUID(int=5).bytes, "own")
    assert read(parcel)["event_time"][0].value == when
    assert second["source"] == "app"
    assert uuid.UUID(bytes=second["event_id"]).version == 7


def test_events_identified_by_text_travel_in_a_batch_of_their_own():
    rows = [{"prediction_id": str(i), "value": i} for i in range(4)]
    rows[1]["event_id"], rows[3]["event_id"] = "order-1", "order-3"
    plain, named = pack("label", rows)
    assert read(plain).schema == LABEL.wire_schema
    assert read(plain)["prediction_id"].to_pylist() == ["0", "2"]
    assert read(named).schema == LABEL.wire_schema.set(0, pa.field("event_id", pa.string()))
    assert read(named)["event_id"].to_pylist() == ["order-1", "order-3"]
    assert read(named)["prediction_id"].to_pylist() == ["1", "3"]
    assert plain.key != named.key
    assert (plain.ticket, plain.part) < (named.ticket, named.part)


def test_a_table_may_identify_events_by_text():
    [named] = pack("label", labels(2, event_id=["x", "y"]))
    assert read(named)["event_id"].to_pylist() == ["x", "y"]
    plain, named = pack("label", labels(3, event_id=["x", None, "z"]))
    assert (plain.rows, named.rows) == (1, 2)
    assert read(plain)["event_id"].null_count == 0
    [plain] = pack("label", labels(2, event_id=pa.nulls(2, pa.string())))
    assert read(plain).schema == LABEL.wire_schema


@given(st.integers(2, 40))
def test_halves_hold_the_same_events_in_order_and_are_always_the_same(rows):
    [parcel] = pack("label", labels(rows))
    first, second = parcel.halves(parcel.body)
    assert pa.concat_tables([read(first), read(second)]).equals(read(parcel))
    assert first.rows + second.rows == rows
    assert min(first.rows, second.rows) >= 1
    again = parcel.halves(parcel.body)
    assert [(p.key, p.body) for p in again] == [(p.key, p.body) for p in (first, second)]
    assert len({parcel.key, first.key, second.key}) == 3
    assert parcel.part < first.part < second.part


def test_a_table_is_put_into_the_order_of_the_schema_with_nulls_for_the_rest():
    table = conform(PLAYBACK, pa.table({"ms_played": pa.array([1], pa.int32()), "track_id": ["t"]}))
    assert table.schema == PLAYBACK.wire_schema
    assert table.to_pylist()[0]["artist_id"] is None
    batch = pa.record_batch({"ms_played": pa.array([1], pa.int32()), "track_id": ["t"]})
    assert conform(PLAYBACK, batch).equals(table)


SECOND = pa.timestamp("s", tz="Europe/Stockholm")


@pytest.mark.parametrize(
    ("name", "column", "expected"),
    [
        ("track_id", pa.array(["a"], pa.large_string()), "a"),
        ("track_id", pa.array(["a"], pa.string_view()), "a"),
        ("track_id", pa.array(["a"]).dictionary_encode(), "a"),
        ("ms_played", pa.array([5], pa.uint8()), 5),
        ("ms_played", pa.array([5], pa.int64()), 5),
        ("event_time", pa.array([1772368215], SECOND), datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)),
        (
            "event_time",
            pa.array([1772368215000000999], pa.timestamp("ns", "UTC")),
            datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC),
        ),
        ("event_time", pa.array([1772368215000000]), datetime(2026, 3, 1, 12, 30, 15, tzinfo=UTC)),
        ("event_id", pa.array([uuid.UUID(int=9)], pa.uuid()), uuid.UUID(int=9).bytes),
        ("event_id", pa.array([bytes(16)], pa.binary()), bytes(16)),
        ("event_id", pa.array(["x"], pa.large_string()), "x"),
        ("skipped", pa.nulls(1), None),
    ],
)
def test_columns_of_like_types_are_converted(name, column, expected):
    columns = {"track_id": pa.array(["t"]), "ms_played": pa.array([1], pa.int32()), name: column}
    assert conform(PLAYBACK, pa.table(columns)).to_pylist()[0][name] == expected


def test_lists_and_maps_are_converted_by_their_elements():
    slate = pa.table({"slate_id": ["s"], "items": pa.array([["a"]], pa.large_list(pa.large_string()))})
    assert conform(event_type("recommendation"), slate)["items"].type == pa.list_(pa.string())
    features = pa.array([[("x", 1)]], pa.map_(pa.large_string(), pa.int32()))
    scored = pa.table({"model": ["m"], "prediction_id": ["p"], "features": features})
    assert conform(event_type("prediction"), scored)["features"].to_pylist() == [[("x", 1.0)]]


@pytest.mark.parametrize(
    ("name", "column", "said"),
    [
        ("track_id", pa.array([1]), "playback.track_id must be string, not int64"),
        ("ms_played", pa.array(["1"]), "playback.ms_played must be int32, not string"),
        ("ms_played", pa.array([1.0]), "playback.ms_played must be int32, not double"),
        ("ms_played", pa.array([2**31]), "playback.ms_played must be int32, not int64: some value does not fit"),
        ("skipped", pa.array([1]), "playback.skipped must be bool, not int64"),
        (
            "event_time",
            pa.array([1], pa.timestamp("us")),
            "must be timestamp[us, tz=UTC], not timestamp[us]: it has no time zone",
        ),
        (
            "event_time",
            pa.array([1], pa.date32()),
            "playback.event_time must be timestamp[us, tz=UTC], not date32[day]",
        ),
        ("event_id", pa.array([b"short"]), "must be fixed_size_binary[16], not binary: some value does not fit"),
        ("event_id", pa.array([1]), "playback.event_id must be fixed_size_binary[16], not int64"),
    ],
)
def test_columns_of_other_types_are_refused_by_name(name, column, said):
    columns = {"track_id": pa.array(["t"]), "ms_played": pa.array([1], pa.int32()), name: column}
    assert said in refusal(PLAYBACK, pa.table(columns))


def test_elements_of_other_types_are_refused():
    assert "items must be list" in refusal(event_type("recommendation"), pa.table({"slate_id": ["s"], "items": [[1]]}))
    features = pa.array([[(1, 1.0)]], pa.map_(pa.int64(), pa.float64()))
    scored = pa.table({"model": ["m"], "prediction_id": ["p"], "features": features})
    assert "features must be map" in refusal(event_type("prediction"), scored)


def test_missing_null_unknown_and_repeated_columns_are_refused():
    assert refusal(LABEL, pa.table({"value": [1.0]})) == "label.prediction_id is required; it is null in 1 rows"
    holes = pa.table({"prediction_id": ["a", None, None], "value": [1.0, 1.0, 1.0]})
    assert refusal(LABEL, holes) == "label.prediction_id is required; it is null in 2 rows"
    assert refusal(LABEL, labels(1, mood=["x"])) == "label has no columns mood; put them into properties as JSON"
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["prediction_id", "prediction_id"])
    assert "only once" in refusal(LABEL, twice)
