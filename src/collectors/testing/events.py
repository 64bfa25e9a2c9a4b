"""Make stored events of an example's rows: what a streaming collector is shown and what a lake holds."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from collectors.contract.example import Rows
from collectors.model.batch import Batch
from collectors.model.event_types import event_type

_UNLESS_SAID = timedelta(minutes=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Feed = tuple[Batch, ...]


def micros(when: datetime) -> int:
    """Return UTC microseconds since 1970."""
    return (when - _EPOCH) // timedelta(microseconds=1)


def stored_rows(type_name: str, rows: Rows, end: datetime, *, first_id: int = 1) -> list[dict[str, Any]]:
    """Return rows as they are stored: times are instants, marked text is bytes, and ids are counted up."""
    columns = event_type(type_name).by_name
    stored = []
    for number, row in enumerate(rows):
        unknown = sorted(row.keys() - columns.keys() - {"received_time"})
        if unknown:
            raise ValueError(f"{type_name} has no field {unknown[0]!r}; see: collectors events {type_name}")
        full: dict[str, Any] = {"event_id": uuid.UUID(int=first_id + number).bytes, "event_time": _UNLESS_SAID, **row}
        full.setdefault("received_time", end)
        for key, value in full.items():
            if isinstance(value, timedelta):
                full[key] = end - value
            elif isinstance(value, str) and pa.types.is_binary(columns[key].stored_type):
                full[key] = value.encode()
        stored.append(full)
    return stored


def lake_table(type_name: str, rows: Sequence[Mapping[str, Any]], tenant: str) -> pa.Table:
    """Return stored rows in the lake's schema, as rows of ``tenant``."""
    full = [
        {**row, "tenant_id": tenant, "log_position": number, "day": row["event_time"].astimezone(UTC).date()}
        for number, row in enumerate(rows)
    ]
    return pa.Table.from_pylist(full, schema=event_type(type_name).lake_schema)


def feed(events: Mapping[str, Rows], end: datetime, *, tenant: str = "acme", first_id: int = 1) -> Feed:
    """Return one batch for each event type, in the order of ``events``."""
    batches = []
    for position, (name, rows) in enumerate(events.items(), start=1):
        if rows:
            schema = event_type(name).stored_schema
            stored = stored_rows(name, rows, end, first_id=first_id + position * 1_000_000)
            table = pa.RecordBatch.from_pylist(stored, schema=schema)
            batches.append(Batch(tenant, event_type(name), position, micros(end), table))
    return tuple(batches)
