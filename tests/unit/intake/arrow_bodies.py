"""Arrow IPC bodies for tests."""

from __future__ import annotations

import decimal
import uuid
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any

import pyarrow as pa

from collectors.model.event_type import EventType
from collectors.model.event_types import AUTH, PLAYBACK, PREDICTION, RECOMMENDATION

SAMPLES = {
    "string": ["abc", "é", None, "x" * 20, ""],
    "int32": [1, None, -5, 0, 7],
    "int64": [1, 2, None, 0, -(2**40)],
    "double": [0.5, None, -1.0, 0.0, 1e300],
    "bool": [True, None, False, True, True],
    "timestamp[us, tz=UTC]": [1, None, 1_767_225_600_000_000, 0, -1],
    "list<item: string>": [["a", "b"], None, [], ["c", None], [""]],
    "list<item: double>": [[0.5], None, [], [1.0, None], [2.0]],
    "map<string, double>": [{"a": 1.0}, None, {}, {"b": None}, {"c": 2.0}],
    "fixed_size_binary[16]": [uuid.UUID(int=i).bytes for i in range(5)],
}


def stream(batch: pa.RecordBatch, compression: str | None = None, *, times: int = 1, file: bool = False) -> bytes:
    """Write ``batch`` as an IPC stream or file, ``times`` over."""
    sink = pa.BufferOutputStream()
    options = pa.ipc.IpcWriteOptions(compression=compression, use_threads=False)
    with (pa.ipc.new_file if file else pa.ipc.new_stream)(sink, batch.schema, options=options) as writer:
        for _ in range(times):
            writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def body(columns: Mapping[str, pa.Array], **options: Any) -> bytes:
    """Write columns as an IPC stream."""
    return stream(pa.record_batch(dict(columns)), **options)


def wire_batch(event_type: EventType) -> pa.RecordBatch:
    """Return five rows of all columns of an event type, nulls among them."""
    return pa.record_batch({f.name: pa.array(SAMPLES[str(f.type)], f.type) for f in event_type.wire_schema})


def foreign_batch() -> pa.RecordBatch:
    """Return a batch as other libraries write them: in other types, with columns nobody knows."""
    n = 6
    return pa.record_batch(
        {
            "event_id": pa.array([uuid.UUID(int=i).bytes for i in range(n)], pa.uuid()),
            "user_id": pa.array(["a", "b", None] * 2).dictionary_encode(),
            "track_id": pa.array(["short", "longer than twelve bytes", None] * 2, pa.string_view()),
            "ms_played": pa.array([1.0, 2.5, None] * 2),
            "event_time": pa.array([1, 2, None] * 2, pa.timestamp("ns", "Europe/Berlin")),
            "country": pa.array(["SE", None, "DE"] * 2, pa.large_string()),
            "properties": pa.array(['{"k":1}', None, "{}"] * 2),
            "struct": pa.array([{"a": [1, 2], "d": date(2026, 1, 1)}, None, {"a": None, "d": None}] * 2),
            "map": pa.array([[("a", b"x")], None, []] * 2, pa.map_(pa.string(), pa.binary())),
            "decimal": pa.array([decimal.Decimal("1.5"), None, decimal.Decimal("-2.25")] * 2),
            "views": pa.array([["a"], None, ["longer than twelve bytes"]] * 2, pa.large_list(pa.string_view())),
            "codes": pa.array([["q", "w"], None, []] * 2, pa.list_(pa.dictionary(pa.int8(), pa.string()))),
            "pairs": pa.array([[1, 2], None, [3, None]] * 2, pa.list_(pa.int32(), 2)),
        }
    )


def seeds() -> Iterator[tuple[EventType, bytes]]:
    """Yield valid bodies of many kinds, to be damaged."""
    for event_type in (PLAYBACK, RECOMMENDATION, PREDICTION, AUTH):
        batch = wire_batch(event_type)
        yield event_type, stream(batch, times=2)
        yield event_type, stream(batch, "lz4")
        yield event_type, stream(batch, "zstd", times=2)
        yield event_type, stream(batch, file=True)
    for compression in (None, "lz4"):
        yield PLAYBACK, stream(foreign_batch(), compression, times=2)
    yield PLAYBACK, stream(foreign_batch(), file=True)
