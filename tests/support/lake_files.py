"""Write small lakes of Parquet files for tests: as many files as batches, days and rollups make."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from collectors.lake.engine import Days, LakeFile, Snapshot
from collectors.lake.rollup import partial_rows
from collectors.model.event_types import EVENT_TYPES
from collectors.model.rollups import ROLLUPS

Record = Mapping[str, Any]


def instant(*when: int) -> datetime:
    return datetime(*when, tzinfo=UTC)


def micros(when: datetime) -> int:
    return int((when - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1_000_000 + when.microsecond


def rows(event_type: str, records: Iterable[Record]) -> pa.Table:
    """Return events in the lake schema; each record names its tenant_id and event_time, the rest may be missing."""
    schema = EVENT_TYPES[event_type].lake_schema
    full = [
        {
            "event_id": uuid.UUID(int=number + 1).bytes,
            "received_time": record["event_time"],
            "log_position": number,
            "day": record["event_time"].astimezone(UTC).date(),
            **record,
        }
        for number, record in enumerate(records)
    ]
    return pa.Table.from_pylist(full, schema=schema)


def write_lake(
    folder: Path, batches: Sequence[Mapping[str, pa.Table]], zone: Callable[[str], str] = lambda _: "UTC"
) -> Snapshot:
    """Write each batch as its own files, by day for events, and as partial sums for rollups."""
    files: dict[str, list[LakeFile]] = {}
    for number, batch in enumerate(batches):
        for name, unsorted in batch.items():
            if not unsorted.num_rows:
                continue
            table = unsorted.sort_by("tenant_id")
            for day in pc.unique(table.column("day")).to_pylist():
                part = table.filter(pc.equal(table.column("day"), pa.scalar(day, pa.date32()))).drop_columns("day")
                file = _write(folder / name / f"day={day}" / f"{number}.parquet", part, Days(day, day))
                files.setdefault(name, []).append(file)
            for rollup in ROLLUPS.values():
                if rollup.source == name:
                    partial = partial_rows(rollup, table, zone)
                    period = pc.min_max(partial.column(rollup.period)).as_py()
                    file = _write(
                        folder / rollup.name / f"{number}.parquet", partial, Days(period["min"], period["max"])
                    )
                    files.setdefault(rollup.name, []).append(file)
    return Snapshot({name: tuple(of_table) for name, of_table in files.items()})


def _write(path: Path, table: pa.Table, days: Days) -> LakeFile:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    tenants = table.column("tenant_id")
    return LakeFile(str(path), days, (tenants[0].as_py(), tenants[-1].as_py()))
