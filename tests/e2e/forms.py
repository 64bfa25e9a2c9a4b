"""The same playbacks in every form that the server takes."""

from __future__ import annotations

import gzip
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import zstandard

from collectors.clock import SYSTEM_CLOCK

Event = Mapping[str, Any]
Request = tuple[str, str, bytes, dict[str, str]]
"""Event type in the route (empty for the mixed route), content type, body, further headers."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def playback(**fields: Any) -> dict[str, Any]:
    """Return a valid playback of now, with an id of its own."""
    return {
        "event_id": str(uuid.uuid4()),
        "event_time": iso(SYSTEM_CLOCK.now_us()),
        "user_id": "u-1",
        "track_id": "t-1",
        "ms_played": 1000,
        **fields,
    }


def iso(time_us: int) -> str:
    return (_EPOCH + timedelta(microseconds=time_us)).isoformat()


def micros(text: str) -> int:
    return (datetime.fromisoformat(text) - _EPOCH) // timedelta(microseconds=1)


def ndjson(events: Sequence[Event]) -> Request:
    return "playback", "application/x-ndjson", "\n".join(map(json.dumps, events)).encode(), {}


def json_list(events: Sequence[Event]) -> Request:
    return "playback", "application/json", json.dumps(list(events)).encode(), {}


def json_object(events: Sequence[Event]) -> Request:
    (event,) = events
    return "playback", "application/json", json.dumps(event).encode(), {}


def gzipped(events: Sequence[Event]) -> Request:
    type_, media, body, _ = ndjson(events)
    return type_, media, gzip.compress(body), {"content-encoding": "gzip"}


def zstandarded(events: Sequence[Event]) -> Request:
    type_, media, body, _ = json_list(events)
    return type_, media, zstandard.compress(body), {"content-encoding": "zstd"}


def mixed(events: Sequence[Event]) -> Request:
    lines = "\n".join(json.dumps({"type": "playback", **e}) for e in events)
    return "", "application/x-ndjson", lines.encode(), {}


def arrow(events: Sequence[Event]) -> Request:
    rows = [
        {**e, "event_id": uuid.UUID(e["event_id"]).bytes, "event_time": datetime.fromisoformat(e["event_time"])}
        for e in events
    ]
    columns = {
        "event_id": pa.array([r["event_id"] for r in rows], pa.binary(16)),
        "event_time": pa.array([r["event_time"] for r in rows], pa.timestamp("us", tz="UTC")),
        "user_id": pa.array([r["user_id"] for r in rows]).dictionary_encode(),
        "track_id": pa.array([r.get("track_id") for r in rows], pa.string()),
        "ms_played": pa.array([r.get("ms_played") for r in rows], pa.int32()),
    }
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(table)
    return "playback", "application/vnd.apache.arrow.stream", sink.getvalue().to_pybytes(), {}


def _cloud_event(event: Event) -> dict[str, Any]:
    fields = {k: v for k, v in event.items() if k not in {"event_id", "event_time"}}
    return {
        "specversion": "1.0",
        "id": event["event_id"],
        "source": "/player",
        "type": "org.example.playback",
        "time": event["event_time"],
        "data": fields,
    }


def cloud_structured(events: Sequence[Event]) -> Request:
    (event,) = events
    return "", "application/cloudevents+json", json.dumps(_cloud_event(event)).encode(), {}


def cloud_batched(events: Sequence[Event]) -> Request:
    return "", "application/cloudevents-batch+json", json.dumps(list(map(_cloud_event, events))).encode(), {}


def cloud_binary(events: Sequence[Event]) -> Request:
    (event,) = events
    attributes = _cloud_event(event)
    data = attributes.pop("data")
    return "playback", "application/json", json.dumps(data).encode(), {f"ce-{k}": v for k, v in attributes.items()}


MANY: dict[str, Callable[[Sequence[Event]], Request]] = {
    "arrow": arrow,
    "ndjson": ndjson,
    "json_list": json_list,
    "gzip": gzipped,
    "zstd": zstandarded,
    "mixed": mixed,
    "cloud_batched": cloud_batched,
}
ONE = {"json_object": json_object, "cloud_structured": cloud_structured, "cloud_binary": cloud_binary}
FORMS = MANY | ONE
