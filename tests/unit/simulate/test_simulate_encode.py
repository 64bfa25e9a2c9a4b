from __future__ import annotations

import csv
import json
import uuid
from datetime import UTC, datetime, timedelta

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulate_support import Run

from collectors.model.event_types import EVENT_TYPES
from collectors.simulate.encode import (
    FileFormat,
    FileWriter,
    TimeStyle,
    json_text,
    rfc3339_text,
    to_ipc,
    to_ndjson,
    uuid_text,
)

KINDS = ["playback", "app_event", "recommendation", "feedback", "prediction", "label", "api_request", "auth",
         "subscription", "payment", "exposure", "outcome", "audit"]  # fmt: skip
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def us(when: datetime) -> int:
    delta = when - EPOCH
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def first(run: Run, kind: str) -> pa.RecordBatch:
    return next(b for _, k, b in run.batches if k == kind)


def back(value: object, kind: pa.DataType) -> object:
    """Read a JSON value as what it stands for in Arrow."""
    if value is None:
        return None
    if pa.types.is_fixed_size_binary(kind):
        return uuid.UUID(value).bytes
    if pa.types.is_timestamp(kind):
        return value if isinstance(value, int) else us(datetime.fromisoformat(value))
    if pa.types.is_map(kind):
        return list(value.items())
    if isinstance(value, dict):
        return json.dumps(value, separators=(",", ":"))
    if pa.types.is_list(kind):
        return [back(v, kind.value_type) for v in value]
    return value


def plain(value: object) -> object:
    return us(value) if isinstance(value, datetime) else value


@pytest.mark.parametrize("times", TimeStyle)
@pytest.mark.parametrize("kind", KINDS)
def test_ndjson_says_the_same_as_the_batch(live: Run, kind: str, times: TimeStyle):
    batch = first(live, kind).slice(3, 150)
    lines = to_ndjson(batch, times).splitlines()
    assert len(lines) == 150
    schema = EVENT_TYPES[kind].wire_schema
    for line, row in zip(lines, batch.to_pylist(), strict=True):
        members = orjson.loads(line)
        assert None not in members.values()
        assert all(isinstance(members[n], int) == (times is TimeStyle.EPOCH_US) for n in ("event_time",))
        assert {f.name: back(members.get(f.name), f.type) for f in schema} == {n: plain(v) for n, v in row.items()}


def test_ndjson_of_a_past_says_the_same_too(past: Run):
    batch = first(past, "subscription")
    for line, row in zip(to_ndjson(batch).splitlines(), batch.to_pylist(), strict=True):
        members = orjson.loads(line)
        assert datetime.fromisoformat(members["effective_time"]) == row["effective_time"]
        assert members["discount_minor"] == row["discount_minor"]


def test_ndjson_can_name_the_type(live: Run):
    members = orjson.loads(to_ndjson(first(live, "label"), type_name="label").splitlines()[0])
    assert next(iter(members)) == "type"
    assert members["type"] == "label"


def test_ndjson_of_no_rows_is_empty(live: Run):
    assert to_ndjson(first(live, "label").slice(0, 0)) == b""


def test_ndjson_needs_event_ids():
    batch = pa.RecordBatch.from_pydict({"event_id": pa.array([None], pa.binary(16))})
    with pytest.raises(ValueError, match="id"):
        to_ndjson(batch)


@pytest.mark.parametrize("compression", ["lz4", "zstd", None])
def test_ipc_holds_the_batch(live: Run, compression):
    for kind in KINDS:
        batch = first(live, kind)
        assert pa.ipc.open_stream(to_ipc(batch, compression)).read_all().to_batches() == [batch]


def test_ipc_is_compressed_unless_told_otherwise(live: Run):
    batch = first(live, "playback")
    assert len(to_ipc(batch)) < len(to_ipc(batch, None))


@settings(max_examples=200)
@given(st.lists(st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=12), min_size=1, max_size=8),
       st.integers(0, 3))  # fmt: skip
def test_any_text_is_escaped_so_that_it_can_be_read_back(values, skip):
    column = pa.array(values, pa.string()).slice(skip)
    texts = json_text(column).to_pylist()
    assert [t if t is None else orjson.loads(t) for t in texts] == column.to_pylist()


@given(st.lists(st.none() | st.floats(), max_size=8))
def test_numbers_round_trip_and_those_that_json_lacks_are_null(values):
    texts = json_text(pa.array(values, pa.float64())).to_pylist()
    expected = [v if v is not None and np.isfinite(v) else None for v in values]
    assert [t if t is None else float(t) for t in texts] == expected


