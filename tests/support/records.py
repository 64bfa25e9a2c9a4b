"""Log records made by hand, for tests of what stands behind the log."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable

import pyarrow as pa

from collectors.drivers.event_log import Record
from collectors.model.event_types import EVENT_TYPES

T0 = int(dt.datetime(2026, 3, 28, 12, tzinfo=dt.UTC).timestamp() * 1_000_000)


def event_id(number: int) -> bytes:
    return uuid.UUID(int=number).bytes


def body(type_name: str, rows: Iterable[dict[str, object]]) -> bytes:
    """Return stored events as an Arrow IPC stream; fields left out are null."""
    schema = EVENT_TYPES[type_name].stored_schema
    table = pa.Table.from_pylist(list(rows), schema=schema)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def playback(number: int, *, time_us: int = T0, received_us: int | None = None, **fields: object) -> dict[str, object]:
    event: dict[str, object] = {
        "event_id": event_id(number),
        "event_time": time_us,
        "received_time": time_us if received_us is None else received_us,
        "track_id": "t",
        "ms_played": 30_000,
    }
    return event | fields


def record(
    position: int,
    rows: list[dict[str, object]],
    *,
    tenant: str = "acme",
    type_name: str = "playback",
    acked_us: int = T0,
    covered_since_us: int = 0,
    **counts: int,
) -> Record:
    values = {"duplicate": 0, "rejected": 0, "dropped": 0} | counts
    offered = values.pop("offered", len(rows) + sum(values.values()))
    return Record(
        tenant=tenant,
        type=type_name,
        acked_us=acked_us,
        covered_since_us=covered_since_us,
        rows=len(rows),
        offered=offered,
        replays=0,
        body=body(type_name, rows) if rows else None,
        dead=b"sealed" if values["rejected"] > 0 else None,
        position=position,
        **values,
    )