@given(
    st.lists(
        st.none() | st.lists(st.tuples(st.text('ab"\\c', max_size=3), st.none() | st.floats(-1e9, 1e9)), max_size=4),
        max_size=6,
    ),
    st.integers(0, 2),
)
def test_maps_become_objects(rows, skip):
    column = pa.array(rows, pa.map_(pa.string(), pa.float64())).slice(skip)
    for text, row in zip(json_text(column).to_pylist(), column.to_pylist(), strict=True):
        assert (text is None) == (row is None)
        if row is not None:
            assert json.loads(text, object_pairs_hook=list) == row


@given(st.lists(st.none() | st.lists(st.none() | st.text('a\n"é', max_size=3), max_size=4), max_size=6),
       st.integers(0, 2))  # fmt: skip
def test_lists_become_arrays(rows, skip):
    column = pa.array(rows, pa.list_(pa.string())).slice(skip)
    texts = json_text(column).to_pylist()
    assert [t if t is None else orjson.loads(t) for t in texts] == column.to_pylist()


def test_lists_of_times_and_flags_keep_the_style():
    times = pa.array([[0, None]], pa.list_(pa.timestamp("us", tz="UTC")))
    assert json_text(times, TimeStyle.EPOCH_US).to_pylist() == ["[0,null]"]
    assert json_text(times).to_pylist() == ['["1970-01-01T00:00:00.000000Z",null]']
    assert json_text(pa.array([True, None])).to_pylist() == ["true", None]
    assert json_text(pa.nulls(2, pa.string())).to_pylist() == [None, None]
    assert json_text(pa.array([], pa.string())).to_pylist() == []


@given(st.lists(st.none() | st.uuids(), min_size=1, max_size=6), st.integers(0, 3))
def test_ids_become_uuid_text(ids, skip):
    column = pa.array([i and i.bytes for i in ids], pa.binary(16)).slice(skip)
    assert uuid_text(column).to_pylist() == [i and str(i) for i in ids[skip:]]


@given(st.lists(st.none() | st.integers(0, 253_370_764_800_000_000), min_size=1, max_size=5))
def test_times_become_rfc3339_text(micros):
    column = pa.array(micros, pa.int64()).cast(pa.timestamp("us", tz="UTC"))
    when = [v if v is None else EPOCH + timedelta(microseconds=v) for v in micros]
    expected = [v and v.isoformat(timespec="microseconds").replace("+00:00", "Z") for v in when]
    assert rfc3339_text(column).to_pylist() == expected


@pytest.mark.parametrize("file_format", FileFormat)
def test_files_hold_all_events_by_tenant_and_type(live: Run, tmp_path, file_format):
    some = [b for b in live.batches if b[1] in {"playback", "prediction", "recommendation", "payment"}][:60]
    with FileWriter(tmp_path, file_format) as writer:
        for tenant, kind, batch in some:
            writer.write(tenant, kind, batch)
        writer.close()
    assert writer.paths == sorted({tmp_path / t / f"{k}.{file_format}" for t, k, _ in some})
    for path in writer.paths:
        table = pa.Table.from_batches([b for t, k, b in some if (t, k) == (path.parent.name, path.stem)])
        ids = [str(uuid.UUID(bytes=raw)) for raw in table["event_id"].to_pylist()]
        if file_format is FileFormat.PARQUET:
            assert pq.read_table(path).equals(table)
        elif file_format is FileFormat.NDJSON:
            assert [orjson.loads(line)["event_id"] for line in path.read_bytes().splitlines()] == ids
        else:
            with path.open(newline="") as file:
                rows = list(csv.DictReader(file))
            assert [row["event_id"] for row in rows] == ids
            assert list(rows[0]) == table.schema.names
            when = [us(datetime.fromisoformat(row["event_time"])) for row in rows]
            assert when == table["event_time"].cast(pa.int64()).to_pylist()
            for name in ("features", "items"):
                if name in rows[0]:
                    expected = [dict(v) if name == "features" else v for v in table[name].to_pylist()]
                    assert [json.loads(row[name]) for row in rows] == expected


def test_files_that_exist_are_written_anew(live: Run, tmp_path):
    batch = first(live, "label")
    for _ in range(2):
        with FileWriter(tmp_path, FileFormat.NDJSON) as writer:
            writer.write("nordic", "label", batch)
    assert len((tmp_path / "nordic" / "label.ndjson").read_bytes().splitlines()) == batch.num_rows
